"""Which request on the callback port reaches the remote: one pure decision per request.

The remote listener answers one visitor and compares the state only afterwards (kiro-cli 1.20 and later), so a stray or
hostile request that got through would end the login. Everything that can be compared is compared here, before anything
is dialled.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.redaction import Secret
from kirotunnel.wire.redirect import matches_host

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
# A callback without a known state must at least be one (RFC 6749 §4.1.2; kiro-cli's portal may send login_option only).
_RESPONSE_PARAMETERS: Final = frozenset({"code", "error", "login_option"})
# The path and query that a browser sends (RFC 9112 §3.2.1). No fragment, which the remote might read as part of the
# state; no backslash in the path and no second slash, with which a browser leaves for another host.
_TARGET: Final = re.compile(r"/(?!/)[!$-;=@-\[\]-~]*(?:\?[!$-;=?-~]*)?")
# By which a callback of any kind is told from a page: OAuth's, OpenID Connect's, SAML's, and those of home-made logins.
_ANSWERS: Final = _RESPONSE_PARAMETERS | {
    "access_token",
    "id_token",
    "token",
    "session_token",
    "api_key",
    "SAMLResponse",
}
# What browsers and their helpers ask of every server by themselves.
_BROWSERS_OWN: Final = frozenset(
    {"/favicon.ico", "/robots.txt", "/apple-touch-icon.png", "/apple-touch-icon-precomposed.png"}
)
_BY_SCRIPT: Final = {"cors"}
_FORM: Final = "application/x-www-form-urlencoded"
_NAVIGATION: Final = {"navigate"}
_WHOLE_TAB: Final = {"document"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Widening:
    """What else the listener of a command takes, of which less is known than of kiro-cli."""

    start: Secret[str] | None = None
    """Path and query of a page of its own, with which the sign-in begins."""
    fragment: bool = False
    """The answer comes in the fragment: the browser asks for the bare path, and that page sends what it found there."""
    pages: bool = False
    """The pages that it answers with do something by themselves: their scripts run, and may send more."""
    any_page: bool = False
    """Whatever a tab goes to: no URL has said where the answer comes."""
    shown: bool = False
    """A page of the remote's is in the browser, and may send more: what it found in the fragment, a form."""
    origins: frozenset[str] = frozenset()
    """Origins (RFC 6454) of sign-in pages whose own scripts send the answer, from where they are."""
    fetch_hosts: tuple[str, ...] = ()
    """Host patterns of more such pages, over https."""

    @property
    def scripts(self) -> bool:
        """Whether the remote's pages are to do something by themselves."""
        return self.pages or self.fragment or self.any_page or self.start is not None

    def lets_in(self, origin: str) -> bool:
        """Whether scripts of that origin may speak to the listener, and read what it answers."""
        host = origin.removeprefix("https://")
        return origin in self.origins or (host != origin and matches_host(host, self.fetch_hosts))


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRule:
    """What the callback of one leg looks like."""

    leg: int
    paths: frozenset[str]
    """The exact paths that count."""
    state: Secret[str] | None
    """None where the authorize URL is not known (attach): then the request must carry a response at least."""
    form_post: bool = False
    follow_up: str | None = None
    """Path and query of the page that the remote's answer sent the browser to, once there is one."""
    wider: Widening | None = None
    """What else may reach the remote; None for nothing but one callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What the decision needs of a request."""

    method: str
    target: str
    hosts: tuple[str, ...]
    """The values of all Host headers: exactly one is right (RFC 9112 §3.2)."""
    content_type: str = ""
    body: bytes = b""
    as_page: bool = True
    """Whether it is asked for as the page of a tab, see `asked_as_page`."""
    script_of: str = ""
    """The origin of the page whose script asks, see `asking_script`; `null` for the remote's own pages."""

    @classmethod
    def of(cls, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> RequestHead:
        """Of a request as it was read; the headers' names are in lower case."""
        return cls(
            method=method,
            target=target,
            hosts=tuple(value for name, value in headers if name == "host"),
            content_type=next((value for name, value in headers if name == "content-type"), ""),
            body=body,
            as_page=asked_as_page(headers),
            script_of=asking_script(headers),
        )


@dataclass(frozen=True, slots=True)
class Forward:
    """This is the callback of that leg."""

    rule: LegRule
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class FollowUp:
    """This is the page that the remote's answer named."""

    rule: LegRule


@dataclass(frozen=True, slots=True)
class Pass:
    """This is no callback, but the remote's to answer all the same, see `Widening`."""

    rule: LegRule


@dataclass(frozen=True, slots=True)
class Preflight:
    """A browser asks whether the remote's own page may send what follows (Fetch, CORS-preflight); answered here."""

    rule: LegRule


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answered here; never reaches a remote."""

    status: int
    reason: RefusalReason


Decision = Forward | FollowUp | Pass | Preflight | Refuse


def decide(head: RequestHead, port: int, rules: Sequence[LegRule]) -> Decision:
    """Decide on one request that arrived on `port`, given the rules of all legs that this port serves."""
    if len(head.hosts) != 1 or not _TARGET.fullmatch(head.target):
        return Refuse(400, "malformed")
    if head.hosts[0].lower() not in _own_hosts(port):
        return Refuse(403, "host")  # DNS rebinding: the page of another name that now leads here
    path, _, query = head.target.partition("?")
    if head.method == "GET" and (rule := next((r for r in rules if r.follow_up == head.target), None)):
        return FollowUp(rule) if head.as_page else Refuse(405, "method")
    decision = _callback(head, path, query, rules)
    wider = [rule for rule in rules if rule.wider is not None]
    if not wider or isinstance(decision, Forward) or path in _BROWSERS_OWN:
        return decision
    return _beyond(head, path, query, wider) or decision


def asked_as_page(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a browser asks for this because a tab goes there (Fetch metadata, https://www.w3.org/TR/fetch-metadata/).

    A sign-in page sends the browser back by a link, a redirect or a form: by a navigation of the whole tab, from
    whatever site. A page that asks for an image, a script, a frame or by `fetch` is none of that, and what is fetched
    ahead (speculation rules, `Sec-Purpose: prefetch`) nobody has clicked on yet: Chromium asks again when somebody
    does, as the answer was no success. Programs that are no browsers say nothing of the kind, and pass.
    """
    said: dict[str, set[str]] = {}
    for name, value in headers:
        said.setdefault(name, set()).add(value.strip().lower())
    ahead = said.get("sec-purpose", set()) | said.get("purpose", set()) | said.get("x-moz", set())
    return (
        said.get("sec-fetch-mode", _NAVIGATION) == _NAVIGATION
        and said.get("sec-fetch-dest", _WHOLE_TAB) == _WHOLE_TAB
        and not any(value.startswith("prefetch") for value in ahead)
    )


def asking_script(headers: Iterable[tuple[str, str]]) -> str:
    """The origin of the page that asks by a script, and wants to read the answer; empty where none does.

    A page in a sandbox has the origin `null`.
    """
    said: dict[str, set[str]] = {}
    for name, value in headers:
        said.setdefault(name, set()).add(value.strip().lower())
    origins = said.get("origin", set())
    return origins.pop() if len(origins) == 1 and said.get("sec-fetch-mode", _BY_SCRIPT) == _BY_SCRIPT else ""


def _beyond(head: RequestHead, path: str, query: str, rules: Sequence[LegRule]) -> Decision | None:
    """What passes by a widening though it is no callback with its state; None where nothing of the kind."""
    parameters = _parameters(query)
    for rule in sorted(rules, key=lambda rule: rule.state is None):
        wider = rule.wider
        if wider is None or not _may_belong(rule, head, query):
            continue
        get = head.method == "GET"
        scripted = head.script_of != "" and (
            wider.lets_in(head.script_of) or (wider.shown and head.script_of == "null")
        )
        if get and head.as_page and (_is_start(wider, head.target) or (wider.fragment and path in rule.paths)):
            # With a query of its own it would be a callback, and those were compared.
            if _is_start(wider, head.target) or _says_nothing(parameters):
                return Pass(rule)
            if rule.state is None:
                return _by_content(rule, head, parameters)
        elif wider.fragment and rule.state is None and path in rule.paths and head.as_page and head.method == "POST":
            return _by_content(rule, head, parameters)  # a login of its own making, which has no state and any names
        elif wider.any_page and head.as_page and (get or head.method == "POST"):
            return _by_content(rule, head, parameters)
        elif scripted and head.method == "OPTIONS":
            return Preflight(rule)
        elif (scripted or (wider.shown and head.as_page)) and (get or head.method == "POST"):
            return _by_content(rule, head, parameters)
    return None


def _by_content(rule: LegRule, head: RequestHead, parameters: dict[str, str] | None) -> Decision:
    """A callback where it brings an answer of some kind, else a page."""
    said = parameters or {}
    if not _ANSWERS.isdisjoint(said) or head.method == "POST":
        return Forward(rule, "denied" if "error" in said else "granted")
    return Pass(rule)


def _is_start(wider: Widening, target: str) -> bool:
    return wider.start is not None and hmac.compare_digest(target.encode(), wider.start.reveal().encode())


def _says_nothing(parameters: dict[str, str] | None) -> bool:
    return parameters is not None and _ANSWERS.isdisjoint(parameters) and "state" not in parameters


def _may_belong(rule: LegRule, head: RequestHead, query: str) -> bool:
    """A state that is there, in the query or in a form, must be the right one, each time that it is there."""
    if rule.state is None:
        return True
    texts = [query]
    if head.content_type.partition(";")[0].strip().lower() == _FORM:
        texts.append(head.body.decode("utf-8", "replace"))
    try:
        states = [state for text in texts for state in parse_qs(text, keep_blank_values=True).get("state", [])]
    except ValueError:
        return False
    return all(_belongs(rule, {"state": state}) for state in states)


def _callback(head: RequestHead, path: str, query: str, rules: Sequence[LegRule]) -> Decision:
    here = [rule for rule in rules if path in rule.paths]
    if not here:
        return Refuse(404, "path")
    here = [rule for rule in here if head.method == "GET" or (head.method == "POST" and rule.form_post)]
    if not here:
        return Refuse(405, "method")
    parameters = _parameters(query) if head.method == "GET" else _form(head, query)
    if parameters is None:
        return Refuse(400, "malformed")
    # A rule that knows its state first: the other would take any response.
    here.sort(key=lambda rule: rule.state is None)
    matching = next((rule for rule in here if _belongs(rule, parameters)), None)
    if matching is None:
        return Refuse(403, "state")
    if not head.as_page:
        return Refuse(405, "method")
    return Forward(matching, "denied" if "error" in parameters else "granted")


def _parameters(text: str) -> dict[str, str] | None:
    """The parameters; None where one is repeated: we and the remote might read a different one (RFC 6749 §3.1)."""
    try:
        parsed = parse_qs(text, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return None
    if any(len(values) > 1 for values in parsed.values()):
        return None
    return {name: values[0] for name, values in parsed.items()}


def _form(head: RequestHead, query: str) -> dict[str, str] | None:
    """The parameters of a posted response; None where it is no form, or says something in its query as well."""
    in_query = _parameters(query)
    if head.content_type.partition(";")[0].strip().lower() != _FORM:
        return None
    if in_query is None or not in_query.keys().isdisjoint({"state", *_RESPONSE_PARAMETERS}):
        return None
    return _parameters(head.body.decode("utf-8", "replace"))


def _belongs(rule: LegRule, parameters: dict[str, str]) -> bool:
    if rule.state is None:
        return not _RESPONSE_PARAMETERS.isdisjoint(parameters)
    return hmac.compare_digest(parameters.get("state", "").encode(), rule.state.reveal().encode())


def claimed_state(head: RequestHead) -> Secret[str] | None:
    """The state that a request brings, whosever it is; None where it brings none, or is none of a browser's."""
    if not _TARGET.fullmatch(head.target):
        return None
    query = head.target.partition("?")[2]
    parameters = _form(head, query) if head.method == "POST" else _parameters(query)
    state = (parameters or {}).get("state")
    return Secret(state) if state else None


def same_origin_target(location: str, port: int) -> str | None:
    """Path and query of a Location that stays on this port; None where it leads elsewhere.

    kiro-cli's SSO and external IdP legs answer with a redirect to http://127.0.0.1:PORT/index.html, whatever name of
    this machine the browser used.
    """
    target = location.partition("#")[0]
    for origin in (f"http://{host}" for host in _own_hosts(port)):
        if target.lower().startswith(f"{origin}/"):
            target = target[len(origin) :]
            break
    return target if _TARGET.fullmatch(target) else None


def _own_hosts(port: int) -> set[str]:
    return {f"{name}:{port}" for name in LOOPBACK_NAMES}
