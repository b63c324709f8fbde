"""Gets its answer from a script of the sign-in page itself, across origins (Prefect, Adobe's aio).

Its address is no OAuth request. A browser asks first whether it may (Fetch, CORS protocol).
"""

import json
import sys
from urllib.parse import urlencode

from keeper import PROVIDER, Listener, finish, new_state, open_in_browser

listener, state = Listener(), new_state()
here = {"callback": f"http://localhost:{listener.port}"} if sys.argv[1] == "callback" else {"port": str(listener.port)}
open_in_browser(f"{PROVIDER}/client?{urlencode({**here, 'id': state})}")
visit = listener.visit()
while visit.method != "POST" or visit.path != "/success":
    visit.answer("404 Not Found", "")
    visit = listener.visit()
visit.answer(body="You can close this window")
finish(json.loads(visit.body).get("api_key"), state)
