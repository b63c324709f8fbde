"""What is fuzzed: each target reads some bytes as ours do, and says what must hold of the answer, whatever they are.

A target's input is what a remote, a browser or a stranger would really send, so that the corpus is readable and a find
can be sent to the real thing. Where a reader takes a stream, it must not matter how the bytes were cut.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Account
from kirotunnel.local.http1 import MAX_BODY, MAX_HEAD, MalformedRequestError, Request, ServerConnection
from kirotunnel.local.relay import Route
from kirotunnel.local.upstream import MAX_ANSWER, NoAnswerError, Upstream
from kirotunnel.oauth import aws_sso_oidc, kiro_service, openid_provider
from kirotunnel.oauth.authorization import AuthorizationRequest, Denied, Granted, read_response
from kirotunnel.oauth.discovery import read_metadata
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.id_token import Expectation, read_keys, validate
from kirotunnel.oauth.messages import Reply
from kirotunnel.profiles.profile import BUILT_IN, load_profile, read_profile
from kirotunnel.redaction import Secret, redacted
from kirotunnel.ssh.bridge import _CommandStream, _greeting
from kirotunnel.ssh.config_text import parse_line, setting_words
from kirotunnel.ssh.container import _has_line, _read_records
from kirotunnel.ssh.control import MAX_JOBS, ControlShell
from kirotunnel.ssh.holds import _held_by
from kirotunnel.ssh.jobs import Job
from kirotunnel.ssh.remote_cli import HeldCLI
from kirotunnel.wire.askpass import Wanted, read_question
from kirotunnel.wire.command_line import parse_ssh, shown_command
from kirotunnel.wire.containers import parse_container, parse_pod, read_entry
from kirotunnel.wire.examined import read_examined
from kirotunnel.wire.gate import (
    FollowUp,
    Forward,
    LegRule,
    Pass,
    Preflight,
    Refuse,
    RequestHead,
    Widening,
    decide,
    same_origin_target,
)
from kirotunnel.wire.listeners import (
    ListeningPort,
    parse_excluded_ranges,
    parse_lsof,
    parse_proc,
    parse_reserved_ranges,
    parse_ss,
)
from kirotunnel.wire.passing import EscapeKeys, Passing
from kirotunnel.wire.pasted import Pasted, read_pasted
from kirotunnel.wire.printed_urls import PrintedUrls, SaidLine
from kirotunnel.wire.records import MAX_RECORD, Record, RecordReader, read_account, read_facts, read_listeners
from kirotunnel.wire.redirect import (
    LOOPBACK_HOSTS,
    MAX_URL,
    MIN_PORT,
    TrustedHost,
    UrlPolicy,
    check_url,
    has_loopback_redirect,
    matches_host,
    parse_authorization_url,
)
from kirotunnel.wire.sharing import Frame, FrameError, Frames, encode
from kirotunnel.wire.sign_in_page import looks_like_sign_in, parse_sign_in_page
from kirotunnel.wire.terminal import SafeTerminal, one_line, plain
from kirotunnel.wire.transcript import MAX_LINE, Transcript, UrlShown, UserCodeShown
from kirotunnel.wire.whoami import WhoamiPatterns, parse_revoked, parse_whoami

T = TypeVar("T")
Target = Callable[[bytes], None]

PORT: Final = 3128
STATE: Final = "uXk2Qp3xV9"
NONCE: Final = "00112233445566778899aabb"
OWN_HOSTS: Final = (f"localhost:{PORT}", f"127.0.0.1:{PORT}", f"[::1]:{PORT}")
FORM: Final = "application/x-www-form-urlencoded"
PATHS: Final = frozenset({"/oauth/callback", "/signin/callback"})
LEG: Final = LegRule(leg=1, paths=PATHS, state=Secret(STATE))
POSTED: Final = LegRule(leg=2, paths=frozenset({"/posted"}), state=Secret(STATE), form_post=True)
ANY_STATE: Final = LegRule(leg=3, paths=frozenset({"/attached"}), state=None)
NAMED: Final = LegRule(leg=4, paths=frozenset({"/x"}), state=Secret("another"), follow_up="/index.html?error=a")
RULES: Final = (LEG, POSTED, ANY_STATE, NAMED)
HOSTS: Final = load_profile("kiro-cli").authorize_hosts
POLICY: Final = UrlPolicy(known_hosts=HOSTS, trusted=(TrustedHost("idp.corp", 8443),))

# Written down apart from the code under test: what may not be in a line for a person, and what a terminal may be sent.
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
DRAWING: Final = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]{0,2}[ABCDG]|0?J|[012]?K|\?25[hl])|[\r\n\t]")


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The bytes at once, in halves, and one by one."""
    half = len(data) // 2
    yield [data]
    yield [data[:half], data[half:]]
    yield [data[i : i + 1] for i in range(len(data))]


