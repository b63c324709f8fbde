"""Takes the first request for its callback, of whatever path; a bare connection does no harm (half of the CLIs)."""

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}/", state))
visit = listener.visit()
while not visit.method:
    visit = listener.visit()
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
