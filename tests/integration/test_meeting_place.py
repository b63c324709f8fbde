"""The meeting place is its user's alone, and whoever comes to it without knowing the manners disturbs nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from integration.relay_ends import PATIENCE, Leg, Remote, Reply, Witness, answer, ask, free_port, request, route_to
from integration.test_callback_ports import callback_of, greeting
from kirotunnel.errors import LocalPortError, PortAwaitedError, StateNotUniqueError
from kirotunnel.local import loopback, meeting_place, shared_port
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.command_relay import CommandRoute
from kirotunnel.local.loopback_server import LoopbackServer
from kirotunnel.local.meeting_place import MeetingPlace, NoMeetingPlaceError
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule, Widening
from kirotunnel.wire.redirect import UrlPolicy
from kirotunnel.wire.sharing import ANY, VERSION, Claim, Frames, Hello, Ping, Pong, Visit, Welcome, encode, page_key

NOBODY: Final = 65534


@pytest.fixture
def directory() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"]) / "kirotunnel"


class Two:
    """Two owners of ports, as two processes have them: the first has the port, the second is its guest."""

    def __init__(self, stack: AsyncExitStack, place: Callable[[], MeetingPlace] = MeetingPlace.of_this_user) -> None:
        self.number = free_port()
        self.legs: dict[str, Leg] = {}
        self._stack = stack
        self._place = place

    async def leg(self, state: str) -> Leg:
        remote, seen = greeting(state), Witness()
        route = route_to(remote, seen, self.number, state=None if state == "-" else state, host=state)
        lease = await CallbackPorts(self._place).lease(route)
        self._stack.push_async_callback(lease.close)
        self.legs[state] = Leg(lease, remote, seen)
        return self.legs[state]

    async def assert_undisturbed(self) -> None:
        """Both still get their callbacks."""
        for state in ("one", "two"):
            assert (await ask(self.number, callback_of(state))).title == f"Done on {state}"


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        await both.leg("two")
        yield both


# --- Whose the directory is -------------------------------------------------------------------------------------------


def _link(directory: Path) -> None:
    real = directory.with_name("elsewhere")
    real.mkdir(mode=0o700)
    directory.symlink_to(real)


def _open_to_all(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


def _another_users(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)


PLACES: Final[dict[str, Callable[[Path], None]]] = {
    "a link": _link,
    "open to all": _open_to_all,
    "another user's": _another_users,
    "a file": lambda directory: directory.write_text(""),
}


@pytest.mark.parametrize("kind", PLACES)
async def test_a_directory_that_is_not_ours_alone_is_not_used_and_logins_go_on_without(
    directory: Path, kind: str
) -> None:
    PLACES[kind](directory)
    with pytest.raises(NoMeetingPlaceError):
        MeetingPlace(directory)
    async with AsyncExitStack() as stack:
        machine = Two(stack)
        await machine.leg("one")
        assert (await ask(machine.number, callback_of("one"))).title == "Done on one"
        with pytest.raises(LocalPortError) as caught:
            await machine.leg("two")
        assert caught.value.code == "KT501"
        assert str(os.getpid()) in caught.value.message
        assert list(await CallbackPorts().busy([machine.number])) == [machine.number]


async def test_a_runtime_directory_of_another_user_is_no_reason_to_say_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    os.chown(strange, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(strange))
    async with AsyncExitStack() as stack:  # a warning would fail the test
        machine = Two(stack)
        await machine.leg("one")
        assert (await ask(machine.number, callback_of("one"))).title == "Done on one"


async def test_without_a_runtime_directory_it_lies_beside_temporary_files_and_nothing_of_it_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(meeting_place, "RUNTIME_DIRECTORIES", str(tmp_path / "none"))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    async with AsyncExitStack() as stack:
        machine = Two(stack)
        await machine.leg("one")
        assert (await ask(machine.number, callback_of("one"))).title == "Done on one"
        (directory,) = temporary.iterdir()
        assert directory.name == f"kirotunnel-{os.geteuid()}"
        assert directory.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


async def test_where_it_has_no_room_for_a_socket_the_first_login_goes_on_and_the_next_is_told_who_has_the_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A system whose sockets need the whole path, which is too long here."""
    directory = tmp_path / ("x" * 100)
    monkeypatch.setattr(meeting_place, "sys", SimpleNamespace(platform="freebsd14"))
    async with AsyncExitStack() as stack:
        machine = Two(stack, lambda: MeetingPlace(directory))
        await machine.leg("one")
        assert (await ask(machine.number, callback_of("one"))).title == "Done on one"
        with pytest.raises(LocalPortError) as caught:
            await machine.leg("two")
        assert str(os.getpid()) in caught.value.message
    assert not directory.exists()