def the_same_however_cut(data: bytes, read: Callable[[list[bytes]], T]) -> T:
    """What the reader makes of the bytes; it must make the same of them in pieces."""
    whole, *others = [read([piece for piece in pieces if piece]) for pieces in cuts(data)]
    for other in others:
        assert other == whole, (whole, other)
    return whole


def assert_shown_line(text: str, limit: int = 4000) -> None:
    """It can stand in a message."""
    assert not UNPRINTABLE.search(text), text
    assert len(text) <= limit
    assert len(text.splitlines()) <= 1 or "\u2028" in text or "\u2029" in text, text


def assert_account(account: Account | None) -> None:
    for value in (account.provider, account.email, account.start_url, account.region) if account else ():
        assert_shown_line(value or "", 200)


# --- the callback port -----------------------------------------------------------------------------------------------


class _Pieces:
    """Stands for the stream of a connection: gives one piece a read, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = list(pieces)
        self.written = 0

    async def read(self, limit: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > limit:
            self._pieces.insert(0, piece[limit:])
        return piece[:limit]

    async def write(self, data: bytes) -> None:
        self.written += len(data)

    async def close(self) -> None:
        self._pieces.clear()


class _Nobody:
    """Stands for a browser's end that takes what it is sent."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        assert data == b"HTTP/1.1 100 \r\n\r\n"


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits for something")


def _read_request(pieces: list[bytes]) -> Request | str | None:
    connection = ServerConnection(_Pieces(pieces), _Nobody())
    try:
        return _run(connection.read_request())
    except MalformedRequestError:
        return "malformed"


def request(data: bytes) -> None:
    """A connection to the callback port: HTTP/1.1, then the gate."""
    read = the_same_however_cut(data, _read_request)
    if not isinstance(read, Request):
        return
    assert len(read.target) + sum(len(name) + len(value) for name, value in read.headers) <= MAX_HEAD
    assert len(read.body) <= MAX_BODY
    head = RequestHead.of(read.method, read.target, read.headers, read.body)
    judge(head)
    judge_wider(head)


def gate(data: bytes) -> None:
    """A head that HTTP/1.1 would never let through: method, target, hosts and content type a line each, then a body."""
    head, _, body = data.partition(b"\n\n")
    lines = [line.decode("latin-1") for line in head.split(b"\n")]
    method, target, hosts, kind, *headers = [*lines, "", "", "", ""][: max(4, len(lines))]
    pairs = [("host", host) for host in hosts.split(" ") if host] + [("content-type", kind)]
    pairs += [(name, value) for name, _, value in (line.partition(": ") for line in headers)]
    head = RequestHead.of(method, target, pairs, body)
    judge(head)
    judge_wider(head)


WIDENINGS: Final = tuple(
    LegRule(leg=5, paths=frozenset({"/wide"}), state=Secret(STATE), form_post=True, wider=wider)
    for wider in (
        Widening(start=Secret("/start?x=1")),
        Widening(fragment=True),
        Widening(pages=True, shown=True),
        Widening(any_page=True),
        Widening(origins=frozenset({"https://page.example"}), fetch_hosts=("*.pages.example",)),
    )
)
SCRIPTS: Final = re.compile(r"null|https://(?:page|(?:[^.]+\.)+pages)\.example")


def judge_wider(head: RequestHead) -> None:
    """A command's listener takes more, but not from a page of another site, and no state but its own."""
    for rule in WIDENINGS:
        decision = decide(head, PORT, [rule])
        if isinstance(decision, Refuse):
            continue
        assert isinstance(decision, Forward | Pass | Preflight)
        assert head.as_page or SCRIPTS.fullmatch(head.script_of)
        assert len(head.hosts) == 1
        assert head.hosts[0].lower() in OWN_HOSTS
        assert head.method in ({"OPTIONS"} if isinstance(decision, Preflight) else {"GET", "POST"})
        path, _, query = head.target.partition("?")
        assert path not in {"/favicon.ico", "/robots.txt"}
        form = head.body if head.content_type.partition(";")[0].strip().lower() == FORM else b""
        for text in (query.encode(), form if head.method == "POST" else b""):
            pairs = [pair.partition(b"=")[::2] for pair in text.split(b"&") if pair]
            states = [unquote_to_bytes(value.replace(b"+", b" ")) for name, value in pairs if name == b"state"]
            assert set(states) <= {STATE.encode()}, head


