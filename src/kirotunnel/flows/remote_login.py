"""Sign a remote CLI in with this machine's browser: the main job, in the order of the README.

    resolve    what the person typed            → an Endpoint        (targets, ssh.config)
    connect    to it                            → a Session          (ssh.session)
    look       around on the target, once       → RemoteFacts        (ssh.control)
    steer      the CLI away from ports that are busy here            (flows.steering, ssh.holds)
    start      the CLI with our opener          → events             (ssh.remote_cli, wire.transcript)
    leg        for each page that it wants: judge the URL, bind both loopback addresses, open the browser,
               pass the callback through the gate, deliver it, close the port (local.relay)
    confirm    by the CLI's own whoami          → LoginResult

The connection may be lost at any of these and is made anew; the target holds the login meanwhile (flows.link).
What to do when is decided in `login_machine`; this file only does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackPortError,
    ConnectionLostError,
    KirotunnelError,
    LoginTimedOutError,
    RemoteLoginError,
    SSHError,
)
from kirotunnel.flows import login_steps as m
from kirotunnel.flows.driving import Driver, LegObserver
from kirotunnel.flows.environment import Environment, Paste
from kirotunnel.flows.link import Link
from kirotunnel.flows.login_machine import LoginMachine
from kirotunnel.flows.login_plan import Flow, LoginPlan, Method, Provider
from kirotunnel.flows.pasted_callback import ask_for_callback
from kirotunnel.flows.reach import reach
from kirotunnel.flows.reconnecting import MAX_DROPS, delay_before, is_hopeless
from kirotunnel.flows.steering import PortFacts, busy_there, port_table
from kirotunnel.local.callback_ports import Lease
from kirotunnel.local.relay import Route
from kirotunnel.local.terminal import SHOW_CURSOR
from kirotunnel.profiles.profile import Profile, profile_for
from kirotunnel.redaction import Secret
from kirotunnel.ssh.bridge import Way, dial_target, way_to_target
from kirotunnel.ssh.control import ControlShell, Prepare, no_place, runner
from kirotunnel.ssh.holds import PortHolds
from kirotunnel.ssh.prompts import Nobody
from kirotunnel.ssh.remote_cli import WIDE_TERMINAL, AttachedCLI, Ending, HeldCLI, RemoteCLI
from kirotunnel.ssh.session import ByteStream, Session
from kirotunnel.targets.options import TargetOptions
from kirotunnel.wire.records import read_facts
from kirotunnel.wire.redirect import TrustedHost, UrlPolicy
from kirotunnel.wire.terminal import SafeTerminal, one_line
from kirotunnel.wire.transcript import Transcript

DEFAULT_TIMEOUT_S: Final = 600.0
EXPLAIN_S: Final = 5.0
"""Seconds for the target to say who holds its ports, once the login has failed for want of one."""
RELEASE_S: Final = 3.0
"""Seconds for the target to let go of held ports; with the connection it does so anyway."""
COME_BACK_S: Final = 5.0
"""Seconds for another connection where the last was lost while the target was being cleaned."""
HOLD_AGAIN: Final = 6
"""Tries to hold a port again after a drop: it may still be held for the connection that was lost."""
HOLD_AGAIN_S: Final = 0.5
MAX_UNSEEN: Final = 500
"""Pieces of the CLI's drawing that are kept while a question of ours is open."""
TAKE_UP_S: Final = 30.0
"""Seconds for the target to go on with a login, once it is connected again."""
NO_FACTS: Final = read_facts([])
MAX_STARTS: Final = 3
"""Times that a login begins, where somebody takes its port here just before we do."""
LEASE_SPARE_S: Final = 10
"""Seconds that the target waits beyond our own deadline before it cleans up by itself; we need five at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginOptions(TargetOptions):
    """What was asked for; the command line's options, with their defaults."""

    cli: str = "kiro-cli"
    method: Method | None = None
    flow: Flow = "auto"
    start_url: str | None = None
    region: str | None = None
    provider: Provider | None = None
    """The identity provider for a CLI that takes it as an option; kiro-cli's portal names it."""
    expect: str | None = None
    force: bool = False
    trusted_hosts: tuple[TrustedHost, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S
    """Seconds for the whole sign-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """Who is signed in on the target now."""

    target: str
    account: ev.Account
    already: bool
    """Somebody was signed in before; nothing was changed."""


async def login(options: LoginOptions, environment: Environment) -> LoginResult:
    """Sign the CLI of one target in. Raises KirotunnelError; leaves nothing behind, here or there, on any way out."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + options.timeout_s
    profile = profile_for(options.cli)
    profile.must_say("login", "whoami")
    for tries_left in reversed(range(MAX_STARTS)):
        try:
            return await _login_once(options, environment, profile, deadline, again=tries_left < MAX_STARTS - 1)
        except _PortTakenError as exc:
            if not tries_left:
                raise exc.error from None
            deadline = exc.deadline
            environment.conversation.tell(f"{exc.error.message}; the login begins anew, around that port")
    raise AssertionError("unreachable")


async def _login_once(
    options: LoginOptions, environment: Environment, profile: Profile, deadline: float, *, again: bool
) -> LoginResult:
    async with _Login(options, environment, profile, deadline, again=again) as run:
        try:
            async with asyncio.timeout_at(deadline) as timer:
                ports = await run.arrive(timer)
        except TimeoutError as exc:
            raise run.never_arrived() from exc
        return await run.run(ports)  # from here on the machine keeps the time: it knows what is missing


class _PortTakenError(Exception):
    """Somebody took the port here before the person was asked anything."""

    def __init__(self, error: KirotunnelError, deadline: float) -> None:
        super().__init__(error.message)
        self.error = error
        self.deadline = deadline
        """With the time in which the target waited for its turn."""


class _Login(Driver[m.LoginEvent, m.Action, LoginResult]):
    """One login under way: what the machine decides is done here, and what happens is told to it."""

    def __init__(
        self, options: LoginOptions, environment: Environment, profile: Profile, deadline: float, *, again: bool
    ) -> None:
        super().__init__(during=f"signing in on {options.place}")
        self._options = options
        self._again = again
        """The same login was begun before, and has told of its way to the target."""
        self._environment = environment
        self._conversation = environment.conversation
        self._profile = profile
        self._deadline = deadline
        self._machine = LoginMachine(
            LoginPlan(
                host=options.place,
                cli=options.cli,
                profile=profile,
                method=options.method,
                flow=options.flow,
                force=options.force,
                expect=options.expect,
                start_url=options.start_url,
                region=options.region,
                provider=options.provider,
                policy=UrlPolicy(known_hosts=profile.authorize_hosts, trusted=options.trusted_hosts),
                paste=environment.paste is not None,
                interactive=environment.terminal is not None,
            )
        )
        self._held = HeldCLI(self)
        self._cli: RemoteCLI = self._held
        self._attached: AttachedCLI | None = None
        self._link = Link(self._open_session, self._held, self._lost)
        self._facts = NO_FACTS
        self._start_action: m.StartRemote | None = None
        self._started = False
        """Whether the CLI is the holder's by now."""
        self._has_keyboard = False
        self._still_held = True
        self._holds: PortHolds | None = None
        self._steered: set[int] = set()
        self._lost_because: str | None = None
        """Why the connection was lost before the machine began."""
        self._begun = False
        self._waiting_s = environment.turn.longest_s if environment.turn else 0.0
        self._transcript = Transcript()
        self._leases: dict[int, Lease] = {}
        self._pasting: dict[int, asyncio.Task[None]] = {}
        self._shown = SafeTerminal()
        self._draws = True
        self._unseen: list[str] = []
        """What the CLI drew while a question of ours was open."""
        self._way: Way = "direct-tcpip"

    # --- arriving ----------------------------------------------------------------------------------------------------

    async def arrive(self, timer: asyncio.Timeout) -> PortFacts:
        """Connect, and learn what there is on the target. A connection that is lost meanwhile is made anew."""
        drops = attempt = 0
        while True:
            try:
                ports = await self._arrive_once(timer)
            except KirotunnelError as exc:
                if isinstance(exc, ConnectionLostError) and drops < MAX_DROPS:
                    drops, attempt = drops + 1, 0
                    self._lost_because = one_line(exc.message)
                    self._conversation.event(ev.ConnectionLost(reason=self._lost_because))
                elif drops == 0 or isinstance(exc, LoginTimedOutError):
                    raise  # nobody waits an hour for a turn twice
                elif is_hopeless(exc):
                    message = f"{self._lost_because}, and could not be made anew: {exc.message}"
                    raise ConnectionLostError(message, exc.hint) from exc
                attempt += 1
                await asyncio.sleep(delay_before(drops - 1 + attempt))
            else:
                if self._lost_because is not None:
                    self._conversation.event(ev.Reconnected(reason=self._lost_because, attempt=attempt))
                return ports

    async def _arrive_once(self, timer: asyncio.Timeout) -> PortFacts:
        busy_here = asyncio.ensure_future(self._environment.ports.busy(self._profile.ports))  # while we connect
        try:
            await self._link.connect(self._look_first)
            turn = self._environment.turn
            if turn is not None and self._waiting_s and (self._facts.account is None or self._options.force):
                timer.reschedule(None)  # nobody was asked yet, so the time does not run
                self._deadline += await turn.wait()
                self._waiting_s = 0.0
                timer.reschedule(self._deadline)
                busy_here.cancel()
                busy_here = asyncio.ensure_future(self._environment.ports.busy(self._profile.ports))
            here = await busy_here
            now = self._link.now
            # Who has the CLI's ports there is asked only where it matters: some are busy here.
            rows = await now.shell.listeners() if here else None
            if not self._link.is_up:  # lost while its turn was waited for
                raise ConnectionLostError(f"the connection to {self._options.place} was lost: {self._lost_because}")
            self._begun = True  # in one breath with that look: a loss from here on is the machine's
        finally:
            busy_here.cancel()
        return PortFacts(here=here, there=busy_there(rows, self._profile.ports))

    def never_arrived(self) -> KirotunnelError:
        """The error where the time was over before."""
        place = self._options.place
        if self._lost_because is not None:
            return ConnectionLostError(f"{self._lost_because}, and {place} was not reached again in time")
        return LoginTimedOutError(f"the sign-in on {place} took too long: {place} was not reached, or did not answer")

    async def _look_first(self, shell: ControlShell) -> None:
        self._facts = await shell.look_around(
            cli=self._options.cli, profile=self._profile, prepare=self._prepare, lease_s=self._lease_s
        )
        self._held.use(shell)

    @property
    def _prepare(self) -> Prepare:
        # A whoami whose exit code says nothing is read here, and the shell there knows only the code.
        return "always" if self._options.force or self._profile.account.nobody else "signed-out"

    @property
    def _lease_s(self) -> int:
        left = self._deadline - asyncio.get_running_loop().time() + self._waiting_s
        return max(0, int(left)) + LEASE_SPARE_S

    def _open_session(self, again: bool) -> AbstractAsyncContextManager[Session]:
        return reach(self._options, self._environment, again=again or self._again)

    async def run(self, ports: PortFacts) -> LoginResult:
        """Go through the login."""
        self._keep_deadline(self._deadline)
        return await self._go_through(self._machine.begin(self._facts, ports), self._machine.feed)

    # --- the connection ----------------------------------------------------------------------------------------------

    def _lost(self, reason: str) -> None:
        if not self._begun:
            self._lost_because = one_line(reason)  # whoever is about to ask something finds out
            return
        self._queue.put_nowait(m.Disconnected(reason, resumable=self._attached is None))

    async def _reconnect(self, attempt: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            await self._link.connect(self._take_up)
        except KirotunnelError as exc:
            self._queue.put_nowait(m.ReconnectFailed(attempt, exc))
        else:
            if self._started:
                self._runs()
            self._queue.put_nowait(m.Reconnected(attempt, held=self._still_held))

    async def _take_up(self, shell: ControlShell) -> None:
        """Go on with what the target holds; before the CLI was started, look around anew where nothing is left."""
        try:
            async with asyncio.timeout(TAKE_UP_S):
                standing = await shell.go_on(
                    self._facts.directory or "/",
                    urls=self._held.urls,
                    output=self._held.received,
                    cli=self._facts.cli or self._options.cli,
                    profile=self._profile,
                    lease_s=self._lease_s,
                )
                if standing == "gone" and not self._started and self._start_action is not None:
                    self._facts = await shell.look_again(prepare="always")
        except TimeoutError as exc:
            raise SSHError(f"{self._options.place} is reached again, but our shell there does not answer") from exc
        self._started = self._started or standing == "held"
        self._still_held = standing != "gone"
        self._held.use(shell)

    async def _dial(self, port: int) -> ByteStream:
        """A connection to the CLI's listener. While there is none to the target, the callback waits for it."""
        while True:
            now = await self._link.when_up()
            try:
                # A connection that is half dead would use up the one visit that the listener takes.
                await now.shell.ping()
                return await dial_target(now.session, port, beside=now.shell)
            except KirotunnelError as exc:
                if not self._link.broken(now, exc):
                    raise
                # Nothing was sent: the next connection carries it.

    # --- actions -----------------------------------------------------------------------------------------------------

    async def _perform(self, action: m.Action) -> LoginResult | None:
        match action:
            case m.Report(event):
                self._shown.own_line()
                self._conversation.event(event)
                if isinstance(event, ev.BrowserOpened):
                    self._ask_for_callback(event.leg)  # not before: the address to open stands above the question
            case m.Warn(text):
                self._shown.own_line()
                self._conversation.warn(text)
            case m.HoldPorts(busy):
                await self._in_time(self._hold(busy))
            case m.ReleaseHolds():
                if self._holds is not None:
                    self._spawn(self._holds.release())
            case m.StartRemote():
                await self._in_time(self._start(action))
            case m.Reconnect(attempt, after_s):
                self._spawn(self._reconnect(attempt, after_s))
            case m.AskAboutHost(leg, authority):
                self._spawn(self._ask_about_host(leg, authority))
            case m.CheckListener(leg, port):
                self._spawn(self._check_listener(leg, port))
            case m.OpenTunnel():
                await self._open_tunnel(action)
            case m.OpenBrowser(leg, url, authority):
                self._shown.own_line()
                self._conversation.url(url.reveal(), authority)
                self._spawn(self._open_browser(leg, url))
            case m.CloseTunnel(leg):
                await self._close_tunnel(leg)
            case m.Type(keys):
                self._cli.type(keys.encode())
            case m.StartTimer(name, seconds):
                self._start_timer(name, seconds)
            case m.AskWhoami():
                self._spawn(self._ask_whoami())
            case m.StopRemote():
                if self._link.is_up:
                    await self._link.now.shell.stop()
            case m.Succeed(account, already):
                return LoginResult(target=self._options.target, account=account, already=already)
            case m.StartAnew(error):
                raise _PortTakenError(error, self._deadline)
            case m.Fail(error):
                raise await self._explained(error)
        return None

    async def _in_time(self, work: Awaitable[None]) -> None:
        """The machine gets no event while this goes on, so the deadline is kept here and told to it."""
        try:
            async with asyncio.timeout_at(self._deadline):
                await work
        except TimeoutError:
            self._queue.put_nowait(m.DeadlinePassed())

    async def _explained(self, error: KirotunnelError) -> KirotunnelError:
        """The error; where the CLI found no port, with who has them there."""
        if not isinstance(error, CallbackPortError) or "\n" in error.message:
            return error
        listed = self._profile.ports
        try:
            async with asyncio.timeout(EXPLAIN_S):
                there = PortFacts(there=busy_there(await self._link.now.shell.listeners(), listed))
        except (KirotunnelError, TimeoutError):
            return error
        rows = port_table([port for port in listed if port in there.there], there, self._options.place)
        return CallbackPortError("\n  ".join([f"{error.message}" + (":" if rows else ""), *rows]), error.hint)

    async def _hold(self, busy: Mapping[int, str]) -> None:
        now = self._link.now
        if self._holds is not None:
            await self._release_holds()  # of a connection that was lost
        self._holds = PortHolds(now.session, now.shell, lease_s=self._lease_s)
        held = await self._holds.take(busy)
        if self._steered:
            held |= await self._hold_what_is_let_go_of(self._holds, {port for port in busy if port not in held})
        for port, holder in busy.items():
            if port in self._steered:
                continue
            self._steered.add(port)
            if method := held.get(port):
                self._conversation.event(ev.PortSteered(busy=port, holder=holder, method=method))
            else:
                self._conversation.warn(
                    f"port {port} is in use here by {holder}, and {self._options.place} has no means to keep "
                    f"{self._options.cli} off it"
                )

    async def _hold_what_is_let_go_of(self, holds: PortHolds, ports: set[int]) -> dict[int, str]:
        """Hold again what the server may be holding still, for the connection that was lost, until it notices."""
        held: dict[int, str] = {}
        for _ in range(HOLD_AGAIN):
            if not (missing := ports - set(held)):
                break
            await asyncio.sleep(HOLD_AGAIN_S)
            held |= await holds.take(missing)
        return held

    async def _release_holds(self) -> None:
        if self._holds is not None:
            with contextlib.suppress(TimeoutError):  # over a dead link it would wait for the keepalives
                async with asyncio.timeout(RELEASE_S):
                    await self._holds.release()

    async def _start(self, action: m.StartRemote) -> None:
        now = self._link.now
        self._start_action = action
        if self._facts.directory is None:
            raise no_place(now.session)
        try:
            if action.own_mode or action.logout_first or action.arguments != self._profile.login:
                own_mode, logout_first = action.own_mode, action.logout_first
                text = runner(action.arguments, self._profile, own_mode=own_mode, logout_first=logout_first)
                await now.shell.set_runner(text)
            await now.shell.start_cli(lease_s=self._lease_s, terminal=self._terminal(action))
        except KirotunnelError as exc:
            if self._link.broken(now, exc):
                return
            raise
        self._runs()

    def _runs(self) -> None:
        """The CLI's login runs there, as its start or a connection after that has said: the keyboard is the CLI's."""
        self._started = True
        self._queue.put_nowait(m.RemoteStarted())
        terminal = self._environment.terminal
        if terminal is not None and not self._has_keyboard:
            self._has_keyboard = True
            self._keys.enter_context(terminal.keys_to(self._type, self._resize))

    def _terminal(self, action: m.StartRemote) -> tuple[str, tuple[int, int]] | None:
        terminal = self._environment.terminal
        size = terminal.size() if terminal else WIDE_TERMINAL
        return (os.environ.get("TERM") or "xterm", size) if terminal or action.own_mode else None

    def _type(self, keys: bytes) -> None:
        self._cli.type(keys)

    def _resize(self, columns: int, rows: int) -> None:
        self._cli.resize(columns, rows)

    # --- what comes of the CLI (remote_cli.Watcher) ------------------------------------------------------------------

    def url(self, url: str) -> None:
        """It called its opener."""
        self._queue.put_nowait(m.UrlOpened(url))

    def printed(self, data: bytes) -> None:
        """It printed this."""
        self._show(data)
        for what in self._transcript.feed(data):
            self._queue.put_nowait(m.Printed(what))

    def ended(self, how: Ending, code: int | None) -> None:
        """Nothing more comes of it."""
        cli, target = self._options.cli, self._options.place
        match how:
            case "exited":
                self.printed(b"")
                self._queue.put_nowait(m.RemoteExited(code))
            case "too-much":
                self._queue.put_nowait(m.Broken(RemoteLoginError(f"{cli} on {target} prints without end")))
            case "gone":
                self._queue.put_nowait(
                    m.Broken(RemoteLoginError(f"{cli} on {target} was ended there by somebody else"))
                )
            case "no-terminal":
                self._spawn(self._run_attached())

    async def _run_attached(self) -> None:
        """The target has nothing that gives a terminal of its own, so the CLI gets one of this connection."""
        now, directory, action = self._link.now, self._facts.directory, self._start_action
        assert directory is not None  # noqa: S101 - something was started in it
        assert action is not None  # noqa: S101 - by this
        self._conversation.warn(
            f"{self._options.place} has nothing to keep a terminal without a connection (script, python3, perl, tmux, "
            "screen): should the connection be lost, the sign-in has to begin anew"
        )
        attached = await AttachedCLI.start(now.session, directory, self, terminal=self._terminal(action))
        self._cli = self._attached = attached
        await attached.follow()

    def _show(self, data: bytes) -> None:
        """Draw what the CLI drew, but never over a question of ours: the remote could rewrite what is asked."""
        terminal = self._environment.terminal
        if terminal is None or not self._draws:
            return
        if text := self._shown.feed(data):
            self._unseen.append(text)
        if terminal.asking:
            del self._unseen[:-MAX_UNSEEN]
            return
        self._conversation.remote("".join(self._unseen))
        self._unseen.clear()

    async def _ask_about_host(self, leg: int, authority: str) -> None:
        question = (
            f"{self._options.cli} on {self._options.place} wants to open a sign-in page on {authority},\n"
            "a host that it is not known to use. Open it only if you know it as your own sign-in page.\nOpen it?"
        )
        yes = await self._environment.prompts.confirm(question)
        self._shown.own_line()
        self._queue.put_nowait(m.HostAllowed(leg, bool(yes)))

    async def _check_listener(self, leg: int, port: int) -> None:
        # Whether the server forwards at all is asked in the same breath, so that it costs no time of its own.
        now = self._link.now
        rows, self._way = await asyncio.gather(now.shell.listeners(), way_to_target(now.session))
        listening = None if rows is None else any(row.port == port and row.reachable_by_loopback for row in rows)
        self._queue.put_nowait(m.ListenerChecked(leg, listening))

    async def _open_tunnel(self, action: m.OpenTunnel) -> None:
        leg = action.rule.leg
        route = Route(
            rule=action.rule,
            port=action.port,
            dial=partial(self._dial, action.port),
            observer=LegObserver(leg, self._queue.put_nowait),
            cli=self._options.cli,
            host=self._options.place,
            policy=action.policy,
            own_page=self._environment.own_pages,
        )
        try:
            pasted = self._environment.paste is not None
            lease = Lease.of_nothing(route) if pasted else await self._environment.ports.lease(route)
        except KirotunnelError as exc:
            self._queue.put_nowait(m.TunnelFailed(leg, exc))
            return
        self._leases[leg] = lease
        self._queue.put_nowait(m.TunnelReady(leg, lease.listen, self._way))

    def _ask_for_callback(self, leg: int) -> None:
        paste, lease = self._environment.paste, self._leases.get(leg)
        if paste is not None and lease is not None:
            self._pasting[leg] = self._spawn(self._take_pasted(lease.route, paste))

    async def _take_pasted(self, route: Route, paste: Paste) -> None:
        pasted = await ask_for_callback(paste, self._conversation, route.port, route.rule, route.observer.stray)
        await route.bring(pasted)

    async def _open_browser(self, leg: int, url: Secret[str]) -> None:
        self._queue.put_nowait(m.BrowserStarted(leg, await self._environment.browser.open(url.reveal())))

    async def _close_tunnel(self, leg: int) -> None:
        lease = self._leases.pop(leg, None)
        if (pasting := self._pasting.pop(leg, None)) is not None:
            pasting.cancel()
        if lease is not None:
            await lease.close()
            self._conversation.event(ev.TunnelClosed(leg=leg, port=lease.port, open_ms=lease.open_ms))
        self._queue.put_nowait(m.TunnelEnded(leg))

    async def _ask_whoami(self) -> None:
        self._queue.put_nowait(m.WhoamiAnswered(await self._link.now.shell.whoami()))

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def _watch(self, work: Awaitable[None]) -> None:
        now = self._link.now if self._link.is_up else None
        try:
            await work
        except KirotunnelError as exc:
            told = isinstance(exc, ConnectionLostError) if now is None else self._link.broken(now, exc)
            if not told:
                self._queue.put_nowait(m.Broken(exc))

    async def _clean_up(self) -> None:
        self._draws = False  # what the CLI still draws would hide the cursor again
        if self._environment.terminal is not None and self._start_action is not None:
            self._environment.terminal.show(SHOW_CURSOR)
        # Who is told of a closed port may be gone, and raise: the rest is done all the same.
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._leave)
            for leg in reversed(self._leases):  # the last that is put on a stack comes first
                stack.push_async_callback(self._close_tunnel, leg)

    async def _leave(self) -> None:
        """Let go of the target, with nothing left there."""
        await self._release_holds()
        done = await self._finish() if self._link.is_up else self._start_action is None
        if self._attached is not None:
            self._attached.close()
        await self._link.close()
        if not done and self._facts.directory is not None:
            self._conversation.warn(
                f"{self._options.place} cannot be told that this sign-in is over; what runs there for it ends by "
                f"itself in {self._lease_s} s"
            )

    async def _finish(self) -> bool:
        """Have the target cleaned; where the connection is lost just then, by another one. Nobody is asked for it."""
        if await self._link.now.shell.finish():
            return True
        self._environment = replace(self._environment, prompts=Nobody())
        with contextlib.suppress(KirotunnelError, TimeoutError):
            async with asyncio.timeout(COME_BACK_S):
                await self._link.connect(self._take_up)
            return await self._link.now.shell.finish()
        return False
