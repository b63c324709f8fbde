"""The control shell: one /bin/sh on the target that looks around, starts the login, answers questions and cleans up.

It reads its script from the channel, so nothing has to be installed, and any login shell will do: what that shell gets
to see is only `exec /bin/sh`. All that comes of the login travels over this one channel, since a server may give no
second. When the channel ends before the login was started, the shell removes what it has made; afterwards the login is
its holder's, and another control shell may go on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import asyncssh

from kirotunnel.errors import ConnectionLostError, RemoteLoginError, SessionRefusedError
from kirotunnel.events import Account
from kirotunnel.profiles.profile import Profile
from kirotunnel.ssh.jobs import Job
from kirotunnel.ssh.reading import pieces
from kirotunnel.ssh.scripts import assignments, function, read_script
from kirotunnel.ssh.session import Process, Session, connection_lost
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.records import (
    MAX_RECORD,
    Record,
    RecordReader,
    RemoteFacts,
    decoded,
    read_account,
    read_facts,
    read_listeners,
)
from kirotunnel.wire.terminal import one_line
from kirotunnel.wire.whoami import WhoamiPatterns

WHOAMI_S: Final = 60
"""Seconds for the CLI's whoami: it may refresh a token first, and took 16 s doing so (Kiro#4398)."""
ANSWER_S: Final = 2 * WHOAMI_S + 30
"""Seconds for any answer of the control shell, a logout and the whoami after it included; beyond that something else is
running there than our script."""
PING_S: Final = 30.0
"""Seconds for a sign of life: more than the keepalives need to find the connection dead."""
FINISH_S: Final = 5.0
"""Seconds for the target to end the CLI and remove the directory; it takes at most three."""
_SAFE_DIRECTORY: Final = re.compile(r"/[A-Za-z0-9._/@+-]+")
_STDERR_KEPT: Final = 2000
_PID: Final = re.compile(r"[0-9]{1,10}")
_OF_THE_LOGIN: Final = frozenset({"url", "out64", "out16", "exited", "typed", "gone"})
"""Records that are no answer: what comes of the login, as it comes."""
_PIECES_OF_A_URL: Final = frozenset({"url64", "url16"})
"""Records of a long URL, which come before its own: that has no text then."""
_OF_A_JOB: Final = frozenset({"job64", "job16", "job-ended"})
MAX_HEARD: Final = 32 * 1024 * 1024
"""Bytes of one shell: the whole of a CLI's output (8 MiB, as text), and whatever a noisy login shell adds."""
_RECORD_COST: Final = 200
"""What a record takes in memory beside its value: a target could send millions of empty ones."""
MAX_ANSWER: Final = 4 * 1024 * 1024
"""Characters kept of one answer; a target with more listeners than that is lying."""
MAX_JOBS: Final = 4
"""Shells beside the control shell: each takes one of the descriptors that a shell can name by one digit."""

Prepare = Literal["always", "signed-out", "never"]
"""When the directory with the opener is made."""
Standing = Literal["held", "ready", "gone"]
"""How a login was found again: running or ended, not started yet, or not there any more."""