def judge(head: RequestHead) -> None:
    """What is forwarded is the callback, told in another way than the gate's."""
    decision = decide(head, PORT, RULES)
    if isinstance(decision, Refuse):
        assert decision.status in {400, 403, 404, 405}
        return
    assert len(head.hosts) == 1
    assert head.hosts[0].lower() in OWN_HOSTS
    assert head.as_page
    assert all("!" <= char <= "~" for char in head.target), head
    path, _, query = head.target.partition("?")
    assert isinstance(decision, Forward | FollowUp)
    if isinstance(decision, FollowUp):
        assert (head.method, head.target, decision.rule) == ("GET", NAMED.follow_up, NAMED)
        return
    rule = decision.rule
    assert path in rule.paths
    assert head.method == "GET" or (head.method == "POST" and rule.form_post)
    text = query.encode() if head.method == "GET" else head.body
    pairs = [pair.partition(b"=")[::2] for pair in text.split(b"&") if pair]
    names = [unquote_to_bytes(name.replace(b"+", b" ")) for name, _ in pairs]
    assert len(set(names)) == len(names), head
    values = dict(zip(names, (unquote_to_bytes(value.replace(b"+", b" ")) for _, value in pairs), strict=True))
    if rule.state is not None:
        assert values[b"state"] == rule.state.reveal().encode()
    else:
        assert values.keys() & {b"code", b"error", b"login_option"}
    assert (decision.outcome == "denied") is (b"error" in values)


class _Silent:
    """Stands for the login behind a leg."""

    def stray(self, reason: str) -> None:
        raise AssertionError(reason)

    def callback(self, outcome: str) -> None: ...

    def delivered(self, error: KirotunnelError | None) -> None: ...


def _read_answer(pieces: list[bytes]) -> tuple[int, list[tuple[str, str]], bytes] | None:
    upstream = Upstream(_Pieces(pieces))
    try:
        response = _run(upstream.exchange(Request("GET", f"/oauth/callback?state={STATE}", (("host", OWN_HOSTS[0]),))))
    except NoAnswerError:
        return None
    return response.status, response.headers, response.body


def answer(data: bytes) -> None:
    """What the remote listener answers to the callback, and what of it the browser gets."""
    read = the_same_however_cut(data, _read_answer)
    if read is None:
        return
    assert len(read[2]) <= MAX_ANSWER

    async def dial() -> _Pieces:
        return _Pieces([data])

    route = Route(rule=LEG, port=PORT, dial=dial, observer=_Silent(), cli="c", host="h", policy=POLICY)
    reply, follow_up = route._relayed(_run(Upstream(_Pieces([data])).exchange(Request("GET", "/", (("host", "h"),)))))
    names = [name.lower() for name, _ in reply.headers]
    harmless = {"content-type", "cache-control", "content-language", "location", "content-security-policy"}
    harmless |= {"referrer-policy", "x-content-type-options"}
    assert set(names) <= harmless, names
    assert all("\r" not in value and "\n" not in value and "\0" not in value for _, value in reply.headers)
    if follow_up is not None:
        assert follow_up.startswith("/")
        assert not follow_up.startswith(("//", "/\\"))
    for place in [value for name, value in reply.headers if name.lower() == "location"]:
        if follow_up is None:
            _assert_safe(place)


def location(data: bytes) -> None:
    """Where a remote's answer sends the browser: to this port, as every browser reads it."""
    text = data.decode("latin-1")
    target = same_origin_target(text, PORT)
    if target is None:
        return
    before, mark, after = text.partition("?")
    seen = (before.replace("\\", "/") + mark + after).lower()
    assert seen.startswith("/") or any(seen.startswith(f"http://{host}/") for host in OWN_HOSTS), text
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))
    assert all("!" <= char <= "~" and char != "#" for char in target), text


# --- what a remote wants opened --------------------------------------------------------------------------------------


def _assert_safe(text: str) -> None:
    """A URL that was let through, read with nothing of ours."""
    assert re.fullmatch(r"[!-~]+", text), text
    assert not set(text) & set(' "\\<>^`'), text
    assert len(text) <= MAX_URL
    scheme, _, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    assert "@" not in authority
    host, port = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?", authority).groups()
    host = host.lower().rstrip(".")
    if (host, port) == ("idp.corp", "8443"):
        assert scheme.lower() in {"http", "https"}
        return
    assert scheme.lower() == "https", text
    assert host != "localhost"
    assert not host.endswith(".localhost")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        assert not host.startswith("[")
        assert re.search(r"[a-z_-][a-z0-9_-]*$", host), host  # no browser reads it as a number
        return
    assert address.is_global, text


