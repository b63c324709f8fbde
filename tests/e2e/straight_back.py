"""A browser that goes straight back to where the sign-in page would send it, with a denial.

`straight_back.py URL FILE`: status and Location of the answer are appended to the file."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

if __name__ == "__main__":
    query = parse_qs(urlsplit(sys.argv[1]).query)
    back, state = query["redirect_uri"][0], query["state"][0]
    path = "" if urlsplit(back).path else "/oauth/callback"
    answer = urlencode({"error": "access_denied", "state": state})
    with suppress(httpx.HTTPError), Path(sys.argv[2]).open("a", encoding="utf-8") as file:
        reply = httpx.get(f"{back}{path}?{answer}", follow_redirects=False, timeout=30, trust_env=False)
        file.write(f"{reply.status_code} {reply.headers.get('location', '-')}\n")
