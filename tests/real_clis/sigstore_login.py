"""A command line with sigstore's login, as its own `sigstore sign` does it before it signs."""

import sys

from sigstore.oidc import Issuer

issuer, client_id, secret = sys.argv[1:]
print("signed in as", Issuer(issuer).identity_token(client_id, secret).identity)