def url(data: bytes) -> None:
    """What the opener was called with, or what stood in the output."""
    text = data.decode("utf-8", "replace")
    has_redirect = has_loopback_redirect(text)
    looks_like_sign_in(text)
    try:
        checked = check_url(text, POLICY)
    except KirotunnelError as exc:
        assert_shown_line(exc.message)
        for parse in (parse_authorization_url, parse_sign_in_page):
            _refuses(parse, text)
        return
    _assert_safe(text)
    assert checked.url.reveal() == text
    if checked.standing == "known":
        assert checked.port == 443
        assert matches_host(checked.host, HOSTS)
    assert_shown_line(checked.authority)
    _authorization(text, has_redirect=has_redirect)
    _sign_in_page(text)


def _refuses(parse: Callable[[str, UrlPolicy], object], text: str) -> None:
    """What must never be opened is no page by another name either, but for a page of the CLI's own listener."""
    try:
        page = parse(text, POLICY)
    except KirotunnelError as exc:
        assert_shown_line(exc.message)
        return
    assert getattr(page, "start", None) is not None, text
    redirect = page.redirect
    assert redirect.host in LOOPBACK_HOSTS
    assert MIN_PORT <= redirect.port <= 65535
    assert re.match(r"(?i)http://(localhost|127\.0\.0\.1|\[::1\]):[0-9]+(?=[/?#]|$)", text), text
    assert re.fullmatch(r"[!-~]+", text)


def _authorization(text: str, *, has_redirect: bool) -> None:
    try:
        found = parse_authorization_url(text, POLICY)
    except KirotunnelError as exc:
        assert_shown_line(exc.message)
        return
    assert has_redirect
    pairs = parse_qsl(text.partition("?")[2].partition("#")[0], keep_blank_values=True)
    assert [value for name, value in pairs if name == "state"] == [found.state.reveal()]
    (redirect,) = [value for name, value in pairs if name == "redirect_uri"]
    place = re.fullmatch(r"(?i)http://(localhost|127\.0\.0\.1|\[::1\]):([0-9]+)(/[^?#]*)?([?#].*)?", redirect)
    assert place, redirect
    assert (int(place[2]), place[3] or "") == (found.redirect.port, found.redirect.path)
    assert MIN_PORT <= found.redirect.port <= 65535


def _sign_in_page(text: str) -> None:
    try:
        page = parse_sign_in_page(text, POLICY)
    except KirotunnelError as exc:
        assert_shown_line(exc.message)
        return
    if page.redirect is not None:
        assert page.redirect.host in LOOPBACK_HOSTS
        assert MIN_PORT <= page.redirect.port <= 65535


# --- what a remote prints --------------------------------------------------------------------------------------------


def transcript(data: bytes) -> None:
    """The CLI's output as events."""

    def read(pieces: list[bytes]) -> list[object]:
        reader = Transcript()
        return [event for piece in (*pieces, b"") for event in reader.feed(piece)]

    for event in the_same_however_cut(data, read):
        if isinstance(event, UrlShown):
            assert re.match(r"https?://\S", event.url)
            assert not re.search(r"[\s\x00-\x1f\x7f-\x9f]", event.url)
        elif isinstance(event, UserCodeShown):
            assert re.fullmatch(r"[A-Z0-9]{4}-[A-Z0-9]{4}", event.user_code)
        for text in (getattr(event, name, "") for name in ("text", "label", "url")):
            assert len(text) <= MAX_LINE
            assert "\x1b" not in text
            assert_shown_line(one_line(redacted(text)), 300)


def terminal(data: bytes) -> None:
    """The CLI's output as it is shown to the person."""

    def read(pieces: list[bytes]) -> str:
        shown = SafeTerminal()
        return "".join(shown.feed(piece) for piece in pieces)

    shown = the_same_however_cut(data, read)
    assert not UNPRINTABLE.search(DRAWING.sub("", shown)), shown
    rows = 0
    for up, ends in re.findall(r"\x1b\[([0-9]*)A|(\n)", shown):
        rows = rows + 1 if ends else rows - (int(up or 1) or 1)
        assert rows >= 0, "it drew over lines that are not its own"
    text = data.decode("utf-8", "replace")
    assert "\x1b" not in plain(text)
    assert_shown_line(one_line(text), 300)
    assert one_line(one_line(text)) == one_line(text)