class ControlShell:
    """One connection's shell. Requests are answered one after the other; what comes of the login comes in between.

    `token` and `number` tell the login, and which of its connections this is: a later one takes over from an earlier.
    """

    def __init__(
        self,
        session: Session,
        hear: Callable[[Record], None] | None = None,
        *,
        token: str = "",
        number: int = 1,
    ) -> None:
        self._session = session
        self._hear = hear
        self._token = token
        self._number = number
        self._proven = False
        self._nonce = secrets.token_hex(12)
        self._reader = RecordReader(self._nonce)
        self._collected: list[Record] = []
        self._collected_size = 0
        self._heard_size = 0
        self._flooded = False
        self._long_url = bytearray()
        self._answered: asyncio.Future[list[Record]] | None = None
        self._awaited = ""
        self._busy = False
        """It was told something, and has not said that it is done with it."""
        self._cleaned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has cleaned up, and ends."""
        self._stderr = bytearray()
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        self._patterns: WhoamiPatterns | None = None
        self._jobs: dict[int, Job] = {}
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the shell has ended and was not let go of, with how."""
        self.directory: str | None = None
        """The private directory for a command of the person's own, once it was made."""

    async def look_around(self, *, cli: str, profile: Profile, prepare: Prepare, lease_s: int) -> RemoteFacts:
        """Start the shell and learn what there is, in one round trip."""
        return self._facts(await self._begin("look_around", cli=cli, profile=profile, prepare=prepare, lease_s=lease_s))

    async def look_again(self, *, prepare: Prepare) -> RemoteFacts:
        """Learn what there is by a shell that has begun otherwise."""
        return self._facts(await self._request(f"PREPARE={prepare}\nlook_around\n"))

    def _facts(self, records: list[Record]) -> RemoteFacts:
        facts = read_facts(records, self._patterns)
        if facts.directory is not None and not _SAFE_DIRECTORY.fullmatch(facts.directory):
            raise SessionRefusedError(f"{self._where} answered with a directory that is none")
        return facts

    async def go_on(
        self, directory: str, *, urls: int, output: int, cli: str, profile: Profile, lease_s: int
    ) -> Standing:
        """Start the shell and go on with a login of another connection: after so many URLs and bytes of output."""
        first = f"find_cli\ngo_on {shlex.quote(directory)} {urls} {output}"
        records = await self._begin(first, cli=cli, profile=profile, prepare="never", lease_s=lease_s)
        said = next((record.value for record in records if record.key == "standing"), "gone")
        return "held" if said == "held" else "ready" if said == "ready" else "gone"

    async def look_for_listeners(self, *, cli: str, profile: Profile) -> list[ListeningPort] | None:
        """Start the shell for nothing but the question who listens there."""
        return read_listeners(await self._begin("listeners", cli=cli, profile=profile, prepare="never", lease_s=0))

    async def examine(self, *, cli: str, profile: Profile, hosts: Sequence[str]) -> list[Record]:
        """Start the shell and learn everything that may be wrong, in one round trip. Changes nothing there."""
        questions = assignments(HOSTS=" ".join(hosts), DATA=profile.data_directory) + read_script("doctor.sh")
        return await self._begin(
            f"look_around\n{questions}\nexamine", cli=cli, profile=profile, prepare="never", lease_s=0
        )

    async def prepare_command(self, text: str, *, openers: Sequence[str], lease_s: int) -> str | None:
        """Start the shell and make the directory for a command of the person's own, which `text` becomes.

        None where no directory there lets a program run. The lease is renewed by each `look`.
        """
        header = assignments(
            N=self._nonce,
            T=self._token,
            G=str(self._number),
            CLI="",
            HOLDER="",
            OPENERS=" ".join(openers),
            OPENER=read_script("opener.sh"),
            RUN=text,
            LEASE_S=str(lease_s),
        )
        scripts = read_script("ending.sh") + read_script("control.sh") + read_script("run.sh")
        records = await self._open(f'{header}{scripts}\nprepare\n[ -z "$D" ] || follow_urls 0\n')
        directory = next((record.value for record in records if record.key == "dir"), None)
        if directory is not None and not _SAFE_DIRECTORY.fullmatch(directory):
            raise SessionRefusedError(f"{self._where} answered with a directory that is none")
        self.directory = directory
        return directory

    async def look(self) -> tuple[list[ListeningPort] | None, frozenset[int]] | None:
        """Who listens there, and which processes are the command's; None where nothing has changed since the last."""
        records = await self._request("look\n")
        if any(record.key == "unchanged" for record in records):
            return None
        own = next((record.value for record in records if record.key == "own"), "")
        return read_listeners(records), frozenset(int(word) for word in own.split() if _PID.fullmatch(word))

    async def send(self, signal: str) -> None:
        """Send a signal, named as kill(1) names it, to the command."""
        await self._request(f"send {signal}\n")

    async def _begin(self, first: str, *, cli: str, profile: Profile, prepare: Prepare, lease_s: int) -> list[Record]:
        header = assignments(
            N=self._nonce,
            T=self._token,
            G=str(self._number),
            CLI=cli,
            OPENERS=" ".join(profile.openers),
            OPENER=read_script("opener.sh"),
            RUN=runner(profile.login, profile),
            HOLDER=read_script("ending.sh") + read_script("holder.sh"),
            LEASE_S=str(lease_s),
            WHOAMI_S=str(WHOAMI_S),
            PREPARE=prepare,
        )
        account = profile.account
        self._patterns = WhoamiPatterns(account.email, account.nobody) if account.email or account.nobody else None
        unset = f"unset {' '.join(profile.unset)}; "
        # Without arguments it would be the CLI itself that runs.
        whoami = f'{unset}exec "$cli" {shlex.join(profile.whoami)}' if profile.whoami else "return 1"
        header += function("run_whoami", whoami)
        header += function("run_logout", f'{unset}exec "$cli" {shlex.join(profile.logout)}')
        header += function("run_version", f'exec "$cli" {shlex.join(profile.version)}')
        return await self._open(f"{header}{read_script('ending.sh')}{read_script('control.sh')}\n{first}\n")

    async def _open(self, script: str) -> list[Record]:
        """Start the shell with that script, and wait for its first answer."""
        self._process = await self._session.start("exec /bin/sh")
        self._tasks = [asyncio.create_task(self._read_output()), asyncio.create_task(self._read_errors())]
        return await self._request(script)

    async def listeners(self) -> list[ListeningPort] | None:
        """Who listens there; None where the target has no means to tell. Never connects to a port."""
        return read_listeners(await self._request("listeners\n"))

    async def whoami(self) -> Account | None:
        """Who the CLI says is signed in; None for nobody."""
        return read_account(await self._request("whoami_cli\n"), self._patterns)

    async def logout(self) -> tuple[str, Account | None]:
        """Run the CLI's logout: what it said, and who it says is signed in afterwards."""
        records = await self._request("logout_cli\nwhoami_cli\n")
        return "\n".join(record.value for record in records if record.key == "logout"), read_account(
            records, self._patterns
        )

    async def ping(self) -> None:
        """Wait for a sign of life, for a while. Raises ConnectionLostError where the connection is found lost."""
        with contextlib.suppress(TimeoutError):  # it may be busy with an answer that takes long
            async with asyncio.timeout(PING_S):
                await self._request("")

    async def answers(self, seconds: float) -> bool:
        """Whether it gives a sign of life in that time. One that is at work with a request is not asked."""
        if self._turn.locked():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._request("")
        except TimeoutError:
            return False
        except (ConnectionLostError, SessionRefusedError):
            pass  # it has ended, which `over` tells
        return True

    async def set_runner(self, text: str) -> None:
        """Replace the runner's script."""
        await self._request(f'printf %s {shlex.quote(text)} >"$D/run"\n')

    async def start_cli(self, *, lease_s: int, terminal: tuple[str, tuple[int, int]] | None) -> None:
        """Start the CLI's login, once, however often it is asked. `terminal`: its type, and (columns, rows)."""
        kind, (columns, rows) = terminal or ("-", (0, 0))
        await self._request(f"start_cli {lease_s} {shlex.quote(kind)} {columns} {rows}\n")

    def tell(self, script: str) -> None:
        """Have something done to which no answer is awaited; lost where the connection is."""
        if self._process is not None:
            with contextlib.suppress(asyncssh.Error, OSError):
                self._process.stdin.write(script.encode())

    async def start_job(self) -> Process:
        """Start a shell beside this one, on this channel. Raises SessionRefusedError or ConnectionLostError."""
        number = next((number for number in range(1, MAX_JOBS + 1) if number not in self._jobs), None)
        if number is None:
            raise SessionRefusedError(f"{self._where} gives one session, and that is busy")
        self._jobs[number] = job = Job(number, self.tell)
        records = await self._request(f"job {number}\n")
        if not any(record.key == "job" and record.value == f"{number} begun" for record in records):
            del self._jobs[number]
            raise SessionRefusedError(f"our shell on {self._where} cannot start another")
        return job

    async def stop(self) -> None:
        """End the CLI's login."""
        with contextlib.suppress(ConnectionLostError, SessionRefusedError, TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._request("stop_cli\n")

    async def finish(self, *, cli_ended: bool = False) -> bool:
        """End what still runs, remove the directory, and wait until that is done. False where nobody knows."""
        ending = 'rm -f "$D/pid"\n' if cli_ended and self.directory else ""
        if self._process is None:
            return True
        with contextlib.suppress(ConnectionLostError, SessionRefusedError, TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(FINISH_S):
                if self._busy:
                    self._process.terminate()  # it may wait for a command, and reads nothing until that ends
                self._process.stdin.write(f"{ending}bye\n".encode())
                self._process.stdin.write_eof()
                # Not for the channel's end: jobs beside it may have its output open for longer.
                ends: list[asyncio.Future[Any]] = [self._cleaned, self.over]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self.let_go()
        return self._cleaned.done()

    def let_go(self) -> None:
        """Leave the shell: where it has started a login, that goes on; otherwise it cleans up by itself."""
        for task in self._tasks:
            task.cancel()
        if self._process is not None:
            self._process.close()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(self._ended())  # nobody reads an answer any more
            self._answered.exception()  # nor has anybody to ask for this one: who did may be gone

    # --- requests ----------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self._session.where

    async def _request(self, script: str) -> list[Record]:
        process = self._process
        if process is None:
            raise SessionRefusedError(f"there is no control session on {self._where}")
        async with self._turn:
            self._collected, self._collected_size = [], 0
            self._awaited = secrets.token_hex(4)
            self._answered = asyncio.get_running_loop().create_future()
            if self._tasks[0].done():
                raise self._ended()
            try:
                self._busy = True
                process.stdin.write(f"{script}say done {self._awaited}\n".encode())
            except (asyncssh.Error, OSError) as exc:
                raise connection_lost(self._where, exc) from exc
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._answered
            except TimeoutError as exc:
                raise SessionRefusedError(f"our shell on {self._where} did not answer in {ANSWER_S} s") from exc

    async def _read_output(self) -> None:
        process = self._process
        assert process is not None  # noqa: S101 - started just before this task
        try:
            async for data in pieces(process.stdout):
                if not self._heard(len(data)):
                    break
                for record in self._reader.feed(data):
                    self._dispatch(record)
        except (asyncssh.Error, OSError):
            pass  # its end is what counts
        for job in self._jobs.values():
            job.over()
        if not self.over.done():
            self.over.set_result(self._ended().message)
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(self._ended())

    def _dispatch(self, record: Record) -> None:
        if record.key in _OF_A_JOB:
            self._hear_job(record)
        elif record.key in _PIECES_OF_A_URL:
            piece = decoded(record.key, record.value).replace(b"\n", b"")  # which ours never has
            self._long_url += piece[: MAX_RECORD - len(self._long_url)]
        elif record.key in _OF_THE_LOGIN:
            if record.key == "url" and self._long_url:
                record = Record("url", record.value + self._long_url.decode("utf-8", "replace"))
                self._long_url.clear()
            if self._hear is not None:
                self._hear(record)
        elif record.key == "cleaned":
            if not self._cleaned.done():
                self._cleaned.set_result(None)
        elif record.key == "done" and record.value == self._awaited:
            self._proven, self._busy = True, False
            if self._answered is not None and not self._answered.done():
                self._answered.set_result(self._collected)
        elif self._collected_size < MAX_ANSWER:
            self._collected_size += len(record.value) + _RECORD_COST
            self._collected.append(record)

    def _hear_job(self, record: Record) -> None:
        number, _, value = record.value.partition(" ")
        job = self._jobs.get(int(number) if number.isdecimal() and len(number) < 10 else 0)
        if job is None:
            return
        if record.key == "job-ended":
            del self._jobs[int(number)]
            job.over()
        elif not job.ended.is_set():
            job.stdout.feed_data(decoded(record.key, value))

    async def _read_errors(self) -> None:
        process = self._process
        assert process is not None  # noqa: S101 - started just before this task
        with contextlib.suppress(asyncssh.Error, OSError):
            async for data in pieces(process.stderr):
                if not self._heard(len(data)):
                    return
                self._stderr += data
                del self._stderr[:-_STDERR_KEPT]

    def _heard(self, size: int) -> bool:
        """Count what came; where it is more than our script could ever say, end the shell and whoever waits for it."""
        self._heard_size += size
        if self._heard_size <= MAX_HEARD:
            return True
        self._flooded = True
        if self._process is not None:
            self._process.close()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(self._ended())
        if not self.over.done():
            self.over.set_result(self._ended().message)
        return False

    def _ended(self) -> ConnectionLostError | SessionRefusedError:
        if self._session.lost.done():
            return connection_lost(self._where, self._session.lost.result())
        if self._flooded:
            return SessionRefusedError(f"{self._where} prints without end where our shell should answer")
        if self._proven:
            return ConnectionLostError(f"our shell on {self._where} was ended")
        words = one_line(self._stderr.decode("utf-8", "replace"))
        return SessionRefusedError(f"{self._where} did not run our shell" + (f": {words}" if words else ""))


async def start_shell(session: Session, beside: ControlShell | None) -> Process:
    """A shell on a channel of its own; where the server gives none, beside that one. Raises as `Session.start`."""
    try:
        return await session.start("exec /bin/sh")
    except SessionRefusedError:
        if beside is None:
            raise
    return await beside.start_job()


def no_place(session: Session) -> RemoteLoginError:
    """The error where no directory there lets a program run; they are those of control.sh."""
    return RemoteLoginError(
        f"no directory on {session.where} lets a program run "
        "(tried TMPDIR or /tmp, XDG_RUNTIME_DIR, ~/.cache, ~ and /var/tmp)",
        "make one of them writable, and not mounted noexec, for that account",
    )


def opened_url(record: Record) -> str | None:
    """The URL that the opener was called with, where that is what the record says."""
    return record.value.partition(" ")[2] if record.key == "url" else None


def runner(arguments: tuple[str, ...], profile: Profile, *, own_mode: bool = False, logout_first: bool = False) -> str:
    """The script that runs the CLI's login, and keeps its exit code.

    In its browser flow the CLI gets our opener first on PATH and none of the variables by which it would take itself
    for remote. In its own remote mode it gets those that make it sure of it. Both run from the home directory: a
    project's settings can point kiro-cli's sign-in at another service (C ≥ 2.1.0, api.kiroauth.service).
    """
    lines = [
        "d=${0%/*}",
        'read -r cli <"$d/cli" && : >"$d/begun" || exit 127',
        "born=-",
        '[ -r "/proc/$$/stat" ] && read -r stat <"/proc/$$/stat" && set -- ${stat##*) } && shift 19 && born=$1',
        'printf "%s %s\\n" "$$" "$born" >"$d/pid" || exit 127',
        # Whoever stops it makes the one first, and looks for the other then; or has removed both.
        '[ ! -e "$d/stop" ] && [ -e "$d/pid" ] || exit 143',
        "if [ -t 0 ]; then",
        'tty >"$d/tty"; size=; [ -s "$d/size" ] && read -r size <"$d/size"; stty sane $size',
        "else exec </dev/null 2>&1; fi",
        'cd "$HOME" 2>/dev/null || cd /',
        f"unset {' '.join(profile.unset)}",
    ]
    if logout_first:
        lines.append(f'"$cli" {shlex.join(profile.logout)} </dev/null >/dev/null 2>&1')
    lines += [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    if own_mode:
        lines += [f"export {pair}" for pair in profile.pretend_remote]
    else:
        lines += [f"PATH=$d/bin:$PATH BROWSER=$d/bin/{profile.openers[0]}", "export PATH BROWSER"]
    lines += [
        "trap : HUP INT QUIT TERM",  # they are the CLI's, whose end is awaited
        "exec 5>&2 2>/dev/null",  # not to be told by the shell how it ended
        f'"$cli" {shlex.join(arguments)} 2>&5 5>&-',
        "code=$?",
        'rm -f "$d/room.end"',
        'printf "%s\\n" "$code" >"$d/code"',
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"
