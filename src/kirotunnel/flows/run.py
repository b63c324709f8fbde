"""Run a command of the person's own on a target, as `ssh -t` does, with its browser and its callbacks brought here.

    reach      what the person typed              → a Session          (flows.reach)
    prepare    a directory there with our opener  → its path           (ssh.control)
    run        the command, its streams, its keys → exit code          (ssh.remote_command, local.streams)
    watch      what it opens, prints, listens on  → events             (ssh.control, wire.printed_urls)
    leg, door  what they lead to                                       (flows.run_machine, local.relay)

What to do when is decided in `run_machine`; this file only does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shlex
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import ConnectionLostError, KirotunnelError, LoginTimedOutError
from kirotunnel.flows import run_steps as m
from kirotunnel.flows.driving import Driver, LegObserver
from kirotunnel.flows.environment import Conversation, Environment
from kirotunnel.flows.reach import reach
from kirotunnel.flows.run_machine import RunMachine, RunPlan
from kirotunnel.local.allowed_hosts import AllowedHosts
from kirotunnel.local.callback_ports import Lease
from kirotunnel.local.command_relay import CommandRoute
from kirotunnel.local.streams import read_pieces, writable, write_whole
from kirotunnel.local.terminal import Terminal
from kirotunnel.profiles.profile import Profile, load_profile, profile_of_command
from kirotunnel.redaction import Secret
from kirotunnel.ssh.bridge import dial_target, way_to_target
from kirotunnel.ssh.control import ControlShell, no_place, opened_url
from kirotunnel.ssh.prompts import Nobody
from kirotunnel.ssh.remote_command import RemoteCommand, command_runner
from kirotunnel.ssh.session import Session
from kirotunnel.targets.options import TargetOptions
from kirotunnel.wire.passing import PLAIN_AGAIN, EscapeKeys, Passing
from kirotunnel.wire.printed_urls import PrintedUrls, SaidLine
from kirotunnel.wire.records import Record
from kirotunnel.wire.redirect import TrustedHost, UrlPolicy

LEASE_S: Final = 3600
"""Seconds that the target waits for a word of ours before it ends the command: a laptop may sleep for a while."""
PAUSE_S: Final = 0.4
"""Seconds without output after which a URL at its end is taken as whole."""
WIDE_TERMINAL: Final = (250, 50)
"""Columns and rows where a terminal was asked for and no person has one: wide, so that nothing is wrapped."""

_SETS_A_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PLAIN_NAME: Final = re.compile(r"[\w.+@-]+")
"""No `(cd` or `$tool`, as lines for a shell begin."""
_NAMELESS: Final = "the command"
"""What such a line is called. Any other may be the next one of that name, so no yes is remembered for it."""
_DISPLAY: Final = {"DISPLAY": ":0"}
"""Without a display half of all CLIs do not call an opener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(TargetOptions):
    """What was asked for; the command line's options, with their defaults."""

    command: tuple[str, ...]
    """Several words: the command to the letter. One: a line for the person's shell there."""
    terminal: bool | None = None
    """Whether the command gets a terminal; None: as its profile says, else where our own input is one."""
    profile: str | None = None
    """Its name; None: the one that recognises the command, or none."""
    trusted_hosts: tuple[TrustedHost, ...] = ()
    timeout_s: float | None = None
    """Seconds for all of it; None for as long as it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The descriptors of this process that the command's streams are joined to."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2
    takes_interrupts: bool = True
    """SIGINT of this process is the command's, as under ssh. Whoever runs the event loop takes it back afterwards."""


