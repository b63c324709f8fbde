"""A command line with msal's interactive login, as its own documentation writes one.

msal speaks to https alone, which the tests' provider has not: it thinks that there is a proxy in between.
"""

import sys
from typing import Any

import msal
import requests


class Proxied(requests.Session):
    """What msal sends its requests with."""

    def request(self, method: str, url: str, *rest: Any, **more: Any) -> requests.Response:
        return super().request(method, url.replace("https://", "http://"), *rest, **more)


issuer, client_id = sys.argv[1:]
authority = issuer.replace("http://", "https://") + "/tls"
app = msal.PublicClientApplication(client_id, oidc_authority=authority, http_client=Proxied())
result = app.acquire_token_interactive(["email"], prompt="consent", timeout=60)
if "error" in result:
    sys.exit(f"{result['error']}: {result.get('error_description')}")
print("signed in as", result["id_token_claims"]["sub"])
