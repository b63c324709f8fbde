"""A browser without a browser: opens the sign-in pages, presses their buttons by name, ends at the callback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from kirotunnel.sandbox.accounts import SignInMethod

if TYPE_CHECKING:
    import httpx

PATIENCE_S: Final = 60.0
"""How long a whole sign-in may take."""
_ANSWER_S: Final = 30.0
_MAX_STEPS: Final = 20
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# What is pressed for a method, the nearest to the goal first.
_METHOD_IDS: Final[dict[SignInMethod, tuple[str, ...]]] = {
    "google": ("login-google",),
    "github": ("login-github",),
    "builder-id": ("login-builder-id",),
    "idc": ("login-idc", "login-organization"),
    "external-idp": ("login-external-idp", "login-organization"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotReport:
    """What the robot did and how it ended."""

    steps: tuple[str, ...]
    """Each step in a few words; addresses without their queries, which hold codes and states."""
    decided: bool
    """Whether it came to press `allow` or `deny`."""
    callback_status: int | None
    """The status of the callback's answer; None where no callback was called, as in a device sign-in."""
    outcome: str | None
    """What the last page says of itself: signed-in, denied, refused; None where it says nothing."""
    problem: str | None
    """Why it could not go on; None where it went on to the end."""

    @property
    def ok(self) -> bool:
        """Whether the decision was delivered: by a callback that was answered, or on a device page."""
        if self.problem is not None or not self.decided:
            return False
        if self.callback_status is None:
            return self.outcome in {"signed-in", "denied"}
        return self.callback_status < 400


async def sign_in(
    url: str,
    *,
    method: SignInMethod,
    decision: Literal["allow", "deny"] = "allow",
    start_url: str | None = None,
    region: str | None = None,
    patience_s: float = PATIENCE_S,
    asks_for_icon: bool = False,
) -> RobotReport:
    """Sign in, or refuse to, starting at this page; `start_url` and `region` are typed where `idc` asks for them.

    With `asks_for_icon` it asks the callback's server for its icon first, as browsers do.
    """
    typed = {name: text for name, text in (("start_url", start_url), ("region", region)) if text is not None}
    robot = _Robot(url, (decision, "continue", "confirm", *_METHOD_IDS[method]), typed, asks_for_icon)
    try:
        async with (
            asyncio.timeout(patience_s),
            _http_client() as client,
        ):
            await robot.walk(client)
    except TimeoutError:
        robot.problem = "the sign-in took too long"
    except ValueError:
        robot.problem = "a page leads to an address that is none"
    return robot.report()


def _http_client() -> httpx.AsyncClient:
    # Not needed to import the sandbox, and slow to load.
    import httpx

    return httpx.AsyncClient(
        # A proxy of the environment is not for loopback addresses.
        trust_env=False,
        # Nothing here has a certificate: a context that trusts none is made in no time, the usual one is not.
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=_ANSWER_S,
        headers={"User-Agent": "kirotunnel-robot"},
    )


