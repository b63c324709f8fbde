"""A person at a real Chromium: opens addresses in tabs, types, and clicks with a mouse button that goes down and up."""

from __future__ import annotations

import os
import select
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

from e2e.harness import wait_until

PROGRAM: Final = "/usr/bin/chromium"
PATIENCE_S: Final = 40.0
"""Seconds after which a page or an address will not come any more."""
_SWITCHES: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_METHOD_LINKS: Final = {
    "google": ("login-google",),
    "github": ("login-github",),
    "builder-id": ("login-builder-id",),
    "idc": ("login-organization", "login-idc"),
    "external-idp": ("login-organization", "login-external-idp"),
}
T = TypeVar("T")


class Chromium:
    """Starts Chromium for one person after the other."""

    def __init__(self) -> None:
        # Playwright keeps an event loop running in its thread, in which no other test could then run one.
        self._thread = ThreadPoolExecutor(1, "chromium")
        self._playwright: Playwright = self.do(sync_playwright().start)

    def do(self, work: Callable[[], T]) -> T:
        """Do this in Playwright's thread."""
        return self._thread.submit(work).result()

    @contextmanager
    def person(self, profile: Path) -> Iterator[Person]:
        """Somebody with a profile of their own, which is empty.

        A real profile and not one of Playwright's contexts: those are incognito, where Chromium opens no connection
        before it is needed, and it is such a connection that breaks one-visitor listeners.
        """
        context = self.do(lambda: self._launch(profile))
        try:
            yield Person(self, context)
        finally:
            self.do(context.close)

    def _launch(self, profile: Path) -> BrowserContext:
        context = self._playwright.chromium.launch_persistent_context(
            profile, executable_path=PROGRAM, args=list(_SWITCHES)
        )
        context.set_default_timeout(PATIENCE_S * 1000)
        return context

    def stop(self) -> None:
        """End Playwright."""
        self.do(self._playwright.stop)
        self._thread.shutdown()


class Person:
    """Somebody who sits in front of one Chromium."""

    def __init__(self, chromium: Chromium, context: BrowserContext) -> None:
        self._chromium = chromium
        self._context = context

    def open(self, url: str) -> Tab:
        """Open the address in a new tab."""
        return Tab(self._chromium, self._chromium.do(lambda: self._opened(url)))

    def _opened(self, url: str) -> Page:
        page = self._context.new_page()
        page.goto(url)
        return page


class Tab:
    """One tab, in which a sign-in is under way."""

    def __init__(self, chromium: Chromium, page: Page) -> None:
        self._do = chromium.do
        self._page = page

    def choose(self, method: str) -> None:
        """On the portal: say how to sign in."""
        self._do(lambda: self._choose(method))

    def decide(self, decision: str) -> None:
        """Press `allow` or `deny`."""
        self._do(lambda: self._page.locator(f"#{decision}").click())

    def sign_in(self) -> None:
        """At `oidc-provider`: sign in and consent, each button pressed with the mouse."""
        self._do(self._sign_in)

    def way_back(self) -> str:
        """The address of the link that leads back to the command line."""
        return self._do(lambda: str(self._page.locator("#continue").get_attribute("href")))

    def says(self, text: str) -> bool:
        """Whether the page comes to say this."""
        self._do(lambda: self._page.get_by_text(text).first.wait_for())
        return True

    def text(self) -> str:
        """What the page says."""
        return self._do(self._text)

    def continue_(self) -> None:
        """Click on what leads back to the command line."""
        self._do(lambda: self._page.locator("#continue").click())

    def hold_down(self) -> None:
        """Press the mouse button on the link that leads back, and do not let go yet."""
        self._do(self._hold_down)

    def let_go(self) -> None:
        """Let go of the mouse button: only now is it a click."""
        self._do(lambda: self._page.mouse.up())

    def page_after(self, address: str) -> str:
        """The heading of the page, once the tab is at an address with this beginning and the page is there."""
        return self._do(lambda: self._heading_at(address))

    def problem(self) -> str:
        """What Chromium itself says, once it has no page to show."""
        return self._do(lambda: self._page.locator(".error-code").inner_text())

    def _choose(self, method: str) -> None:
        for link in _METHOD_LINKS[method]:
            if link == "login-idc":
                self._page.locator("#start-url").fill("https://acme.awsapps.com/start")
                self._page.locator("#region").fill("us-east-1")
            self._page.locator(f"#{link}").click()

    def _sign_in(self) -> None:
        page = self._page
        page.locator("input[name=login]").fill("ada")
        page.locator("input[name=password]").fill("not-checked")
        for _ in ("sign in", "consent"):
            with page.expect_navigation():
                page.locator("button[type=submit]").click()

    def _text(self) -> str:
        self._page.wait_for_load_state()
        return self._page.inner_text("body")

    def _hold_down(self) -> None:
        link = self._page.locator("#continue")
        link.wait_for()
        box: Any = link.bounding_box()
        self._page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self._page.mouse.down()

    def _heading_at(self, address: str) -> str:
        self._page.wait_for_url(lambda url: url.startswith(address))
        return self._page.locator("h1").inner_text()


def walk(person: Person, url: str, method: str, decision: str = "allow") -> Tab:
    """Go through the pages of one leg, up to the link that leads back to the command line."""
    tab = person.open(url)
    if "/signin?" in url:
        tab.choose(method)
    tab.decide(decision)
    return tab


def callback_port(url: str) -> int:
    """The port that the sign-in page at this address comes back to."""
    port = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0]).port
    assert port is not None
    return port


def connections_to(port: int) -> int:
    """How many connections of this machine there are to a port of its loopback."""
    wanted, count = f":{port:04X}", 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
        count += sum(1 for row in rows if row[2].endswith(wanted) and row[3] == "01")
    return count


def hold_until_silent(tab: Tab, port: int) -> None:
    """Press the button on the link, as a person does for a moment, until Chromium has opened its silent connection."""
    tab.hold_down()
    assert wait_until(lambda: connections_to(port) > 0), "Chromium opened no silent connection"


class Openings:
    """The addresses that a command was told to open: it writes them to a FIFO, and this reads them."""

    def __init__(self, fifo: Path) -> None:
        os.mkfifo(fifo)
        # For reading and writing: opening it waits for nobody then, and it has no end.
        self._fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self.browser = ["--browser", shlex.join(["sh", "-c", f'echo "$1" >{shlex.quote(str(fifo))}', "sh"])]
        """The option for kirotunnel."""

    def next(self, seconds: float = PATIENCE_S) -> str:
        """The next address."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._fd], [], [], seconds)
            assert ready, "nobody asked for a page to be opened"
            self._rest += os.read(self._fd, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def waiting(self) -> bool:
        """Whether there is an address that was not asked for yet."""
        return bool(self._rest or select.select([self._fd], [], [], 0)[0])

    def close(self) -> None:
        os.close(self._fd)
