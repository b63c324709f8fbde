"""A command line with habits that cannot be seen from outside: a profile has to say them. Its arguments choose some.

`login`: wants ACME_BROWSER_LOGIN, and not ACME_TOKEN. `unsaid-form`: the answer is posted though its URL does not ask
for that. `no-state`: the answer does not bring back the state. `lingers`: goes on listening after it has signed in.
`leads-on`: its answer sends the browser to a page of the company's. `terminal`: cannot do without one.
"""

import os
import sys
import time

from keeper import Listener, authorize_url, code_for, finish, new_state, open_in_browser

habits = set(sys.argv[1:])
if "ACME_BROWSER_LOGIN" not in os.environ or "ACME_TOKEN" in os.environ:
    sys.exit("error: no browser is used here")
if "terminal" in habits and not sys.stdout.isatty():
    sys.exit("error: not a terminal")
listener, state = Listener(), new_state()
open_in_browser(authorize_url(f"http://localhost:{listener.port}/callback", state))
visit = listener.visit_of("/callback")
said = visit.form if "unsaid-form" in habits else visit.query
if "leads-on" in habits:
    visit.answer("302 Found", "", Location="https://www.acme.example/welcome")
else:
    visit.answer()
if "no-state" in habits:
    state = said.get("code", "").removeprefix("code-of-")
elif said.get("state") != state:
    finish(None, state)
if "lingers" in habits and said.get("code") == code_for(state):
    print("Logged in as ada", flush=True)
    time.sleep(20)
finish(said.get("code"), state)
