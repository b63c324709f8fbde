"""A browser command for --browser, for people who say yes to everything: `consenting_browser.py LOG URL`.

It sees no sign-in page: it reads from the authorize URL where the answer goes, and goes there as a browser would that
was sent there by that page. A page of this machine it opens, follows, and signs in where that leads.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

CODE = "the-code"


def main() -> None:
    log, url = Path(sys.argv[1]), sys.argv[2]
    if os.fork():
        return
    seen = []
    for _ in range(5):
        parts = urlsplit(url)
        if parts.hostname in {"localhost", "127.0.0.1", "::1"}:
            status, headers, body = request("GET", url)
            seen.append([url, status, body])
            if not (location := headers.get("location")):
                break
            url = urljoin(url, location)
            continue
        query = parse_qs(parts.query)
        if "redirect_uri" not in query:
            seen.append([url, 0, ""])
            break
        answer = {"code": CODE, **{name: query[name][0] for name in ("state",) if name in query}}
        if query.get("response_mode") == ["form_post"]:
            status, _, body = request("POST", query["redirect_uri"][0], urlencode(answer))
            seen.append([query["redirect_uri"][0], status, body])
            break
        url = f"{query['redirect_uri'][0]}?{urlencode(answer)}"
    with log.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(entry) + "\n" for entry in seen)


def request(method: str, url: str, body: str | None = None) -> tuple[int, dict[str, str], str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    headers = {
        "Accept": "text/html",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Upgrade-Insecure-Requests": "1",
    }
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
    response = connection.getresponse()
    answer = response.read().decode("utf-8", "replace")
    return response.status, {name.lower(): value for name, value in response.getheaders()}, answer


if __name__ == "__main__":
    main()
