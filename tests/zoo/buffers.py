"""Only prints its URL, and without a terminal leaves it in its buffer (any Python CLI that does not flush)."""

from keeper import Listener, sign_in

listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", lambda url: print(f"Visit {url} to sign in"))
