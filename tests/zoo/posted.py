"""Takes its response as a posted form only, and answers a GET with an error but stays (msal's interactive login)."""

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener("0.0.0.0"), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}", state, response_mode="form_post"))
while True:
    visit = listener.visit()
    if visit.method == "POST":
        break
    visit.answer("400 Bad Request", "<h1>Response mode GET is not supported</h1>")
visit.answer()
finish(visit.form.get("code") if visit.form.get("state") == state else None, state)
