"""Serves one connection in its whole life, whatever comes with it (kiro-cli's SSO leg; databricks-sdk)."""

from keeper import Listener, authorize_url, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://127.0.0.1:{listener.port}/oauth/callback", state))
visit = listener.visit()
visit.answer()
finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
