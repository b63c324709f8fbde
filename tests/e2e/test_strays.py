"""What is not the callback never reaches the remote, and the login succeeds all the same."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, listening_here
from e2e.random_requests import Right, strays
from e2e.running_login import RunningLogin, running_login
from integration.relay_ends import Leg, Reply, leg, request
from kirotunnel.sandbox.robot import sign_in
from lab.servers import Server

ADDRESSES: Final = ("127.0.0.1", "::1")
PATIENCE_S: Final = 20.0
# The leg that takes three visitors, and the one that takes a single one: the page before it is not of the leg itself.
LEGS: Final = {
    "google": ["portal GET /oauth/callback"],
    "builder-id": ["portal GET /signin/callback", "sso GET /oauth/callback", "sso GET /index.html"],
}
# Nothing is kept between runs, and neither time nor size of an example is looked at: each is many requests.
QUICK: Final[dict[str, Any]] = {
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}


@dataclass(frozen=True)
class Waiting:
    """A login whose last leg waits for its callback."""

    login: RunningLogin
    box: Box
    method: str
    url: str
    right: Right
    leg: int

    @property
    def port(self) -> int:
        return self.right.port

    def request(self, target: str, *headers: str, method: str = "GET", host: str = "localhost") -> bytes:
        return request(target, self.port, *headers, method=method, host=host)

    @property
    def callback(self) -> str:
        """What looks like the right callback, with a code that nobody issued."""
        return f"{self.right.path}?{self.right.query}"

    def finish(self) -> Run:
        """Sign in, and see that it was that and nothing else which came to the remote."""
        assert self.requests() == LEGS[self.method][: self.leg - 1]
        walk(self.url, self.method)
        run = self.login.end()
        assert run.code == 0, run.stderr
        # kiro-cli keeps that connection for half a second; who asks for the page after it later gets ours.
        assert self.requests() in (LEGS[self.method], LEGS[self.method][: self.leg])
        accepted = [event["n"] for event in self.box.log() if event["event"] == "accepted"]
        assert accepted == [1] * self.leg
        assert not listening_here(self.port)
        for address in ADDRESSES:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, self.port))
                sock.listen()
        return run

    def requests(self) -> list[str]:
        return self.box.requests()


def walk(url: str, method: str) -> None:
    report = asyncio.run(sign_in(url, method=method))
    assert report.ok, report


@contextmanager
def waiting_login(box: Box, method: str, directory: Path) -> Iterator[Waiting]:
    """A login that has come to its last leg."""
    with running_login(box, directory) as login:
        legs = 1 if method == "google" else 2
        for _ in range(legs - 1):
            walk(login.next_page(), method)
        url = login.next_page()
        query = parse_qs(urlsplit(url).query)
        redirect = urlsplit(query["redirect_uri"][0])
        assert redirect.port is not None
        right = Right(redirect.port, redirect.path or "/oauth/callback", query["state"][0])
        yield Waiting(login, box, method, url, right, legs)


def knock(port: int, data: bytes, *, address: str = "127.0.0.1") -> Reply | None:
    """What is answered to these bytes; None where the connection is closed without a word."""
    with socket.create_connection((address, port), PATIENCE_S) as sock:
        received = bytearray()
        with suppress(OSError):  # it may have answered and closed before it had all of it
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while chunk := sock.recv(65536):
                received += chunk
    return Reply.read(bytes(received), "HEAD" if data.startswith(b"HEAD ") else "GET")


def reasons(run: Run, leg: int) -> list[str]:
    """Why requests were refused on that leg, in order."""
    return [event["reason"] for event in run.named("request_refused") if event["leg"] == leg]


def table(there: Waiting) -> dict[str, tuple[bytes, int | None, str]]:
    """Each stray with the status that it is answered, and with the reason that is reported."""
    right, port = there.right, there.port
    path = right.path
    return {
        "favicon": (there.request("/favicon.ico"), 404, "path"),
        "root": (there.request("/"), 404, "path"),
        "final page before its time": (there.request("/index.html"), 404, "path"),
        "path with a slash behind": (there.request(f"{path}/?{right.query}"), 404, "path"),
        "path in other letters": (there.request(f"{path.upper()}?{right.query}"), 404, "path"),
        "path with a percent sign": (there.request(f"{path.replace('c', '%63')}?{right.query}"), 404, "path"),
        "wrong state": (there.request(f"{path}?code=1&state={right.state[::-1]}x"), 403, "state"),
        "state in other letters": (there.request(f"{path}?code=1&state={right.state}x"), 403, "state"),
        "no state": (there.request(f"{path}?code=1"), 403, "state"),
        "no query": (there.request(path), 403, "state"),
        "empty state": (there.request(f"{path}?code=1&state="), 403, "state"),
        "state twice": (there.request(f"{there.callback}&state={right.state}"), 400, "malformed"),
        "two states": (there.request(f"{path}?state=x&code=1&state={right.state}"), 400, "malformed"),
        "name that was bound anew": (there.request(there.callback, host="rebound.example"), 403, "host"),
        "name that begins right": (there.request(there.callback, host="localhost.example"), 403, "host"),
        "no host": (f"GET {there.callback} HTTP/1.1\r\n\r\n".encode(), 400, "malformed"),
        "two hosts": (there.request(there.callback, f"Host: localhost:{port}"), 400, "malformed"),
        "host without the port": (f"GET {there.callback} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 403, "host"),
        "HEAD": (there.request(there.callback, method="HEAD"), 405, "method"),
        "POST": (there.request(there.callback, method="POST"), 405, "method"),
        "OPTIONS": (there.request(there.callback, method="OPTIONS"), 405, "method"),
        "CONNECT": (there.request(f"localhost:{port}", method="CONNECT"), 400, "malformed"),
        "absolute form": (there.request(f"http://localhost:{port}{there.callback}"), 400, "malformed"),
        "another absolute form": (there.request(f"http://example.com{there.callback}"), 400, "malformed"),
        "two slashes": (there.request(f"/{there.callback}"), 400, "malformed"),
        "fragment": (there.request(f"{there.callback}#x"), 400, "malformed"),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400, "malformed"),
        "oversized head": (there.request(there.callback, f"X: {'x' * 20_000}"), 400, "malformed"),
        "oversized body": (there.request(there.callback, "Content-Length: 99999") + b"x" * 99_999, 400, "malformed"),
        "half a request": (there.request(there.callback)[:40], 400, "malformed"),
        "request without its end": (there.request(there.callback)[:-2], 400, "malformed"),
        "connection closed at once": (b"", None, "idle"),
    }


@pytest.mark.parametrize("method", LEGS)
def test_strays_are_answered_here_and_reported_and_the_right_callback_after_them_signs_in(
    make_box: MakeBox, sshd: Server, tmp_path: Path, method: str
) -> None:
    with waiting_login(make_box(sshd), method, tmp_path) as there:
        answered = {}
        expected = table(there)
        for address in ADDRESSES:
            for name, (data, _, _) in expected.items():
                reply = knock(there.port, data, address=address)
                answered[f"{name}, {address}"] = reply.status if reply else None
                if reply is not None and not data.startswith(b"HEAD"):
                    assert reply.title in HONEST_TITLES.get(reply.status, ()), (name, reply)
        run = there.finish()
    assert answered == {f"{n}, {address}": status for address in ADDRESSES for n, (_, status, _) in expected.items()}
    assert reasons(run, there.leg) == [reason for _, _, reason in expected.values()] * 2


HONEST_TITLES: Final = {
    400: {"Request not understood"},
    403: {"Not part of this sign-in"},
    404: {"Nothing here"},
    405: {"Method not allowed"},
}


def test_who_says_nothing_or_too_slowly_is_closed_and_the_right_callback_beside_them_signs_in(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    with waiting_login(make_box(sshd), "builder-id", tmp_path) as there:
        head = there.request(there.callback)
        silent = [socket.create_connection((address, there.port)) for address in ADDRESSES]
        half = socket.create_connection(("127.0.0.1", there.port))
        half.sendall(head[:30])
        slow = socket.create_connection(("::1", there.port))
        ended = threading.Event()

        def drip() -> None:
            for number in range(len(head)):
                try:
                    slow.send(head[number : number + 1])
                except OSError:
                    return
                if ended.wait(0.2):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            there.login.wait_for("request_refused", count=4)
            for sock in (*silent, half, slow):
                sock.settimeout(PATIENCE_S)
                assert received(sock) == b"", "answered to who asked nothing"
        finally:
            ended.set()
            dripping.join()
            for sock in (*silent, half, slow):
                sock.close()
        run = there.finish()
    assert reasons(run, there.leg) == ["idle"] * 4


def received(sock: socket.socket) -> bytes:
    """What was sent before the end; a reset is an end."""
    try:
        return sock.recv(1000)
    except ConnectionError:
        return b""


def test_silent_connections_that_are_still_open_at_the_callback_end_with_the_leg(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    with waiting_login(make_box(sshd), "builder-id", tmp_path) as there:
        silent = [socket.create_connection((address, there.port), PATIENCE_S) for address in ADDRESSES]
        run = there.finish()
        assert [received(sock) for sock in silent] == [b"", b""]
        for sock in silent:
            sock.close()
    assert (reasons(run, there.leg), run.named("tunnel_closed")[-1]["port"]) == ([], there.port)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Enough open files for whoever knocks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_at_once_do_not_keep_the_callback_out(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    with waiting_login(make_box(sshd), "builder-id", tmp_path) as there:
        crowd = []
        for number in range(1000):
            sock = socket.socket(socket.AF_INET6 if number % 2 else socket.AF_INET)
            sock.setblocking(False)
            sock.connect_ex((ADDRESSES[number % 2], there.port))
            crowd.append(sock)
        run = there.finish()
        for sock in crowd:
            sock.close()
    assert set(reasons(run, there.leg)) <= {"idle"}


def test_a_storm_of_wrong_states_is_counted_in_few_lines_and_little_memory(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    guesses = 3000
    with waiting_login(make_box(sshd), "builder-id", tmp_path) as there:
        there.login.wait_for("browser_opened", count=2)
        before = there.login.memory_kb()
        for batch in range(guesses // 50):
            guess = [there.request(f"{there.right.path}?code=1&state=guess-{batch}-{i}") for i in range(50)]
            assert set(asyncio.run(knock_with_all(there.port, guess))) == {403}
        grown = there.login.memory_kb() - before
        run = there.finish()
    told = [event for event in run.named("request_refused") if event["leg"] == there.leg]
    assert {event["reason"] for event in told} == {"state"}
    assert sum(event["count"] for event in told) == guesses
    assert len(told) < 120
    assert len(run.stderr.splitlines()) < 30
    assert grown < 10 * 1024, f"{grown} KiB more"


def test_a_few_hundred_random_requests_do_not_reach_the_remote(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    with waiting_login(make_box(sshd), "builder-id", tmp_path) as there:
        batches = 0

        @settings(
            max_examples=10, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(strays(there.right), min_size=30, max_size=30))
        def knock_at_random(batch: list[bytes]) -> None:
            nonlocal batches
            batches += 1
            statuses = asyncio.run(knock_with_all(there.port, batch))
            assert let_through(batch, statuses) == []
            assert there.requests() == LEGS["builder-id"][:1]

        knock_at_random()
        assert batches * 30 >= 300
        there.finish()


def test_of_ten_thousand_random_requests_none_reaches_the_remote_and_the_right_one_does() -> None:
    sent = 0
    with asyncio.Runner() as runner:
        opened = leg()
        here: Leg = runner.run(opened.__aenter__())
        right = Right(here.port, "/oauth/callback", "0123456789")

        @settings(max_examples=250, **QUICK)
        @given(st.lists(strays(right), min_size=40, max_size=40))
        def knock_at_random(batch: list[bytes]) -> None:
            nonlocal sent
            statuses = runner.run(knock_with_all(here.port, batch))
            sent += len(batch)
            assert let_through(batch, statuses) == []
            assert (here.remote.streams, here.seen.callbacks) == ([], [])

        try:
            knock_at_random()
            assert sent >= 10_000
            assert len(here.seen.strays) == sent
            runner.run(here.ask(f"{right.path}?{right.query}"))
            assert here.remote.targets == [f"{right.path}?{right.query}"]
        finally:
            runner.run(opened.__aexit__(None, None, None))
    assert Counter(here.seen.strays).keys() == {"path", "state", "host", "method", "malformed", "idle"}


async def knock_with_all(port: int, batch: Iterable[bytes]) -> list[int | None]:
    """The statuses that are answered when all of these come at the same time; None for none."""

    async def one(number: int, data: bytes) -> int | None:
        reader, writer = await asyncio.open_connection(ADDRESSES[number % 2], port)
        received = b""
        try:
            writer.write(data)
            writer.write_eof()
            received = await reader.read(65536)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        received = received.removeprefix(b"HTTP/1.1 100 \r\n\r\n")  # to who expects it, before the answer
        return int(received[9:12]) if received else None

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*(one(number, data) for number, data in enumerate(batch)))


def let_through(batch: Iterable[bytes], statuses: Iterable[int | None]) -> list[bytes]:
    """What was answered otherwise than a stray."""
    return [data for data, status in zip(batch, statuses, strict=True) if status not in {None, *HONEST_TITLES}]
