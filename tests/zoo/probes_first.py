"""Tries ports with short-lived listeners before it binds the real one (some CLIs look for a free port so)."""

import time

from keeper import Listener, open_in_browser, sign_in

for _ in range(3):
    probe = Listener(name="probe")
    time.sleep(0.15)
    probe.close()
listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
