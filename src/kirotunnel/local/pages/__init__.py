"""The pages that a browser gets from the relay itself: one for each outcome, and none that says more than is known."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Final

from kirotunnel.events import RefusalReason

_DONE: Final = "#2e7d4f"
_OPEN: Final = "#b7791f"
_BAD: Final = "#b3374a"
_LINK: Final = '<p class="next"><a href="{href}" rel="noreferrer">The page that {cli} would show</a></p>\n'


@dataclass(frozen=True, slots=True)
class _Words:
    status: int
    tone: str
    title: str
    message: str
    next: str


class Page(Enum):
    """What a page of ours can say. `{cli}` and `{host}` are filled in."""

    HANDED_OVER = _Words(
        200,
        _DONE,
        "Handed over to {cli}",
        "{cli} on {host} has taken the answer of the sign-in.",
        "Return to your terminal: it says when you are signed in. You can close this tab.",
    )
    DENIED = _Words(
        200,
        _BAD,
        "The sign-in was denied",
        "The sign-in page sent an error instead of an approval, and {cli} on {host} was told so.",
        "Return to your terminal. Nobody was signed in by this.",
    )
    NO_ANSWER = _Words(
        502,
        _OPEN,
        "No answer from {cli}",
        "{cli} on {host} took the answer of the sign-in and closed the connection without a word.",
        "Return to your terminal: kirotunnel asks {cli} there who is signed in.",
    )
    COMPLAINED = _Words(
        200,
        _BAD,
        "{cli} answered with an error",
        "{cli} on {host} took the answer of the sign-in and says that something is wrong with it.",
        "Return to your terminal: it says whether you are signed in.",
    )
    INTERRUPTED = _Words(
        502,
        _OPEN,
        "The connection was lost",
        "The connection to {host} was lost while the answer of the sign-in was on its way to {cli}.",
        "Return to your terminal: it goes on when the connection is back, and says how it went.",
    )
    UNREACHABLE = _Words(
        502,
        _BAD,
        "{cli} is no longer waiting",
        "The answer of the sign-in arrived here, but {cli} on {host} no longer took it.",
        "Return to your terminal and run the same command again.",
    )
    FORBIDDEN_REDIRECT = _Words(
        502,
        _BAD,
        "Redirect refused",
        "{cli} on {host} answered with a redirect to a place that this page will not send you to.",
        "Return to your terminal: it says whether you are signed in.",
    )
    SIGNED_IN = _Words(
        200,
        _DONE,
        "You are signed in",
        "{cli} on {host} is signed in.",
        "You can close this tab and return to your terminal.",
    )
    NOT_SIGNED_IN = _Words(
        200,
        _BAD,
        "Nobody was signed in",
        "The answer of the sign-in arrived, but {cli} on {host} could not use it.",
        "Return to your terminal: it says why.",
    )
    STILL_WORKING = _Words(
        200,
        _OPEN,
        "Not finished yet",
        "The answer of the sign-in arrived, and {cli} on {host} is still at work with it.",
        "Return to your terminal: it says when you are signed in.",
    )
    NOT_YOURS = _Words(
        403,
        _BAD,
        "Not part of this sign-in",
        "This request does not belong to the sign-in that is waiting here, so it was not passed on.",
        "If you came here from an old tab or bookmark, close it. The sign-in that is waiting goes on.",
    )
    NOT_HERE = _Words(
        404,
        _OPEN,
        "Nothing here",
        "This address only takes the answer of one sign-in for {host}.",
        "You can close this tab. The sign-in that is waiting goes on.",
    )
    METHOD = _Words(
        405,
        _OPEN,
        "Method not allowed",
        "This address only takes the answer of one sign-in for {host}.",
        "You can close this tab. The sign-in that is waiting goes on.",
    )
    BUSY = _Words(
        503,
        _OPEN,
        "Too much at once",
        "{cli} on {host} is asked for more pages at once than a sign-in needs, so this one was not passed on.",
        "Load this page again in a moment. The sign-in that is waiting goes on.",
    )
    MALFORMED = _Words(
        400,
        _BAD,
        "Request not understood",
        "What arrived is no request that a browser would send here.",
        "The sign-in that is waiting goes on.",
    )


REFUSALS: Final[dict[RefusalReason, Page]] = {
    "path": Page.NOT_HERE,
    "state": Page.NOT_YOURS,
    "host": Page.NOT_YOURS,
    "method": Page.METHOD,
    "malformed": Page.MALFORMED,
    "idle": Page.MALFORMED,
}
"""What a stray is shown, by the reason for which it was refused."""


@cache
def _template() -> Template:
    return Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))


def render(page: Page, *, cli: str, host: str, link: str | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the page; the names are escaped, since the host comes from a command line.

    `link` is where the remote's own answer would have sent the browser, and was judged.
    """
    words = page.value
    names = {"cli": escape(cli), "host": escape(host)}
    body = _template().substitute(
        tone=words.tone,
        host=names["host"],
        title=words.title.format(**names),
        message=words.message.format(**names),
        next=words.next.format(**names),
        link=_LINK.format(href=escape(link), **names) if link else "",
    )
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if page is Page.METHOD:
        headers.append(("Allow", "GET"))
    return words.status, headers, body.encode()
