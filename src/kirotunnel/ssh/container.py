"""A container as a target: whatever is run there goes through its engine's `exec`, on a host or on this machine.

The container has a loopback of its own, which no SSH server forwards to; callbacks and held ports go by commands, as
they do where forwarding is forbidden. What runs inside outlives the client of its engine: that client's end is only
the end of input inside, and it is for the control shell to end everything then.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from subprocess import PIPE
from typing import Final

import asyncssh

from kirotunnel.errors import (
    EngineNotAnsweringError,
    ForwardingRefusedError,
    KirotunnelError,
    SessionRefusedError,
    TargetError,
    TargetKindUnavailableError,
)
from kirotunnel.ssh.scripts import assignments, read_script
from kirotunnel.ssh.session import ByteReader, ByteStream, ByteWriter, Host, Process
from kirotunnel.wire.containers import (
    INSPECT_FORMAT,
    POD_FORMAT,
    Container,
    Entry,
    Inside,
    not_entered,
    read_entry,
)
from kirotunnel.wire.records import Record, RecordReader
from kirotunnel.wire.terminal import one_line

ASK_S: Final = 45.0
"""Seconds for the engines to answer: kubectl has 15 for each of two readings of a pod's name."""
ENTER_S: Final = 30.0
"""Seconds for a shell inside to speak."""
WATCHED: Final = (
    "[ -r /proc/self/stat ] && (born= late=; while read -r stat </proc/$$/stat; do set -- ${stat##*) }; parent=$2; "
    'shift 19; [ "${born:=$1}" = "$1" ] || break; if [ "$parent" = "$PPID" ]; then sleep 2; '
    'elif [ -z "$late" ]; then late=1; sleep 1; else kill -9 $$; break; fi; done) '
    '</dev/null >/dev/null 2>&1 & exec "$@"'
)
"""Become this engine's client, which is killed where it outlives the server's process of our connection.

podman's waits for ever where its container was restarted (seen with 4.3.1). By the moment of its birth no other process
is taken for it that has its number later.
"""
_ENDED_S: Final = 1.0
"""Seconds for an exit code to follow the end of the output."""
_FREE_S: Final = 3.0
"""Seconds for a session to end that has said what it was asked."""
_HELLO: Final = """\
network=$(readlink /proc/self/ns/net 2>/dev/null)
printf '%s %s\\n' "$N" "$network"
exit 0
"""
_MAX_ANSWER: Final = 256 * 1024
_MAX_WORDS: Final = 4096


@contextlib.asynccontextmanager
async def enter(host: Host, inside: Inside) -> AsyncIterator[ContainerSession]:
    """Find the container and enter it. Raises TargetError and its kin (KT2xx), and what the host raises."""
    session = ContainerSession(host, await find(host, inside))
    await session.try_shell()
    yield session


async def find(host: Host, inside: Inside) -> Entry:
    """Ask the engines of the host. Raises TargetError and its kin (KT2xx)."""
    return read_entry(inside, host.where, await _ask(host, inside))


class ContainerSession:
    """A running container; made by `enter`."""

    def __init__(self, host: Host, entry: Entry) -> None:
        self._host = host
        self.entry = entry
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the host is lost, or the container has stopped, with the reason."""
        host.lost.add_done_callback(lambda lost: self._lose(lost.result()))
        self._is_our_network = False

    @property
    def network(self) -> None:
        """Its own."""

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"{self.entry.inside.describe()} on {self._host.where}"

    @property
    def host_key(self) -> str:
        """Its host's."""
        return self._host.host_key

    @property
    def server(self) -> str:
        """The engine."""
        return self.entry.engine

    async def start(
        self,
        command: str,
        *,
        term_type: str | None = None,
        term_size: tuple[int, int] | None = None,
        stdin: int = PIPE,
    ) -> Process:
        """Run a command inside; with a terminal there, the engine's client has one on the host as well."""
        _, *words = command.split()
        outer = self._client(words, terminal=term_type is not None)
        return _Inside(await self._host.start(outer, term_type=term_type, term_size=term_size, stdin=stdin), self)

    def _client(self, words: Sequence[str], *, terminal: bool = False) -> str:
        client = self.entry.command(words, terminal=terminal)
        # The system ends what has a terminal with it.
        return " ".join(("exec", *client) if terminal else ("exec", "/bin/sh", "-c", f"'{WATCHED}'", "sh", *client))

    async def dial(self, port: int, address: str = "127.0.0.1") -> ByteStream:
        """Never: only commands go inside. Raises ForwardingRefusedError."""
        raise ForwardingRefusedError(f"{self.where} has a loopback of its own ({address}, port {port})")

    async def try_shell(self) -> None:
        """See that a shell inside speaks, and whose network it has. Raises TargetError and its kin (KT2xx)."""
        nonce = secrets.token_hex(12)
        process = await self._host.start(self._client(("/bin/sh",)))
        said, words = b"", b""
        try:
            async with asyncio.timeout(ENTER_S):
                process.stdin.write(f"{assignments(N=nonce)}{_HELLO}".encode())
                process.stdin.write_eof()
                while not _has_line(said, nonce) and len(said) < _MAX_WORDS:
                    if not (data := await process.stdout.read(_MAX_WORDS)):
                        words = await process.stderr.read(_MAX_WORDS)
                        await process.wait_closed()
                        raise not_entered(
                            self.entry, self._host.where, process.exit_status, (said + words).decode("utf-8", "replace")
                        )
                    said += data
                await _until_free(process)
        except TimeoutError as exc:
            raise EngineNotAnsweringError(
                f"{self.entry.engine} on {self._host.where} runs no shell in {self.entry.name}: nothing came in "
                f"{ENTER_S:.0f} s"
            ) from exc
        except (asyncssh.Error, OSError) as exc:
            raise SessionRefusedError(f"{self._host.where} did not run {self.entry.engine}: {exc}") from exc
        finally:
            process.close()
        network = said.decode("utf-8", "replace").partition(nonce)[2].strip()
        self._is_our_network = bool(network) and network == self._host.network

    def check_ports(self) -> None:
        """Raises TargetKindUnavailableError where its ports are this machine's, so that nobody else can have them."""
        if self._is_our_network:
            raise TargetKindUnavailableError(
                f"{self.where} has this machine's own network, so its callback port is taken here",
                f"run the CLI's login in it, with `{self.entry.engine} exec -it {self.entry.which[0]}`, and open the "
                "address that it shows: the browser of this machine reaches it",
            )

    async def has_stopped(self) -> bool:
        """Whether it does not run any more; where the engine does not say so, it does."""
        try:
            await find(self._host, self.entry.inside)
        except EngineNotAnsweringError:
            return False
        except TargetError as exc:
            self._lose(exc.message)
        except (KirotunnelError, asyncssh.Error, OSError):
            pass  # the host is gone, and says so by itself
        return self.lost.done()

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