async def test_who_leaves_it_empty_removes_it_and_who_comes_just_then_makes_it_anew(directory: Path) -> None:
    first, second = MeetingPlace(directory), MeetingPlace(directory)
    first.close()
    assert not directory.exists()
    lock = second.lock(3128)
    assert lock is not None
    assert [path.suffix for path in directory.iterdir()] == [".lock"]
    third = MeetingPlace(directory)
    assert third.lock(3128) is None
    third.close()
    assert directory.exists()
    lock.release(for_others=False)
    second.close()
    assert not directory.exists()


async def test_it_is_made_for_its_user_alone(two: Two, directory: Path) -> None:
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.suffix for path in directory.iterdir()} == {".lock", ".sock"}


CONNECT: Final = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)  # only now: the interpreter may be where only root can run it
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(5)
    try:
        sock.connect(sys.argv[1])
        sock.sendall(b'\\0\\0\\0\\x0f{"kind":"ping"}')
        sys.exit(0 if sock.recv(100) else 14)
    except PermissionError:
        sys.exit(13)
    except ConnectionError:
        sys.exit(14)
"""


async def test_another_user_does_not_get_in() -> None:
    # pytest's own directories are their user's alone, so here only ours is in the way.
    with tempfile.TemporaryDirectory(dir="/tmp") as everybodys:
        Path(everybodys).chmod(0o755)
        directory = Path(everybodys) / "kirotunnel"
        async with AsyncExitStack() as stack:
            both = Two(stack, lambda: MeetingPlace(directory))
            await both.leg("one")
            await both.leg("two")
            (sock,) = directory.glob("*.sock")

            def another_user() -> int:
                return subprocess.run([sys.executable, "-c", CONNECT, sock], check=False).returncode

            assert await asyncio.to_thread(another_user) == 13
            # Even where the directory lets them: the other side of a connection is looked at.
            directory.chmod(0o755)
            sock.chmod(0o777)
            assert await asyncio.to_thread(another_user) == 14
            await both.assert_undisturbed()


# --- Strangers in it --------------------------------------------------------------------------------------------------


class Stranger:
    """A program of the same user that connects to the socket."""

    def __init__(self, directory: Path) -> None:
        (path,) = directory.glob("*.sock")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        # A path may be longer than a socket's address.
        self._directory = os.open(directory, os.O_RDONLY)
        self.sock.connect(f"/proc/self/fd/{self._directory}/{path.name}")

    async def say(self, data: bytes, descriptors: list[int] | None = None) -> None:
        socket.send_fds(self.sock, [data], descriptors or [])
        await asyncio.sleep(0)

    async def heard(self) -> bytes:
        """What it is told until it is put out."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    chunk = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
                except ConnectionError:
                    return data
                if not chunk:
                    return data
                data += chunk

    def close(self) -> None:
        self.sock.close()
        os.close(self._directory)


@pytest.fixture
async def stranger(two: Two, directory: Path) -> AsyncIterator[Stranger]:
    somebody = Stranger(directory)
    yield somebody
    somebody.close()


RUDE: Final = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame of four gigabytes": b"\xff\xff\xff\xff" + bytes(100_000),
    "no JSON": struct.pack("!I", 5) + b"hello",
    "nested JSON": struct.pack("!I", 100_000) + b"[" * 100_000,
    "a visit without a hello": encode(Visit(b"GET / HTTP/1.1\r\n\r\n")),
    "a claim without a hello": encode(Claim(1, (ANY,))),
    "a welcome": encode(Welcome(VERSION, ())),
    "two hellos": encode(Hello(VERSION, ())) * 2,
    "a visit without a connection": encode(Hello(VERSION, ())) + encode(Visit(b"GET / HTTP/1.1\r\n\r\n")),
}


@pytest.mark.parametrize("kind", RUDE)
async def test_who_is_rude_is_put_out(two: Two, stranger: Stranger, kind: str) -> None:
    await stranger.say(RUDE[kind][:60_000])
    await stranger.say(RUDE[kind][60_000:])
    await stranger.heard()
    await two.assert_undisturbed()


