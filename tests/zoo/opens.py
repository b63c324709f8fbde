"""Opens its URL in one way and prints nothing: a program of PATH, `$BROWSER`, or Python's `webbrowser`."""

import os
import shlex
import sys
import webbrowser

from keeper import Listener, log, open_in_browser, sign_in


def show(url: str) -> None:
    match sys.argv[1]:
        case "$BROWSER":
            open_in_browser(url, *shlex.split(os.environ["BROWSER"]))
        case "webbrowser":
            log("opened", with_="webbrowser", code=0 if webbrowser.open(url) else 1)
        case "any":  # as many do: none where there is no screen
            if not os.environ.get("DISPLAY"):
                sys.exit("error: no browser can be opened here")
            open_in_browser(url)
        case program:
            open_in_browser(url, program)


listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", show)
