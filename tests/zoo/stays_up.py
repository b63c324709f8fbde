"""Answers a code that is no good with an error page, and waits on for a good one (msal; wrangler tries again)."""

from keeper import Listener, authorize_url, code_for, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}/callback", state))
while True:
    visit = listener.visit_of("/callback")
    if visit.query.get("code") == code_for(state):
        break
    visit.answer("400 Bad Request", "<h1>That did not work. Try again.</h1>")
visit.answer()
finish(visit.query.get("code"), state)
