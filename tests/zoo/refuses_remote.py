"""Will not open a browser where it takes itself for remote: `SSH_*` is set, or there is no display (some CLIs)."""

import os
import sys

from keeper import Listener, open_in_browser, sign_in

signs = [name for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY") if name in os.environ]
if signs or "DISPLAY" not in os.environ:
    sys.exit(f"error: this is a remote machine ({', '.join(signs) or 'no display'}); use a token")
listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
