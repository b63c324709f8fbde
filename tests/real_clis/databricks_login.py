"""A command line with the login `external-browser` of databricks-sdk."""

import sys

from databricks.sdk.oauth import OAuthClient, OidcEndpoints

issuer, client_id = sys.argv[1:]
endpoints = OidcEndpoints(authorization_endpoint=f"{issuer}/auth", token_endpoint=f"{issuer}/token")
client = OAuthClient(
    oidc_endpoints=endpoints, redirect_url="http://localhost:8020", client_id=client_id, scopes=["openid"]
)
credentials = client.initiate_consent().launch_external_browser()
print("signed in with", credentials.token().token_type)