class _Inside:
    """A process inside, behind the engine's client. Its end may be that of the container, so that is looked up."""

    def __init__(self, client: Process, session: ContainerSession) -> None:
        self._client = client
        self._session = session
        self._closed = False
        self._why: asyncio.Task[None] | None = None
        self.stdin: ByteWriter = client.stdin
        self.stdout: ByteReader = _Output(client.stdout, self)
        self.stderr: ByteReader = client.stderr

    @property
    def exit_status(self) -> int | None:
        """The engine passes it on. None where it was the container that ended."""
        return None if self._session.lost.done() else self._client.exit_status

    @property
    def exit_signal(self) -> tuple[str, bool, str, str] | None:
        """The signal that ended the client."""
        return None if self._session.lost.done() else self._client.exit_signal

    async def wait_closed(self) -> None:
        """Wait for its end."""
        await self._client.wait_closed()
        await self.ended()

    def change_terminal_size(self, width: int, height: int, /) -> None:
        """Columns and rows; the client passes them on."""
        self._client.change_terminal_size(width, height)

    def terminate(self) -> None:
        """Nothing: a signal would end the client alone, and with it what was said to the process inside."""

    def close(self) -> None:
        """Let go of it; never raises."""
        self._closed = True
        self._client.close()

    async def ended(self) -> None:
        """Find out whether its end was the container's, unless all went well or it was we who ended it."""
        if self._why is None:
            self._why = asyncio.ensure_future(self._find_out())
        await asyncio.shield(self._why)

    async def _find_out(self) -> None:
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(_ENDED_S):
                await self._client.wait_closed()
        well = self._client.exit_status == 0
        if not well and not self._closed and not self._session.lost.done():
            await self._session.has_stopped()


class _Output:
    """The output of a process inside."""

    def __init__(self, output: ByteReader, process: _Inside) -> None:
        self._output = output
        self._process = process

    async def read(self, n: int = -1, /) -> bytes:
        """Up to n bytes; empty at the end, once it is known why it ended."""
        data = await self._output.read(n)
        if not data:
            await self._process.ended()
        return data


def _has_line(said: bytes, nonce: str) -> bool:
    """Whether the line with the nonce is there, to its end."""
    return b"\n" in said.partition(nonce.encode())[2]


# --- the engines -----------------------------------------------------------------------------------------------------


async def _ask(host: Host, inside: Inside) -> list[Record]:
    """What the engines of the host say of it."""
    nonce = secrets.token_hex(12)
    if isinstance(inside, Container):
        header = assignments(
            N=nonce,
            ENGINES=" ".join(inside.engines),
            SUDO=" ".join(inside.prefix),
            NAME=inside.name,
            FORMAT=INSPECT_FORMAT,
        )
    else:
        pods = "\n".join(" ".join(reading.options) for reading in inside.readings)
        header = assignments(N=nonce, ENGINES="kubectl", SUDO="", PODS=pods, FORMAT=POD_FORMAT)
    process = await host.start("exec /bin/sh")
    records: list[Record] = []
    try:
        async with asyncio.timeout(ASK_S):
            process.stdin.write(f"{header}{read_script('container.sh')}".encode())
            if await _read_records(process, RecordReader(nonce), records):
                await _until_free(process)
                return records
            words = one_line((await process.stderr.read(_MAX_WORDS)).decode("utf-8", "replace"))
            raise SessionRefusedError(f"{host.where} did not run our shell" + (f": {words}" if words else ""))
    except TimeoutError as exc:
        asked = [record.value for record in records if record.key == "asking"]
        engine = one_line(asked[-1], 40) if asked else "the container engine"
        other = "; --container-engine names another" if isinstance(inside, Container) and not inside.engine else ""
        raise EngineNotAnsweringError(
            f"{engine} on {host.where} does not answer: nothing came in {ASK_S:.0f} s",
            EngineNotAnsweringError.default_hint + other,
        ) from exc
    except (asyncssh.Error, OSError) as exc:
        raise SessionRefusedError(f"{host.where} did not run our shell: {one_line(str(exc))}") from exc
    finally:
        process.close()


async def _until_free(process: Process) -> None:
    """Wait for its end: a server that gives one session at a time (MaxSessions 1) refuses the next one before."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FREE_S):
            await process.wait_closed()


async def _read_records(process: Process, reader: RecordReader, records: list[Record]) -> bool:
    """Collect the records up to the last; False where the output ended before."""
    received = 0
    while received < _MAX_ANSWER and (data := await process.stdout.read(16 * 1024)):
        received += len(data)
        for record in reader.feed(data):
            if record.key == "done":
                return True
            records.append(record)
    return False
