"""Gets its token in the fragment: a page of its own reads it there and sends it to the listener (linode-cli: `path`).

The first request has nothing that could be compared; the second has the token, where its argument says.
"""

import json
import sys
from urllib.parse import parse_qs

from keeper import Listener, authorize_url, code_for, finish, new_state, open_in_browser

# By what the page sends it: linode-cli's XMLHttpRequest is as in its own page.
SCRIPTS = {
    "query": "fetch('/token?' + said).then(r => r.text()).then(text => document.body.append(text));",
    "unlabelled": "fetch('/token?' + said).then(r => r.text()).then(text => document.body.append(text));",
    "path": "let r = new XMLHttpRequest(); r.open('GET', '/token/' + said); r.send(); document.body.append('Success!')",
    "again": "location.replace('/token?' + said)",
    "json": """fetch('/token', {method: 'POST', headers: {'Content-Type': 'application/json'}, body:
        JSON.stringify(Object.fromEntries(new URLSearchParams(said)))}).then(r => r.text())
        .then(text => document.body.append(text));""",
    "form": """let f = document.createElement('form'); f.method = 'post'; f.action = '/token'; for (let [k, v] of
        new URLSearchParams(said)) { let i = document.createElement('input'); i.name = k; i.value = v; f.append(i); }
        document.body.append(f); f.submit();""",
}

how = sys.argv[1]
page = f"<body><h1>One moment</h1><script>let said = location.hash.slice(1);\n{SCRIPTS[how]}</script>"
listener, state = Listener(), new_state()
url = authorize_url(f"http://localhost:{listener.port}/", state, response_type="token")
open_in_browser(url.replace(f"&state={state}", "") if how == "path" else url)
# OCI's CLI (3.95) does not say that its page is HTML.
listener.visit_of("/").answer(body=page, Content_Type="" if how == "unlabelled" else "text/html")
visit = listener.visit()
while not visit.path.startswith("/token"):
    visit.answer("404 Not Found", "")
    visit = listener.visit()
visit.answer(body="You can close this window")
match how:
    case "path":
        said = {name: values[0] for name, values in parse_qs(visit.path.partition("/token/")[2]).items()}
        said["state"] = state  # nobody told its provider
        state = said["access_token"].removeprefix("token-of-")
    case "json":
        said = json.loads(visit.body)
    case "form":
        said = visit.form
    case _:
        said = visit.query
finish(code_for(state) if said == {"access_token": f"token-of-{state}", "state": said["state"]} else None, state)