async def run(options: RunOptions, environment: Environment, streams: Streams | None = None) -> int:
    """Run the command to its exit code. Raises KirotunnelError; leaves nothing of ours behind on any way out."""
    profile = chosen_profile(options)
    deadline = None if options.timeout_s is None else asyncio.get_running_loop().time() + options.timeout_s
    try:
        async with asyncio.timeout_at(deadline) as timer:
            async with (
                reach(options, environment) as session,
                _Run(options, environment, session, streams or Streams(), profile) as running,
            ):
                await running.prepare()
                timer.reschedule(None)  # from here on the machine keeps the time
                return await running.run(deadline)
    except TimeoutError as exc:
        raise LoginTimedOutError(f"{options.place} was not reached, or did not answer, in time") from exc


class _Run(Driver[m.RunEvent, m.Action, int]):
    """One run under way: what the machine decides is done here, and what happens is told to it."""

    def __init__(
        self,
        options: RunOptions,
        environment: Environment,
        session: Session,
        streams: Streams,
        profile: Profile | None,
    ) -> None:
        self._profile = profile or Profile(name=command_name(options.command))
        self._name = self._profile.name
        super().__init__(during=f"{self._name} ran on {options.place}")
        self._options = options
        self._environment = environment
        self._session = session
        self._streams = streams
        self._keyboard = environment.terminal
        wanted = self._profile.terminal if options.terminal is None else options.terminal
        with_terminal = self._keyboard is not None if wanted is None else wanted
        self._terminal = self._size() if with_terminal else None
        self._screens = {fd: Passing() if os.isatty(fd) else None for fd in (streams.stdout, streams.stderr)}
        self._conversation: Conversation = _Aside(environment.conversation, self._own_line, self._keyboard)
        self._machine = RunMachine(
            RunPlan(
                host=options.place,
                command=self._name,
                policy=UrlPolicy(
                    known_hosts=self._profile.authorize_hosts,
                    trusted=(
                        *options.trusted_hosts,
                        *_allowed_before(environment.allowed_hosts, options.place, self._name),
                    ),
                ),
                callback_paths=self._profile.callback_paths,
                answer_hosts=self._profile.answer_hosts,
                fetch_hosts=self._profile.fetch_hosts,
                gate=self._profile.gate,
                interactive=not isinstance(environment.prompts, Nobody),
            )
        )
        self._shell = ControlShell(session, self._hear)
        self._command: RemoteCommand | None = None
        self._ended = True
        self._listening = m.Listening(None)
        self._readers: list[PrintedUrls] = []
        self._leases: dict[int, list[Lease]] = {}
        """Of each port: a sign-in that comes back to a port that is open has a lease of its own."""
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._redirects: dict[int, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)

    def _hear(self, record: Record) -> None:
        if (url := opened_url(record)) is not None:
            self._queue.put_nowait(m.UrlOpened(url))

    async def prepare(self) -> None:
        """Make the place for the opener. Raises RemoteLoginError where there is none."""
        profile = self._profile
        text = command_runner(
            self._options.command,
            unset=profile.unset,
            variables=profile.environment,
            defaults={} if "DISPLAY" in profile.unset else _DISPLAY,
            openers=profile.openers,
        )
        if await self._shell.prepare_command(text, openers=profile.openers, lease_s=LEASE_S) is None:
            raise no_place(self._session)

    async def run(self, deadline: float | None) -> int:
        """Go through it, to the command's exit code."""
        self._session.lost.add_done_callback(lambda lost: self._queue.put_nowait(m.Disconnected(lost.result())))
        if deadline is not None:
            self._keep_deadline(deadline)
        return await self._go_through(self._machine.begin(), self._machine.feed)

    # --- actions -----------------------------------------------------------------------------------------------------

    async def _perform(self, action: m.Action) -> int | None:
        match action:
            case m.Report(event):
                self._conversation.event(event)
            case m.Tell(text):
                self._conversation.tell(text)
            case m.Warn(text):
                self._conversation.warn(text)
            case m.StartCommand():
                await self._start()
            case m.Look():
                self._spawn(self._look())
            case m.AskAboutHost(leg, authority):
                self._spawn(self._ask_about_host(leg, authority))
            case m.RememberHost(authority):
                self._spawn(self._remember(authority))
            case m.OpenTunnel():
                self._opening[action.port] = self._spawn(self._open_tunnel(action))
            case m.ServeBy():
                await self._serve_by(action)
            case m.CloseTunnel(port):
                self._spawn(self._close_tunnel(port))
            case m.AnswerRedirect(number, yes):
                if (answer := self._redirects.pop(number, None)) is not None and not answer.done():
                    answer.set_result(yes)
            case m.OpenBrowser(leg, url, authority):
                self._conversation.url(url.reveal(), authority)
                self._spawn(self._open_browser(leg, url))
            case m.StartTimer(name, seconds):
                self._start_timer(name, seconds)
            case m.SendSignal(name):
                self._spawn(self._shell.send(name))
            case m.StopCommand():
                await self._shell.stop()
            case m.Exit(code):
                return code
            case m.Fail(error):
                raise error
        return None

    async def _start(self) -> None:
        directory = self._shell.directory
        assert directory is not None  # noqa: S101 - `prepare` came before
        self._ended = False
        kind = (os.environ.get("TERM") or "xterm", self._terminal) if self._terminal else None
        self._command = command = await RemoteCommand.start(self._session, directory, terminal=kind)
        self._spawn(self._follow(command))
        self._on_interrupt(lambda: self._queue.put_nowait(m.Interrupted()))
        if self._keyboard is not None and self._terminal is not None:
            self._keys.enter_context(self._keyboard.raw(partial(self._typed, EscapeKeys()), self._resized))
        else:
            self._spawn(self._pass_input(command))

    def _typed(self, escapes: EscapeKeys, keys: bytes) -> None:
        passed, out = escapes.feed(keys)
        if self._command is not None and passed:
            self._command.type(passed)
        if out:
            self._queue.put_nowait(m.HungUp())

    def _resized(self, columns: int, rows: int) -> None:
        for reader in self._readers:
            reader.columns = columns
        if self._command is not None:
            self._command.resize(columns, rows)

    async def _pass_input(self, command: RemoteCommand) -> None:
        async for data in read_pieces(self._streams.stdin):
            await command.write(data)
        command.end_input()

    async def _follow(self, command: RemoteCommand) -> None:
        await asyncio.gather(
            self._pass_output(command.output, self._streams.stdout),
            self._pass_output(command.errors, self._streams.stderr),
        )
        code = await command.exit_code()
        self._ended = True
        self._queue.put_nowait(m.CommandEnded(code))

    async def _pass_output(
        self, stream: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]], fd: int
    ) -> None:
        reader = PrintedUrls(self._terminal[0] if self._terminal else None)
        self._readers.append(reader)
        success = SaidLine(self._profile.success) if self._profile.success else None
        loop = asyncio.get_running_loop()
        pause: asyncio.TimerHandle | None = None

        def read(data: bytes) -> None:
            for url in reader.feed(data):
                self._queue.put_nowait(m.UrlPrinted(url))
            if success is not None and success.feed(data):
                self._queue.put_nowait(m.SuccessSaid())

        async def sink(data: bytes) -> None:
            nonlocal pause
            screen = self._screens[fd]
            try:
                await writable(fd, self._keyboard)  # nothing of the command's is drawn over a question of ours
                if pause is not None:
                    pause.cancel()
                pause = loop.call_later(PAUSE_S, read, b"")
                read(data)
                await write_whole(fd, data if screen is None else screen.feed(data), self._keyboard)
            except OSError:
                self._queue.put_nowait(m.OutputGone())
                raise

        try:
            await stream(sink)
        finally:
            if pause is not None:
                pause.cancel()
        read(b"")

    async def _look(self) -> None:
        seen = await self._shell.look()
        if seen is not None:
            rows, own = seen
            self._listening = m.Listening(None if rows is None else tuple(rows), own)
        self._queue.put_nowait(self._listening)

    async def _ask_about_host(self, leg: int, authority: str) -> None:
        question = (
            f"{self._name} on {self._options.place} wants to open a page on {authority},\n"
            "a host that it has not asked for before. Open it only if you know it as a sign-in page of yours.\nOpen it?"
        )
        self._own_line(question=True)
        yes = await self._environment.prompts.confirm(question)
        self._queue.put_nowait(m.HostAllowed(leg, bool(yes)))

    async def _remember(self, authority: str) -> None:
        allowed = self._environment.allowed_hosts
        if allowed is None or self._name == _NAMELESS:
            return
        try:
            await allowed.add(self._options.place, self._name, authority)
        except (OSError, KirotunnelError) as exc:
            self._conversation.warn(f"that cannot be remembered for the next time: {exc}")

    async def _judge(self, leg: int, url: str, after_callback: bool) -> bool:
        number = next(self._numbers)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._redirects[number] = answer
        self._queue.put_nowait(m.RedirectWanted(number, leg, url, after_callback))
        return await answer

    def _route(self, serving: m.Serving) -> CommandRoute:
        leg = serving.rule.leg
        return CommandRoute(
            rule=serving.rule,
            port=serving.port,
            dial=partial(dial_target, self._session, serving.port, serving.addresses),
            observer=LegObserver(leg, self._queue.put_nowait),
            cli=self._name,
            host=self._options.place,
            policy=serving.policy,
            judge=partial(self._judge, leg),
            patience_s=self._profile.gate.answer_timeout_s,
        )

    async def _open_tunnel(self, serving: m.OpenTunnel) -> None:
        port = serving.port
        try:
            way = await way_to_target(self._session)
            lease = await self._environment.ports.lease(self._route(serving))
        except KirotunnelError as exc:
            self._queue.put_nowait(m.TunnelFailed(port, exc))
            return
        self._leases[port] = [lease]
        self._queue.put_nowait(m.TunnelReady(port, lease.listen, way))

    async def _serve_by(self, serving: m.ServeBy) -> None:
        """Another sign-in comes back to a port that is open. What is being answered there meanwhile goes on."""
        leases = self._leases.get(serving.port)
        if not leases:
            return  # it is being closed
        new = self._route(serving)
        for lease in leases:
            if lease.route.rule.state == new.rule.state and isinstance(lease.route, CommandRoute):
                lease.route.become(new)
                return
        try:
            leases.append(await self._environment.ports.lease(new))
        except KirotunnelError as exc:
            self._conversation.warn(f"{exc.message} ({exc.code})")
            return
        for lease in [lease for lease in leases if lease.route.rule.state is None]:
            leases.remove(lease)  # what took anything takes nothing any more
            self._spawn(lease.close())

    async def _close_tunnel(self, port: int) -> None:
        if (opening := self._opening.pop(port, None)) is not None:
            opening.cancel()  # else it would have the port once nobody wants it any more
            await asyncio.wait({opening})
        leases = self._leases.get(port, [])
        await asyncio.gather(*(lease.close() for lease in leases))
        self._leases.pop(port, None)  # not before: what is cut off here is closed by `_clean_up`
        if leases:
            leg = leases[-1].route.rule.leg
            self._conversation.event(ev.TunnelClosed(leg=leg, port=port, open_ms=leases[0].open_ms))
        self._queue.put_nowait(m.TunnelEnded(port))

    async def _open_browser(self, leg: int, url: Secret[str]) -> None:
        self._queue.put_nowait(m.BrowserStarted(leg, await self._environment.browser.open(url.reveal())))

    # --- the person's terminal ---------------------------------------------------------------------------------------

    def _size(self) -> tuple[int, int]:
        return self._keyboard.size() if self._keyboard is not None else WIDE_TERMINAL

    def _own_line(self, *, question: bool = False) -> None:
        """Begin a line of ours on the terminal, wherever the command has left the cursor.

        Before a question the command's drawing is undone: it could have what is asked scroll away, or be unseen.
        """
        for fd, screen in self._screens.items():
            if screen is None:
                continue
            begin = "" if screen.at_line_start else "\r\n"
            if question and screen.is_drawn_on:
                screen.is_drawn_on, begin = False, PLAIN_AGAIN + begin
            screen.at_line_start = True
            if begin:
                with contextlib.suppress(OSError):
                    os.write(fd, begin.encode())

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def _watch(self, work: Awaitable[None]) -> None:
        try:
            await work
        except ConnectionLostError as exc:
            self._queue.put_nowait(m.Disconnected(exc.message))
        except KirotunnelError as exc:
            # A channel that ends without a status is what a lost connection looks like first.
            lost = self._session.lost.done()
            self._queue.put_nowait(m.Disconnected(exc.message) if lost else m.Broken(exc))

    async def __aexit__(self, *exc_info: object) -> None:
        # The command has ended, or is being ended: no Ctrl-C is for it any more, and none may cut the cleaning short.
        self._on_interrupt(lambda: None)
        await super().__aexit__(*exc_info)

    def _on_interrupt(self, handler: Callable[[], None]) -> None:
        if self._streams.takes_interrupts:
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows; not the main thread
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, handler)

    async def _clean_up(self) -> None:
        # Who is told of a closed port may be gone, and raise: the rest is done all the same.
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._leave)
            for port in reversed(self._leases):  # the last that is put on a stack comes first
                stack.push_async_callback(self._close_tunnel, port)

    async def _leave(self) -> None:
        """Let go of the target, with nothing left there."""
        await self._shell.finish(cli_ended=self._ended)
        if self._command is not None:
            self._command.close()


