"""Signs in twice, on a port for each (kiro-cli) or, with `same`, on one."""

import sys

from keeper import Listener, authorize_url, code_for, finish, new_state, open_in_browser

same = sys.argv[1:] == ["same"]
first, state = Listener(name="first"), new_state()
open_in_browser(authorize_url(f"http://127.0.0.1:{first.port}/callback", state))
visit = first.visit_of("/callback")
visit.answer()
if visit.query.get("code") != code_for(state):
    finish(None, state)
if same:
    second = first
else:
    first.close()
    second = Listener(name="second")
state = new_state()
open_in_browser(authorize_url(f"http://127.0.0.1:{second.port}/callback", state))
visit = second.visit_of("/callback")
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