async def test_who_says_nothing_or_half_a_word_is_put_out_after_a_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        await both.leg("two")
        monkeypatch.setattr(shared_port, "HELLO_S", 0.3)  # only now: a leg is a stranger as well until it has come
        silent, slow = Stranger(directory), Stranger(directory)
        await slow.say(encode(Hello(VERSION, ()))[:7])
        assert (await silent.heard(), await slow.heard()) == (b"", b"")
        await both.assert_undisturbed()
        silent.close()
        slow.close()


async def test_another_version_is_told_so_and_gets_no_socket(two: Two, stranger: Stranger) -> None:
    await stranger.say(encode(Hello(VERSION + 1, ())))
    assert Frames().feed(await stranger.heard()) == [Welcome(VERSION, ())]
    await two.assert_undisturbed()


async def test_a_crowd_of_silent_ones_keeps_nobody_out(two: Two, directory: Path) -> None:
    crowd = []
    for _ in range(shared_port.MAX_STRANGERS * 3):
        crowd.append(Stranger(directory))
        await asyncio.sleep(0.001)  # it accepts in this very loop
    assert await CallbackPorts().busy([two.number]) == {}
    third = await two.leg("three")
    assert (await ask(two.number, callback_of("three"))).title == "Done on three"
    assert third.remote.targets == [callback_of("three")]
    await two.assert_undisturbed()
    for each in crowd:
        each.close()


async def test_descriptors_that_nobody_asked_for_are_closed(two: Two, stranger: Stranger) -> None:
    def open_here() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_here()
    with open("/dev/null") as null, suppress(ConnectionError):
        for _ in range(6):
            await stranger.say(encode(Ping()), [null.fileno()] * 3)
            await asyncio.sleep(0.01)  # a read of its own for each, so that none is passed over
    assert Frames().feed((await stranger.heard())[: len(encode(Pong()))]) == [Pong()]
    assert open_here() <= before
    await two.assert_undisturbed()


async def test_a_guest_cannot_have_what_is_anothers_nor_more_than_enough(two: Two, stranger: Stranger) -> None:
    from kirotunnel.redaction import Secret
    from kirotunnel.wire.sharing import state_key

    keys = tuple(state_key(Secret(state)) for state in ("one", "two", "own"))
    await stranger.say(encode(Hello(VERSION, keys)))
    await asyncio.sleep(0.05)  # the answer of the one in this very loop
    data, sent, _, _ = socket.recv_fds(stranger.sock, 65536, 4)
    assert Frames().feed(data) == [Welcome(VERSION, keys[:2])]
    for descriptor in sent:
        os.close(descriptor)
    await stranger.say(encode(Claim(1, tuple(page_key(str(i)) for i in range(1000)))))
    await stranger.say(encode(Claim(2, tuple(page_key(str(i)) for i in range(1000, 2000)))))
    await two.assert_undisturbed()
    # It is gone in the midst of it, and so are its keys.
    stranger.sock.close()
    await asyncio.sleep(0.05)  # until the one in this very loop has noticed
    own = await two.leg("own")
    assert (await ask(two.number, callback_of("own"))).title == "Done on own"
    assert len(own.remote.targets) == 1


async def test_a_connection_that_a_guest_brings_is_judged_as_any(two: Two, stranger: Stranger) -> None:
    await stranger.say(encode(Hello(VERSION, ())))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = f"GET {callback_of('forged')} HTTP/1.1\r\nHost: localhost:{two.number}\r\n\r\n".encode()
        await stranger.say(encode(Visit(request)), [theirs.fileno()])
        theirs.close()
        ours.setblocking(False)
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 65536), PATIENCE)
        assert data.startswith(b"HTTP/1.1 403 ")
    await two.assert_undisturbed()


# --- A rude owner -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["silent", "rude", "other sockets", "no sockets"])
async def test_whoever_pretends_to_share_a_port_is_not_believed(
    kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_port, "HELLO_S", 0.3)
    monkeypatch.setattr(shared_port, "JOIN_S", 1.0)
    place, number = MeetingPlace(directory), free_port()
    lock = place.lock(number)
    assert lock is not None
    door = place.listen(lock)
    loop = asyncio.get_running_loop()
    served: list[socket.socket] = []

    async def serve() -> None:
        while True:
            guest, _ = await loop.sock_accept(door)
            served.append(guest)
            if kind == "rude":
                guest.send(b"HTTP/1.1 200 OK\r\n\r\n")
            elif kind == "no sockets":
                guest.send(encode(Welcome(VERSION, ())))
            elif kind == "other sockets":
                with socket.create_server(("127.0.0.1", 0)) as other:
                    socket.send_fds(guest, [encode(Welcome(VERSION, ()))], [other.fileno()])

    serving = asyncio.ensure_future(serve())
    with pytest.raises(LocalPortError) as caught:
        async with asyncio.timeout(PATIENCE):
            await CallbackPorts().lease(route_to(Remote([answer("200 OK")]), Witness(), number))
    assert caught.value.code == "KT501"
    serving.cancel()
    for guest in served:
        guest.close()
    door.close()
    lock.release(for_others=False)
    place.close()
    assert not directory.exists()


