"""A provider's last page, for a browser: a link or a form that leads back to the command line, and nothing else."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        page = (way_back(asked) if "redirect_uri" in asked else by_script(asked) if "id" in asked else "").encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None: ...


def way_back(asked: dict[str, str]) -> str:
    """The page for this request: by a link, by a link with a fragment, or by a form."""
    redirect, state = html.escape(asked["redirect_uri"]), asked.get("state", "")
    code = {"code": f"code-of-{state}", "state": state}
    if asked.get("response_mode") == "form_post":
        fields = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in code.items())
        return f'<h1>Signed in</h1><form method="post" action="{redirect}">{fields}<button id="continue">Back</button>'
    token = {"access_token": f"token-of-{state}", **({"state": state} if state else {})}
    answer = f"#{urlencode(token)}" if asked["response_type"] == "token" else f"?{html.escape(urlencode(code))}"
    return f'<h1>Signed in</h1><a id="continue" href="{redirect}{answer}">Back</a>'


def by_script(asked: dict[str, str]) -> str:
    """A page whose own script sends the answer, and says what came of it."""
    listener = asked.get("callback") or f"http://localhost:{asked['port']}"
    said = json.dumps({"api_key": f"code-of-{asked['id']}"})
    return f"""<h1>Signed in</h1><a id="continue" href="#">Back</a><script>
        const how = {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{said}'}};
        document.querySelector('a').onclick = () => fetch('{listener}/success', how)
            .then(reply => reply.text()).catch(String).then(text => document.body.append(text));
        </script>"""


@contextmanager
def provider_pages(address: str) -> Iterator[str]:
    """Serve them; gives their origin, which is another host name than any callback's."""
    with ThreadingHTTPServer((address, 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