def passing(data: bytes) -> None:
    """The output of any command, of which only strings to the terminal are taken."""

    def read(pieces: list[bytes]) -> bytes:
        passed = Passing()
        return b"".join(passed.feed(piece) for piece in pieces)

    passed = the_same_however_cut(data, read)
    assert len(passed) <= len(data) + 8
    assert not re.search(rb"\x1b[PX^_]|\x1b\](?!8;)|\x1b\[0*2[01][^0-9A-Za-z]*t|\x1b[\[(]?[^ -~]", passed), passed
    once, _ = EscapeKeys().feed(data)
    keys = EscapeKeys()
    assert once == b"".join(keys.feed(data[i : i + 1])[0] for i in range(len(data)))[: len(once)]


def printed_urls(data: bytes) -> None:
    """The URLs in what any command prints, and the line by which it says that all is well."""

    def read(pieces: list[bytes]) -> list[str]:
        reader = PrintedUrls()
        return [url for piece in (*pieces, b"") for url in reader.feed(piece)]

    def says_so(pieces: list[bytes]) -> bool:
        line = SaidLine("^Successfully (logged|signed) in")
        return any(line.feed(piece) for piece in (*pieces, b""))

    if the_same_however_cut(data, says_so):
        assert b"Successfully" in re.sub(rb"\x1b[^a-zA-Z]*[a-zA-Z]|[\x00-\x1f\x7f-\xff]", b"", data)
    for found in the_same_however_cut(data, read):
        assert re.match(r"https?://", found)
        assert len(found) <= MAX_LINE + MAX_URL
        assert not re.search(r"[\x07\x1b\n]", found)


def records(data: bytes) -> None:
    """The control shell's output, `NONCE key value` among whatever a login shell prints."""

    def read(pieces: list[bytes]) -> list[object]:
        reader = RecordReader(NONCE)
        return [record for piece in pieces for record in reader.feed(piece)]

    found: list[Any] = the_same_however_cut(data, read)
    assert len(found) <= data.count(NONCE.encode())
    assert all(len(record.key) + len(record.value) <= MAX_RECORD for record in found)
    facts = read_facts(found)
    for text in (facts.system, facts.user, facts.cli or "", facts.version_text or ""):
        assert_shown_line(text, 400)
    assert_account(read_account(found))
    _assert_listeners(read_listeners(found) or [])
    seen = read_examined(found)
    for text in (*seen.places, *seen.left, seen.carrier or "", *seen.reached):
        assert_shown_line(text, 400)


@dataclasses.dataclass
class _Channel:
    """Stands for a command on the target, by what is read of it."""

    stdout: _Pieces
    stderr: _Pieces

    @classmethod
    def of(cls, pieces: list[bytes]) -> Any:
        return cls(_Pieces(pieces), _Pieces([]))

    def close(self) -> None: ...


class _Place:
    """Stands for the session in which it runs."""

    where = "dev-box"

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class _Told:
    """Is told what comes of a login."""

    def __init__(self) -> None:
        self.all: list[tuple[object, ...]] = []

    def url(self, url: str) -> None:
        self.all.append(("url", url))

    def printed(self, data: bytes) -> None:
        self.all.append(("printed", data))

    def ended(self, how: str, code: int | None) -> None:
        self.all.append(("ended", how, code))


AWAITED: Final = "0badcafe"


@dataclasses.dataclass
class _Heard:
    told: list[tuple[object, ...]]
    jobs: list[bytes]
    answer: list[Record] | None
    over: str


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


async def _listen(pieces: list[bytes]) -> _Heard:
    told = _Told()
    login = HeldCLI(told)
    shell = ControlShell(_Place(), login.hear)
    shell._reader = RecordReader(NONCE)
    shell._process = _Channel.of(pieces)
    shell._awaited, shell._answered = AWAITED, asyncio.get_running_loop().create_future()
    jobs = [Job(number, lambda _: None) for number in range(1, MAX_JOBS + 1)]
    shell._jobs = dict(enumerate(jobs, 1))
    await shell._read_output()
    login.use(None)
    answer = None if shell._answered.exception() is not None else shell._answered.result()
    assert (login.urls, login.received) == (
        sum(what[0] == "url" for what in told.all),
        sum(len(what[1]) for what in told.all if what[0] == "printed"),
    )
    return _Heard(told.all, [await job.stdout.read() for job in jobs], answer, shell.over.result())


