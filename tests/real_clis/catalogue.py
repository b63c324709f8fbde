"""The command lines: how each is started on the remote, and which client it is at the provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.setup_script import REAL_CLIS

FOLDER: Final = Path(__file__).parent
SECRET: Final = "of-no-value"
USER: Final = "bash"
"""Who signs in on the remote."""
HOME: Final = f"/home/{USER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealCLI:
    """One command line. In its texts `{issuer}`, `{home}` and so on stand for what is known at the start."""

    name: str
    login: tuple[str, ...]
    """The words behind its name that sign in."""
    program: tuple[str, ...]
    """What its name stands for on the remote."""
    needs: tuple[str, ...]
    """What of the system it is, or runs with."""
    redirect_uris: tuple[str, ...]
    """Without a port, where any port will do (RFC 8252 section 7.3)."""
    scopes: tuple[str, ...] = ()
    """What it asks for that the provider does not know by itself."""
    says: str
    """Part of what it says once it is signed in."""
    page: str
    """Part of the page at which the browser ends."""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Files in the home directory, by path."""
    has_secret: bool = True
    has_jwt: bool = False
    """Whether it wants a JWT for its access token."""
    may_hang_up: bool = False
    """Whether it may close the browser's connection before its page is written, though it is signed in."""

    @property
    def client(self) -> dict[str, Any]:
        """Its metadata at the provider (RFC 7591)."""
        return {
            "client_id": self.name,
            "application_type": "native",
            "token_endpoint_auth_method": "client_secret_post" if self.has_secret else "none",
            **({"client_secret": SECRET} if self.has_secret else {}),
            "redirect_uris": self.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }

    def filled(self, text: str, issuer: str) -> str:
        """The text with what is known now."""
        known = {
            "issuer": issuer,
            "client": self.name,
            "secret": SECRET,
            "there": REAL_CLIS,
            "home": HOME,
        }
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text


_PYTHON: Final = {"PYTHONPATH": "{there}/.python", "PYTHONDONTWRITEBYTECODE": "1"}
_GOOGLE: Final = """{"installed": {"client_id": "{client}", "client_secret": "{secret}", "auth_uri": "{issuer}/auth",
"token_uri": "{issuer}/token", "redirect_uris": ["http://localhost"]}}"""
_GETMAIL: Final = """{"user": "ada", "scope": "openid", "client_id": "{client}", "client_secret": "{secret}",
"auth_uri": "{issuer}/auth", "token_uri": "{issuer}/token"}"""

RCLONE: Final = RealCLI(
    name="rclone",
    login=("authorize", "drive", "rclone", SECRET),
    program=("/usr/bin/rclone",),
    needs=("rclone",),
    redirect_uris=("http://127.0.0.1:53682/",),
    scopes=("https://www.googleapis.com/auth/drive",),
    says='{"access_token":',
    page="Success!",
    environment={"RCLONE_DRIVE_AUTH_URL": "{issuer}/auth", "RCLONE_DRIVE_TOKEN_URL": "{issuer}/token"},
    # Its handler hands the answer over before it returns, and who gets it stops the server (lib/oauthutil: handleAuth,
    # configSetup). Seen once with 1.60.1.
    may_hang_up=True,
)
GOOGLE: Final = RealCLI(
    name="google-oauthlib-tool",
    login=("--client-secrets", "client.json", "--scope", "openid", "--save"),
    program=("/usr/bin/python3", "-m", "google_auth_oauthlib.tool"),
    needs=("python3",),
    redirect_uris=("http://localhost/",),
    says="credentials saved",
    page="The authentication flow has completed",
    environment={**_PYTHON, "OAUTHLIB_INSECURE_TRANSPORT": "1", "OAUTHLIB_RELAX_TOKEN_SCOPE": "1"},
    files={"client.json": _GOOGLE},
)
MSAL: Final = RealCLI(
    name="msal",
    login=("{issuer}", "msal"),
    program=("/usr/bin/python3", "{there}/msal_login.py"),
    needs=("python3",),
    redirect_uris=("http://localhost",),
    says="signed in as ada",
    page="Authentication complete",
    environment=_PYTHON,
    has_secret=False,
)
WRANGLER: Final = RealCLI(
    name="wrangler",
    login=("login", "--scopes", "account:read", "user:read"),
    program=("/usr/bin/node", "{there}/node_modules/wrangler/bin/wrangler.js"),
    needs=("node",),
    redirect_uris=("http://localhost:8976/oauth/callback",),
    scopes=("account:read", "user:read"),
    says="Successfully logged in",
    page="",  # it sends the browser on to Cloudflare's own page, which is out of reach here
    environment={
        "WRANGLER_AUTH_URL": "{issuer}/auth",
        "WRANGLER_TOKEN_URL": "{issuer}/token",
        "WRANGLER_CLIENT_ID": "{client}",
        "WRANGLER_SEND_METRICS": "false",
        "TMPDIR": "{home}",  # where it leaves the time of its last look for a newer version
    },
    has_secret=False,
)
DATABRICKS: Final = RealCLI(
    name="databricks-sdk",
    login=("{issuer}", "databricks-sdk"),
    program=("/usr/bin/python3", "{there}/databricks_login.py"),
    needs=("python3",),
    redirect_uris=("http://localhost:8020",),
    says="signed in with Bearer",
    page="You can close this tab",
    environment=_PYTHON,
    has_secret=False,
)
OIDC_AGENT: Final = RealCLI(
    name="oidc-gen",
    login=("--client-id", "{client}", "--client-secret", "{secret}", "--issuer", "{issuer}", "mine"),
    program=("/bin/sh", "{there}/oidc_gen.sh"),
    needs=("oidc-gen", "oidc-agent"),
    redirect_uris=("http://localhost:4242",),
    says="Everything setup correctly!",
    page="Successfully performed code exchange",
    environment={"OIDC_PASSWORD": "{secret}"},
)
SIGSTORE: Final = RealCLI(
    name="sigstore",
    login=("{issuer}", "{client}", "{secret}"),
    program=("/usr/bin/python3", "{there}/sigstore_login.py"),
    needs=("python3",),
    redirect_uris=("http://localhost/auth/callback",),
    says="signed in as ada",
    page="authentication successful!",
    environment=_PYTHON,
    has_jwt=True,
)
GETMAIL: Final = RealCLI(
    name="getmail",
    login=("--init", "{home}/getmail.json"),
    program=("/usr/bin/getmail-gmail-xoauth-tokens",),
    needs=("getmail-gmail-xoauth-tokens",),
    redirect_uris=("http://localhost/",),
    says="access token",
    page="Your json file is updated.",
    files={"getmail.json": _GETMAIL},
)
CLIS: Final = (RCLONE, GOOGLE, MSAL, WRANGLER, DATABRICKS, OIDC_AGENT, SIGSTORE, GETMAIL)
