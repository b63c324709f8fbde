"""Refuses to log in where input or output is no terminal (some CLIs)."""

import sys

from keeper import Listener, open_in_browser, sign_in

if not (sys.stdin.isatty() and sys.stdout.isatty()):
    sys.exit("error: cannot log in without a terminal")
listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
