"""Holds its answer while it exchanges the code, for as many seconds as it is told (some take half a minute)."""

import sys
import time

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://127.0.0.1:{listener.port}/callback", state))
visit = listener.visit_of("/callback")
time.sleep(float(sys.argv[1]))
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