def control(data: bytes) -> None:
    """All that comes over a control shell's channel: an answer, what a held login says, and four shells beside it."""
    heard = the_same_however_cut(data, lambda pieces: _loop().run_until_complete(_listen(pieces)))
    ends = [i for i, what in enumerate(heard.told) if what[0] == "ended"]
    assert len(ends) <= 1
    assert all(what[0] != "printed" for i, what in enumerate(heard.told) if ends and i > ends[0])
    assert sum(map(len, heard.jobs)) + sum(len(what[-1]) for what in heard.told if what[0] == "printed") <= len(data)
    assert all("\n" not in what[1] for what in heard.told if what[0] == "url")
    assert (heard.answer is not None) is bool(
        re.search(rb"(?m)^%b done %b\r*\n" % (NONCE.encode(), AWAITED.encode()), _without_marks_before(data))
    )
    assert len(heard.answer or []) <= data.count(NONCE.encode())
    assert_shown_line(heard.over)


def _without_marks_before(data: bytes) -> bytes:
    """Each line from the first nonce in it, which is where its record begins."""
    mark = f"{NONCE} ".encode()
    return b"\n".join(b"".join(line.partition(mark)[1:]) for line in data.split(b"\n"))


def greetings(data: bytes) -> None:
    """The first words of our other scripts there: who carries a callback, who holds ports, what engines answer."""

    async def carried(pieces: list[bytes]) -> tuple[str, bytes] | None:
        process = _Channel.of(pieces)
        try:
            said, rest = await _greeting(process, NONCE)
        except ConnectionResetError:
            return None
        stream = _CommandStream(process, rest, _Place())
        rest = b""
        while more := await stream.read(100):
            rest += more
        return said, rest

    found = the_same_however_cut(data, lambda pieces: _loop().run_until_complete(carried(pieces)))
    _, mark, after = data.partition(f"{NONCE} ".encode())
    assert (found is not None) is (bool(mark) and b"\n" in after)
    assert found is None or found[1] == after.partition(b"\n")[2]

    held = the_same_however_cut(data, lambda pieces: _run(_held_by(_Channel.of(pieces), RecordReader(NONCE))))
    for port, tool in held.items():
        assert 0 <= port < 100_000
        assert_shown_line(tool, 20)

    async def engines(pieces: list[bytes]) -> tuple[bool, list[Record]]:
        records: list[Record] = []
        return await _read_records(_Channel.of(pieces), RecordReader(NONCE), records), records

    done, records = the_same_however_cut(data, lambda pieces: _run(engines(pieces)))
    assert len(records) + done <= data.count(NONCE.encode())
    assert _has_line(data, NONCE) is (NONCE.encode() in data and data.rfind(b"\n") > data.index(NONCE.encode()))


def sharing(data: bytes) -> None:
    """What another process says that wants to share a port: frames, each a length and JSON."""

    def read(pieces: list[bytes]) -> list[Frame]:
        reader = Frames()
        frames: list[Frame] = []
        try:
            for piece in pieces:
                frames += reader.feed(piece)
        except FrameError:
            return []  # how much of it was read before that depends on the pieces, and the channel is closed
        return frames

    for frame in the_same_however_cut(data, read):
        assert Frames().feed(encode(frame)) == [frame]


def containers(data: bytes) -> None:
    """What an engine says about a container: the first line is its name, the rest the target's records."""
    name, _, rest = data.partition(b"\n")
    text = name.decode("utf-8", "replace")
    found = RecordReader(NONCE).feed(rest + b"\n")
    for parse in (parse_container, parse_pod):
        try:
            entry = read_entry(parse(text), "dev-box", found)
        except KirotunnelError as exc:
            assert_shown_line(exc.message)
            continue
        words = entry.command(("true",))
        assert all(re.fullmatch(r"[A-Za-z0-9_./@+-]+", word) for word in words), words
        assert not entry.which[0].startswith("-")


def whoami(data: bytes) -> None:
    """The answer of the CLI's whoami, and that of its logout."""
    text = data.decode("utf-8", "replace")
    assert_account(parse_whoami(text))
    parse_revoked(text)
    for name in BUILT_IN:
        account = load_profile(name).account
        assert_account(WhoamiPatterns(account.email, account.nobody).read(text))


def listeners(data: bytes) -> None:
    """The tables of listening ports."""
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    _assert_listeners([*parse_ss(lines), *parse_proc(lines, lines), *parse_lsof(lines)])
    for low, high in [*parse_reserved_ranges(text), *parse_excluded_ranges(text)]:
        assert 0 <= low < 100_000
        assert 0 <= high < 100_000


