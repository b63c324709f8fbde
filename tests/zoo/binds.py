"""Binds where it is told: ::1 alone (CLIs that ask for localhost), 0.0.0.0 (msal), :: (some Go CLIs), any port."""

import sys

from keeper import Listener, open_in_browser, sign_in

_, address, *port = sys.argv
listener = Listener(address, int(port[0]) if port else 0)
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
