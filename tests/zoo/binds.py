"""Binds where it is told: ::1 alone (some CLIs where /etc/hosts names it first), 0.0.0.0 (msal), :: (some Go CLIs)."""

import sys

from keeper import Listener, open_in_browser, sign_in

address = sys.argv[1]
listener = Listener(address)
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