def _assert_listeners(rows: list[ListeningPort]) -> None:
    for row in rows:
        assert 0 <= row.port <= 65535
        assert row.pid is None or 0 <= row.pid < 10**10
        assert row.reachable_by_loopback is ("127.0.0.1" in row.loopback_addresses)
        assert all(ipaddress.ip_address(address).is_loopback for address in row.loopback_addresses)
        assert_shown_line(row.describe())


# --- what a person brings, and what services answer ------------------------------------------------------------------


def pasted(data: bytes) -> None:
    """The address that a person pastes."""
    text = data.decode("utf-8", "replace")
    read = read_pasted(text, PORT, LEG)
    if not isinstance(read, Pasted):
        assert_shown_line(read.words)
        assert STATE not in read.words
        return
    judge(RequestHead(method="GET", target=read.target, hosts=(read.host,)))
    assert isinstance(decide(RequestHead(method="GET", target=read.target, hosts=(read.host,)), PORT, [LEG]), Forward)
    assert STATE not in repr(read)


def command_line(data: bytes) -> None:
    """The command line of a process that holds a port: its words end with a NUL each, as in /proc."""
    words = data.decode("utf-8", "replace").split("\0")
    shown = shown_command(words)
    assert_shown_line(shown, 100)
    ssh = parse_ssh(words)
    if ssh is not None:
        assert_shown_line(ssh.host or "", 80)
        ssh.forwards_port(PORT)
    hidden = shown_command(["program", "--password", "hunter2-hunter2", *words])
    assert "hunter2" not in hidden


_MARKED: Final = "s3cr3tc0de"


def redaction(data: bytes) -> None:
    """A text with a secret in it somewhere, in any of the ways in which one is written.

    What stands before it is no broken JSON or URL of its own: of that nobody can tell where a value begins.
    """
    text = data.decode("utf-8", "replace").replace(_MARKED, "")
    before, after = re.sub(r"[\"'=:%\\]", "", text[: len(text) // 2]), text[len(text) // 2 :]
    for secret in (f"&code={_MARKED}&", f'"access_token": "{_MARKED}"', f"?state={_MARKED} "):
        assert _MARKED not in redacted(f"{before} {secret} {after}")
    assert redacted(redacted(text)) == redacted(text)


# The public half of RFC 8037, appendix A: no input is signed with the private one.
KEY: Final[dict[str, Any]] = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "kid": "k",
}
EXPECTED: Final = Expectation(issuer="https://login.example", client_id="client", now=1_800_000_000.0)


def id_token(data: bytes) -> None:
    """An ID token that nobody has signed: none is accepted, and none is repeated in the error."""
    text = data.decode("latin-1")
    try:
        validate(Secret(text), {"keys": [KEY]}, EXPECTED)
    except KirotunnelError as exc:
        refusal = exc.message
    else:
        raise AssertionError("a token was accepted that nobody has signed")
    assert_shown_line(refusal)
    assert len(text) < 12 or text not in refusal


def reply(data: bytes) -> None:
    """The JSON of a sign-in service: content type, a line break, the body."""
    kind, _, body = data.partition(b"\n")
    answered = Reply(host="a.example", status=400, headers={"content-type": kind.decode("latin-1")}, body=Secret(body))
    members = answered.error_members()
    assert_shown_line(members.quoted("error_description", "error", "message"))
    assert 0 < members.seconds("expires_in", 600.0) <= 10 * 366 * 86400
    for name in ("access_token", "refresh_token"):
        secret = members.optional_secret(name)
        assert secret is None or re.fullmatch(r"[ -~]+", secret.reveal())
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict) and isinstance(value.get("error"), str) and not UNPRINTABLE.search(value["error"]):
        assert members.optional_text("error") == (value["error"] or None) or b"<" in body[:40] or b"html" in kind


ISSUER: Final = "https://login.example"
SERVICES: Final = Endpoints()
ANSWERS: Final[tuple[Callable[[Reply], object], ...]] = (
    lambda said: kiro_service.read_tokens(said.members(), 0),
    lambda said: kiro_service.read_device(said, SERVICES),
    lambda said: kiro_service.read_poll(said, 0),
    lambda said: aws_sso_oidc.read_registration(said, SERVICES),
    lambda said: aws_sso_oidc.read_device(said, SERVICES),
    lambda said: aws_sso_oidc.read_poll(said, 0),
    lambda said: openid_provider.read_tokens(said.members(), 0),
    lambda said: openid_provider.read_device(said, SERVICES),
    lambda said: openid_provider.read_poll(said, 0),
    lambda said: read_metadata(said, ISSUER, SERVICES),
    read_keys,
)