@pytest.mark.parametrize("turns", range(10))
async def test_a_guests_browser_that_the_first_accepted_just_before_it_ends_is_served(two: Two, turns: int) -> None:
    """Its request is there, and read some turns of the event loop after its connection was accepted."""
    with call_back(two, "two") as browser:
        for _ in range(turns):
            await asyncio.sleep(0)
        await two.legs["one"].lease.close()
        assert (await read(browser)).title == "Done on two"


def call_back(two: Two, state: str) -> socket.socket:
    """A browser that has sent its callback, of which the event loop has seen nothing yet."""
    browser = socket.create_connection(("127.0.0.1", two.number))
    browser.sendall(request(callback_of(state), two.number))
    browser.setblocking(False)
    return browser


async def read(browser: socket.socket) -> Reply:
    data = b""
    async with asyncio.timeout(PATIENCE):
        while chunk := await asyncio.get_running_loop().sock_recv(browser, 65536):
            data += chunk
    reply = Reply.read(data)
    assert reply is not None, "closed without an answer"
    return reply


# --- A guest that has accepted a browser ------------------------------------------------------------------------------


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[LoopbackServer]:
    """Those that ports are served with, as they come."""
    made: list[LoopbackServer] = []

    class Known(LoopbackServer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(shared_port, "LoopbackServer", Known)
    return made


async def test_what_a_guest_accepted_for_the_first_is_the_firsts_also_once_that_is_back(
    servers: list[LoopbackServer],
) -> None:
    """A browser's early connection brings its request when the guest accepts no longer."""
    async with AsyncExitStack() as stack:
        both = Two(stack)
        first, second = await both.leg("one"), await both.leg("two")
        await both.leg("three")
        servers[0].pause()
        await servers[1].start()  # not by itself: the first answers what it is told
        assert (await ask(both.number, callback_of("nobody"))).status == 403
        assert (first.seen.strays, second.seen.strays) == (["state"], [])
        for state in ("one", "two", "three"):
            assert (await ask(both.number, callback_of(state))).title == f"Done on {state}"


@pytest.mark.parametrize("turns", range(6))
async def test_who_was_just_accepted_is_served_where_no_more_are(servers: list[LoopbackServer], turns: int) -> None:
    """As a guest stops to accept once the first is back."""
    async with AsyncExitStack() as stack:
        alone = Two(stack)
        await alone.leg("one")
        with call_back(alone, "one") as browser:
            for _ in range(turns):
                await asyncio.sleep(0)
            servers[0].pause()
            await servers[0].start()
            assert (await read(browser)).title == "Done on one"


async def test_what_a_guest_accepted_and_is_nobody_elses_is_its_own_if_it_takes_any(
    servers: list[LoopbackServer],
) -> None:
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        taker = await both.leg("-")
        servers[0].pause()
        await servers[1].start()
        assert (await ask(both.number, callback_of("one"))).title == "Done on one"
        assert (await ask(both.number, callback_of("nobody"))).title == "Done on -"
        assert taker.remote.targets == [callback_of("nobody")]


async def test_a_guest_that_was_stopped_itself_does_not_take_the_first_for_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself it would believe that a state is nobody's."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(shared_port, "PING_S", 10_000.0)  # the second ping is the one after the stop
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        second = CallbackPorts()
        lease = await second.lease(route_to(greeting("two"), Witness(), both.number, state="two"))
        stack.push_async_callback(lease.close)
        for _ in range(20):
            await asyncio.sleep(0)  # the first ping is answered
        clock = loop.time
        with monkeypatch.context() as stopped:
            stopped.setattr(loop, "time", lambda: clock() + 10_001.0)
            for _ in range(5):
                await asyncio.sleep(0)  # in the second of these it asks again
            with pytest.raises(StateNotUniqueError):
                await second.lease(route_to(greeting("thief"), Witness(), both.number, state="one"))


# --- Legs that take more than one callback ----------------------------------------------------------------------------


async def test_a_guests_leg_gets_what_brings_no_state_until_it_is_over() -> None:
    """An answer in the fragment: the browser asks for the bare path, of which only the leg knows that it is its own."""
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        second = CallbackPorts()
        first, last = [
            await second.lease(wide_route(greeting(state), both.number, state)) for state in ("two", "three")
        ]
        stack.push_async_callback(last.close)
        assert (await ask(both.number, "/oauth/callback")).title == "Done on two"
        await first.close()
        assert (await ask(both.number, "/oauth/callback")).title == "Done on three"


async def test_the_page_to_which_a_guests_first_page_leads_is_the_guests() -> None:
    async with AsyncExitStack() as stack:
        both = Two(stack)
        for state in ("one", "two", "three"):
            remote = Remote([answer("302 Found", f"Location: /next-on-{state}")])
            lease = await CallbackPorts().lease(wide_route(remote, both.number, state, start=f"/auth?state={state}"))
            stack.push_async_callback(lease.close)
            await ask(both.number, f"/auth?state={state}")
            remote.says = greeting(state).says
        for state in ("one", "two", "three"):
            assert (await ask(both.number, f"/next-on-{state}")).title == f"Done on {state}"


async def test_a_page_that_gets_an_answer_in_the_fragment_is_never_anothers() -> None:
    async with AsyncExitStack() as stack:
        port = free_port()
        takes_all = wide_route(greeting("takes all"), port, "-")
        takes_all.rule = LegRule(leg=0, paths=frozenset(), state=None, wider=Widening(any_page=True))
        for route in (takes_all, wide_route(greeting("good"), port, "good")):
            stack.push_async_callback((await CallbackPorts().lease(route)).close)
        assert (await ask(port, "/oauth/callback")).title == "Done on good"
        assert (await ask(port, "/elsewhere")).title == "Done on takes all"
        with pytest.raises(PortAwaitedError):
            await CallbackPorts().lease(wide_route(greeting("bad"), port, "bad", start="/oauth/callback"))


def wide_route(remote: Remote, port: int, state: str, *, start: str | None = None) -> CommandRoute:
    wider = Widening(fragment=True) if start is None else Widening(start=Secret(start))
    rule = LegRule(leg=1, paths=frozenset({"/oauth/callback"}), state=Secret(state), wider=wider)
    return CommandRoute(
        rule=rule, port=port, dial=remote.dial, observer=Witness(), cli="acme", host=state, policy=UrlPolicy()
    )


async def test_who_finds_the_port_with_its_guests_alone_lets_them_have_it_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has a port is looked for when it is a stranger's: that takes a second where much else runs."""
    looks: list[object] = []
    monkeypatch.setattr(loopback, "holders_of", lambda ports: looks.append(ports) or {port: [] for port in ports})
    async with AsyncExitStack() as stack:
        both = Two(stack)
        first, _ = await both.leg("one"), await both.leg("two")
        await asyncio.gather(first.lease.close(), both.leg("three"))
        for state in ("two", "three"):
            assert (await ask(both.number, callback_of(state))).title == f"Done on {state}"
    assert looks == []


@pytest.mark.parametrize("first", [0, 1])
async def test_two_that_leave_in_one_moment_leave_nothing(directory: Path, first: int) -> None:
    """The one who has the port may let go before it has read that the other is gone, who found it held."""
    async with AsyncExitStack() as stack:
        both = Two(stack)
        legs = [await both.leg("one"), await both.leg("two")]
        await asyncio.gather(legs[first].lease.close(), legs[1 - first].lease.close())
    assert not directory.exists()


# --- Many ------------------------------------------------------------------------------------------------------------


async def test_a_thousand_connections_at_once_do_not_keep_a_guests_callback_out(two: Two) -> None:
    crowd = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", two.number) for _ in range(1000)))
    await two.assert_undisturbed()
    for _, writer in crowd:
        writer.transport.abort()


async def test_programs_that_are_started_get_none_of_the_sockets() -> None:
    def inheritable() -> set[int]:
        numbers = [
            number for number in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")
        ]
        return {number for number in numbers if os.get_inheritable(number)}

    before = inheritable()
    async with AsyncExitStack() as stack:
        both = Two(stack)
        await both.leg("one")
        await both.leg("two")
        assert inheritable() - before == set()
