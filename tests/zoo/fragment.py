"""Gets its token in the fragment: a page of its own reads it there and fetches it to the listener (some CLIs).

The first request has nothing that could be compared; the second one has the token in its query.
"""

import sys

from keeper import Listener, authorize_url, code_for, finish, new_state, open_in_browser

PAGE = """<h1>One moment</h1><p id="said"></p><script>
fetch("/token?" + location.hash.slice(1)).then(r => r.text()).then(text => { said.textContent = text; });
</script>"""

listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}/", state, response_type="token"))
listener.visit_of("/").answer(body=PAGE)
visit = listener.visit_of("/token")
visit.answer(body="You can close this window")
if visit.query.get("state") != state:
    sys.exit("error: another state")
finish(code_for(state) if visit.query.get("access_token") == f"token-of-{state}" else None, state)