def service(data: bytes) -> None:
    """What a sign-in service answers to each question of a sign-in: the status, a line break, the body."""
    status, _, body = data.partition(b"\n")
    number = int(status) if re.fullmatch(rb"[1-5][0-9]{2}", status) else 200
    json_type = {"content-type": "application/json"}
    said = Reply(host="a.example", status=number, headers=json_type, body=Secret(body))
    for read in ANSWERS:
        try:
            found = read(said)
        except KirotunnelError as exc:
            assert_shown_line(exc.message)
            continue
        for name in ("verification_uri", "verification_uri_complete", "authorization_endpoint", "token_endpoint"):
            page = getattr(found, name, None)
            assert page is None or re.match(r"https://[^/\\@\s]+(?:[/?#]|$)", page), page
        assert re.fullmatch(r"[A-Za-z0-9-]{4,24}", getattr(found, "user_code", "none"))
        assert_shown_line(getattr(found, "email", None) or "", 200)


def authorization(data: bytes) -> None:
    """The response that the browser brings to our own sign-in: names and values, a line each."""
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
    parameters = {name: value for name, _, value in pairs}
    request = AuthorizationRequest(redirect_uri="http://localhost:3128", state=Secret(STATE), issuer=ISSUER)
    read: Callable[[], object]
    for read in (
        lambda: kiro_service.read_portal_callback(request, "/oauth/callback", parameters),
        lambda: kiro_service.read_portal_callback(request, "/signin/callback", parameters),
        lambda: read_response(request, parameters),
    ):
        try:
            found = read()
        except KirotunnelError as exc:
            said, found = exc.message, None
        else:
            said = ""
            assert parameters["state"] == STATE
        assert_shown_line(said)
        assert STATE not in said
    if found is None:
        return
    assert parameters.get("iss", ISSUER) == ISSUER
    assert isinstance(found, Denied) is ("error" in parameters)
    if isinstance(found, Denied):
        assert_shown_line(found.as_error("a.example").message)
    else:
        assert isinstance(found, Granted)
        assert re.fullmatch(r"[ -~]+", found.code.reveal())


def profile(data: bytes) -> None:
    """A profile of a CLI, as somebody may have been sent it."""
    try:
        found = read_profile("acme", "acme.toml", data.decode("utf-8", "replace"))
    except KirotunnelError as exc:
        found, said = None, f"{exc.message} {exc.hint or ''}"
    else:
        said = "acme.toml"
    assert said.startswith("acme.toml")
    assert_shown_line(said, 1000)
    if found is None:
        return
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        assert isinstance(value, str | tuple | dict | bool | type(None) | type(found.gate) | type(found.account))
    assert all(re.fullmatch(r"[a-z0-9*.-]+\.[a-z0-9*-]+", host) for host in found.authorize_hosts), found
    assert all(1024 <= port <= 65535 for port in found.ports)
    assert all(re.fullmatch(r"\w+", name) for name in found.environment)
    found.recognises(("acme", "login"))
    WhoamiPatterns(found.account.email, found.account.nobody).read("as ada@acme.example\nnobody\n")


def ssh_config(data: bytes) -> None:
    """The lines of an ssh_config."""
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        place = f"config: line {number}"
        try:
            found = parse_line(raw, place)
            if found is not None:
                keyword, rest = found
                assert keyword == keyword.lower()
                assert all(setting_words(keyword, rest, place))
        except KirotunnelError as exc:
            said = exc.message
        else:
            said = place
        assert said.startswith(place)


def askpass(data: bytes) -> None:
    """What the ssh within a ProxyCommand asks: SSH_ASKPASS_PROMPT, a NUL, and words which may be a server's."""
    hint, _, words = data.partition(b"\0")
    question = read_question(hint, words)
    assert_shown_line(question.words, 1000)
    if question.wanted is Wanted.LINE:
        assert b"yes" in words, "a line is seen only where ssh asks for a yes"


TARGETS: Final[dict[str, Target]] = {
    target.__name__: target
    for target in (
        request, gate, answer, location, url, transcript, terminal, passing, printed_urls, records, control, greetings,
        sharing, containers, whoami, listeners, pasted, command_line, redaction, id_token, reply, service,
        authorization, profile, ssh_config, askpass,
    )
}  # fmt: skip