@dataclass(slots=True)
class _Form:
    method: str
    action: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Control:
    """Something to press: a link, or a button of a form with the value that it adds."""

    label: str
    href: str | None = None
    form: _Form | None = None
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request to make."""

    method: str
    url: str
    form: Mapping[str, str] | None = None


class _Page(HTMLParser):
    """The title of a page, what it says of itself, and its links and buttons that have an id."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.outcome: str | None = None
        self.controls: dict[str, _Control] = {}
        self._form: _Form | None = None
        self._open: tuple[str, str] | None = None
        self._in_title = False
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms, fields, links and buttons."""
        given = {name: value or "" for name, value in attrs}
        self.outcome = given.get("data-outcome", self.outcome)
        if tag == "title" and not self.title:
            self._in_title = True
        elif tag == "form":
            self._form = _Form(given.get("method", "get").upper(), given.get("action", ""), {})
        elif tag == "input" and self._form is not None and "name" in given:
            self._form.fields[given["name"]] = given.get("value", "")
        elif tag in {"a", "button"} and "id" in given:
            self._open = (tag, given["id"])
            self.controls[given["id"]] = self._control(tag, given)

    def handle_endtag(self, tag: str) -> None:
        """Note where forms, links and buttons end."""
        if tag == "title":
            self._in_title = False
        elif tag == "form":
            self._form = None
        elif self._open is not None and tag == self._open[0]:
            self._open = None

    def handle_data(self, data: str) -> None:
        """Collect the title and the labels."""
        if self._in_title:
            self.title += data
        elif self._open is not None:
            known = self.controls[self._open[1]]
            # A badge stands before the label as a text of its own: the last text is what the button is called.
            label = data.strip() or known.label
            self.controls[self._open[1]] = _Control(label, known.href, known.form, known.extra)

    def _control(self, tag: str, given: Mapping[str, str]) -> _Control:
        if tag == "a":
            return _Control(given["id"], href=given.get("href", ""))
        extra = ((given["name"], given.get("value", "")),) if "name" in given else ()
        return _Control(given["id"], form=self._form, extra=extra)


@dataclass(slots=True)
class _Robot:
    """One walk through the pages."""

    start: str
    wanted: tuple[str, ...]
    """The ids of what it presses, the first that a page has."""
    typed: Mapping[str, str]
    asks_for_icon: bool = False
    steps: list[str] = field(default_factory=list)
    decided: bool = False
    callback_status: int | None = None
    outcome: str | None = None
    problem: str | None = None

    def report(self) -> RobotReport:
        """What is known at the end."""
        return RobotReport(
            steps=tuple(self.steps),
            decided=self.decided,
            callback_status=self.callback_status,
            outcome=self.outcome,
            problem=self.problem,
        )

    async def walk(self, client: httpx.AsyncClient) -> None:
        """Go from page to page until there is nothing to press, or nowhere to go."""
        visit: _Visit | None = _Visit("GET", self.start)
        for _ in range(_MAX_STEPS):
            if visit is None:
                return
            response = await self._answer(client, visit)
            if response is None:
                return
            visit = self._redirect(response, visit) if response.has_redirect_location else self._press(response)
        self.problem = "the pages lead round and round"

    async def _answer(self, client: httpx.AsyncClient, visit: _Visit) -> httpx.Response | None:
        import httpx

        shown = _shown(visit.url)
        is_first_callback = self._is_callback(visit.url) and self.callback_status is None
        if is_first_callback and self.asks_for_icon:
            await self._ask_for_icon(client, visit.url)
        try:
            response = await client.request(visit.method, visit.url, data=visit.form)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            self._lost(shown, exc)
            return None
        if is_first_callback:
            self.callback_status = response.status_code
            self.steps.append(f"callback {shown}: answered {response.status_code}")
        return response

    async def _ask_for_icon(self, client: httpx.AsyncClient, url: str) -> None:
        import httpx

        # A connection of its own: the answer may end it, and that is nothing to the callback.
        icon = urljoin(url, "/favicon.ico")
        with contextlib.suppress(httpx.HTTPError):
            response = await client.get(icon, headers={"Connection": "close"})
            self.steps.append(f"icon {_shown(icon)}: answered {response.status_code}")

    def _lost(self, shown: str, error: Exception) -> None:
        self.steps.append(f"{shown}: no answer ({type(error).__name__})")
        # Once the callback is answered the client may be gone, and its last page with it.
        if self.callback_status is None:
            self.problem = f"{shown} did not answer"

    def _refused(self, response: httpx.Response) -> None:
        # What the client makes of its callback is its own affair; before that, a page that refuses is the end.
        if self.callback_status is None:
            self.problem = f"{_shown(str(response.url))} refused with {response.status_code}"

    def _redirect(self, response: httpx.Response, visit: _Visit) -> _Visit | None:
        target = urljoin(visit.url, response.headers["location"])
        return _Visit("GET", target) if self._may_go(target) else None

    def _press(self, response: httpx.Response) -> _Visit | None:
        page = _Page(response.text)
        self.outcome = page.outcome
        self.steps.append(f"page {_shown(str(response.url))}: {page.title.strip() or response.status_code}")
        if response.status_code >= 400:
            self._refused(response)
            return None
        name = next((name for name in self.wanted if name in page.controls), None)
        if name is None:
            if not self.decided:
                self.problem = f"there is nothing to press on «{page.title.strip() or response.status_code}»"
            return None
        control = page.controls[name]
        self.decided = self.decided or name in {"allow", "deny"}
        self.steps.append(f"pressed «{control.label}»")
        visit = self._visit_of(control, str(response.url))
        return visit if self._may_go(visit.url) else None

    def _visit_of(self, control: _Control, base: str) -> _Visit:
        if control.form is None:
            return _Visit("GET", urljoin(base, control.href or ""))
        form = control.form
        typed = {name: self.typed.get(name, value) for name, value in form.fields.items()}
        values = {**typed, **dict(control.extra)}
        url = urljoin(base, form.action)
        if form.method == "POST":
            return _Visit("POST", url, values)
        # A form that is sent by GET replaces the query.
        return _Visit("GET", urlunsplit(urlsplit(url)._replace(query=urlencode(values))))

    def _may_go(self, url: str) -> bool:
        """Only where the sign-in started, and to loopback addresses: the robot is no visitor of real sites."""
        parts = urlsplit(url)
        if _origin(url) == _origin(self.start) or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            return True
        self.steps.append(f"not followed: {_shown(url)}")
        if self.callback_status is None:
            self.problem = f"the sign-in leads outside, to {parts.scheme}://{parts.hostname}"
        return False

    def _is_callback(self, url: str) -> bool:
        return urlsplit(url).hostname in _LOOPBACK and _origin(url) != _origin(self.start)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