class _Aside:
    """Our words between the command's: on lines of their own, and with the terminal as the person's shell had it."""

    def __init__(self, inner: Conversation, own_line: Callable[[], None], terminal: Terminal | None) -> None:
        self._inner = inner
        self._own_line = own_line
        self._mode = terminal.aside if terminal is not None else contextlib.nullcontext

    def event(self, event: ev.Event) -> None:
        """Pass it on."""
        self._say(lambda: self._inner.event(event))

    def tell(self, text: str) -> None:
        """Pass it on."""
        self._say(lambda: self._inner.tell(text))

    def warn(self, text: str) -> None:
        """Pass it on."""
        self._say(lambda: self._inner.warn(text))

    def url(self, url: str, authority: str) -> None:
        """Pass it on."""
        self._say(lambda: self._inner.url(url, authority))

    def remote(self, text: str) -> None:
        """Pass it on."""
        self._say(lambda: self._inner.remote(text))

    def _say(self, words: Callable[[], None]) -> None:
        self._own_line()
        with self._mode():
            words()


def chosen_profile(options: RunOptions) -> Profile | None:
    """The profile that was named, or that recognises the command. Raises ProfileError, ProfileNotFoundError."""
    if options.profile is not None:
        return load_profile(options.profile)
    words = options.command
    if len(words) == 1:
        with contextlib.suppress(ValueError):
            words = tuple(shlex.split(words[0]))
    return profile_of_command(words) if words else None


def _allowed_before(allowed: AllowedHosts | None, place: str, command: str) -> list[TrustedHost]:
    hosts = allowed.of(place, command) if allowed is not None and command != _NAMELESS else ()
    found = []
    for text in hosts:
        with contextlib.suppress(KirotunnelError):
            host = TrustedHost.parse(text)
            found.append(TrustedHost(host.host, host.port or 443))
    return found


def command_name(words: Sequence[str]) -> str:
    """What messages and pages call the command: its program, without directories or what is set for it before."""
    if len(words) == 1:
        with contextlib.suppress(ValueError):
            words = shlex.split(words[0])
    program = next((word for word in words if word != "env" and not _SETS_A_VARIABLE.match(word)), "")
    name = program.rpartition("/")[2]
    return name if _PLAIN_NAME.fullmatch(name) else _NAMELESS
