"""Ends with an error when a connection brings no request (google-auth-oauthlib's one handle_request)."""

import sys

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}/", state))
visit = listener.visit()
if not visit.method:
    sys.exit("error: 'NoneType' object has no attribute 'replace'")
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
