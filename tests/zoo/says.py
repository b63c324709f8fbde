"""Prints its URL in a style of its own, and opens nothing, or opens it as well."""

import json
import sys
import time

from keeper import Listener, open_in_browser, sign_in


def piecemeal(url: str) -> None:
    """As over a slow line."""
    for at in range(0, len(url), 7):
        sys.stdout.write(url[at : at + 7])
        sys.stdout.flush()
        time.sleep(0.02)
    sys.stdout.write("\n")
    sys.stdout.flush()


STYLES = {
    "at the end of a sentence": lambda url: print(f"Please visit {url}.", flush=True),
    "in brackets": lambda url: print(f"Sign in ({url}) to go on", flush=True),
    "in angle brackets": lambda url: print(f"Sign in: <{url}>", flush=True),
    "in quotes": lambda url: print(f'Open "{url}" now', flush=True),
    "as JSON": lambda url: print(json.dumps({"event": "login", "url": url, "wait": True}), flush=True),
    "as JSON with its slashes escaped": lambda url: print(json.dumps({"url": url}).replace("/", r"\/"), flush=True),
    "as JSON with its ampersands escaped": lambda url: print(json.dumps([url]).replace("&", r"\u0026"), flush=True),
    "in colours": lambda url: print(
        f"\x1b[1mOpen\x1b[0m \x1b[38;5;33m{url[:20]}\x1b[36m{url[20:]}\x1b[0m\x1b[K", flush=True
    ),
    "without a line end": lambda url: print(f"Open {url}", end="", flush=True),
    "by and by": piecemeal,
    "after a spinner": lambda url: print(f"\r| waiting\r/ waiting\r\x1b[2KOpen {url}\r\n", end="", flush=True),
    "on the error stream": lambda url: print(f"Open {url}", file=sys.stderr, flush=True),
    "in a box": lambda url: print(f"+{'-' * 30}+\n| Sign in:\n| {url} |\n+{'-' * 30}+", flush=True),
    "twice": lambda url: print(f"Open {url}\nAgain: {url}", flush=True),
    "and opened": lambda url: (print(f"Open {url}", flush=True), open_in_browser(url)),
    "opened and then printed": lambda url: (open_in_browser(url), print(f"If it does not open: {url}", flush=True)),
    "opened twice, by two openers": lambda url: (open_in_browser(url), open_in_browser(url, "www-browser")),
}

listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", STYLES[sys.argv[1]])
