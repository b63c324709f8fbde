"""Pages of other sites in a real Chromium: whatever they make it ask for, only a tab that goes to the callback gets it.

The worst of them knows everything: the port, the path, and the state. What it cannot do is make the browser lie about
the way in which it asks (Fetch metadata).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

from e2e.chromium import Person
from e2e.harness import wait_until
from integration.relay_ends import CALLBACK, Leg, Remote, answer, leg

pytestmark = pytest.mark.browser

DONE: Final = answer("200 OK", "Content-Type: text/html", body="<h1>Done</h1>")


@dataclass
class Knocking:
    """A leg in a thread of its own, as the person's browser is in another."""

    leg: Leg

    @property
    def callback(self) -> str:
        """On another name than the pages': another site."""
        return f"http://127.0.0.1:{self.leg.port}{CALLBACK}"

    @property
    def reasons(self) -> list[str]:
        return list(self.leg.seen.strays)


@contextmanager
def waiting_leg(*, form_post: bool = False) -> Iterator[Knocking]:
    """A leg that waits for its callback while the test does something."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened = leg(Remote([DONE]), form_post=form_post)
    try:
        yield Knocking(asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(10))
    finally:
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def page(body: str) -> Iterator[str]:
    """A page of somebody else, on localhost."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode() if found else b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LINK: Final = '<a id="continue" href="{url}">Continue</a>'
PAGES: Final = {
    "image": '<img src="{url}">',
    "script": '<script src="{url}"></script>',
    "style sheet": '<link rel="stylesheet" href="{url}">',
    "frame": '<iframe src="{url}"></iframe>',
    "object": '<object data="{url}"></object>',
    "fetch": '<script>fetch("{url}").catch(() => 0)</script>',
    "fetch without CORS": '<script>fetch("{url}", {{mode: "no-cors", credentials: "include"}}).catch(() => 0)</script>',
    "beacon": '<script>navigator.sendBeacon("{url}", "x")</script>',
    "link fetched ahead": '<link rel="prefetch" href="{url}">',
    "speculation rules": (
        '<script type="speculationrules">'
        '{{"prefetch": [{{"source": "list", "urls": ["{url}"], "eagerness": "immediate"}}]}}</script>'
    ),
}


@pytest.mark.parametrize("how", PAGES)
def test_what_no_tab_goes_to_does_not_reach_the_remote_and_the_click_after_it_does(person: Person, how: str) -> None:
    with waiting_leg() as there, page(PAGES[how].format(url=there.callback) + LINK.format(url=there.callback)) as url:
        tab = person.open(url)
        assert wait_until(lambda: "method" in there.reasons), f"Chromium did not ask: {there.reasons}"
        assert there.leg.seen.callbacks == []
        tab.continue_()
        assert tab.page_after(there.callback) == "Done"
        assert there.leg.seen.callbacks == ["granted"]
        assert len(there.leg.remote.requests) == 1


@pytest.mark.parametrize(
    "how",
    [
        LINK,
        '<form action="{url}"><button id="continue" formmethod="post" formaction="{url}">Continue</button></form>',
        '<a id="continue" href="#" onclick="location = \'{url}\'">Continue</a>',
        '<a id="continue" href="#" onclick="location.replace(\'{url}\')">Continue</a>',
        '<meta http-equiv="refresh" content="0; url={url}"><p id="continue">Wait</p>',
        '<a id="continue" target="_top" rel="noreferrer" href="{url}">Continue</a>',
    ],
    ids=["link", "form", "script", "replace", "refresh", "no referrer"],
)
def test_every_way_in_which_a_tab_goes_there_is_the_callback(person: Person, how: str) -> None:
    posted = "post" in how
    with ExitStack() as stack:
        there = stack.enter_context(waiting_leg(form_post=posted))
        target = there.callback if not posted else there.callback.partition("?")[0]
        hidden = "".join(f'<input type="hidden" name="{n}" value="{v}">' for n, v in PARAMETERS) if posted else ""
        body = how.format(url=target).replace("<button", hidden + "<button")
        tab = person.open(stack.enter_context(page(body)))
        if "refresh" not in how:
            tab.continue_()
        assert tab.page_after(target) == "Done"
        assert there.leg.seen.callbacks == ["granted"]


PARAMETERS: Final = [tuple(pair.split("=")) for pair in CALLBACK.partition("?")[2].split("&")]


def test_a_frame_of_a_foreign_page_never_becomes_the_callback_whatever_its_page_does(person: Person) -> None:
    inner = "<iframe srcdoc=\"<script>location='{url}'</script>\"></iframe>"
    with waiting_leg() as there, page(inner.format(url=there.callback)) as url:
        person.open(url)
        assert wait_until(lambda: there.reasons != [])
        assert (there.leg.seen.callbacks, there.leg.remote.requests) == ([], [])
