"""Opens a page of its own listener, which leads on to the provider (rclone; sigstore)."""

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
base = f"http://127.0.0.1:{listener.port}"
open_in_browser(f"{base}/auth?state={state}")
while True:
    visit = listener.visit()
    if visit.path == "/auth" and visit.query.get("state") == state:
        visit.answer("307 Temporary Redirect", "", Location=authorize_url(f"{base}/", state))
    elif visit.path == "/" and "state" in visit.query:
        break
    else:
        visit.answer("400 Bad Request", "<h1>Auth state doesn't match</h1>")
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
