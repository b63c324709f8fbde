"""Sign a remote CLI in with this machine's browser: the main job, in the order of the README.

    resolve    what the person typed            → an Endpoint        (targets, ssh.config)
    connect    to it                            → a Session          (ssh.session)
    look       around on the target, once       → RemoteFacts        (ssh.control)
    steer      the CLI away from ports that are busy here            (flows.steering, ssh.holds)
    start      the CLI with our opener          → events             (ssh.remote_cli, wire.transcript)
    leg        for each page that it wants: judge the URL, bind both loopback addresses, open the browser,
               pass the callback through the gate, deliver it, close the port (local.relay)
    confirm    by the CLI's own whoami          → LoginResult

What to do when is decided in `login_machine`; this file only does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackPortError,
    ConnectionLostError,
    InternalError,
    KirotunnelError,
    LoginTimedOutError,
    PromptUnansweredError,
    RemoteLoginError,
)
from kirotunnel.flows import login_steps as m
from kirotunnel.flows.environment import Environment, Paste
from kirotunnel.flows.login_machine import LoginMachine
from kirotunnel.flows.login_plan import Flow, LoginPlan, Method, Provider
from kirotunnel.flows.reach import reach
from kirotunnel.flows.steering import PortFacts, busy_there, port_table
from kirotunnel.local.callback_ports import Lease
from kirotunnel.local.relay import Route
from kirotunnel.profiles.profile import Profile, profile_for
from kirotunnel.redaction import Secret
from kirotunnel.ssh.bridge import Way, dial_target, way_to_target
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.control import ControlShell, runner
from kirotunnel.ssh.holds import PortHolds
from kirotunnel.ssh.remote_cli import WIDE_TERMINAL, RemoteCLI
from kirotunnel.ssh.session import Session
from kirotunnel.targets.ec2 import EC2Options
from kirotunnel.wire.containers import Inside
from kirotunnel.wire.pasted import NotPasted, Pasted, read_pasted
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.redirect import TrustedHost, UrlPolicy
from kirotunnel.wire.terminal import SafeTerminal
from kirotunnel.wire.transcript import Transcript

DEFAULT_TIMEOUT_S: Final = 600.0
EXPLAIN_S: Final = 5.0
"""Seconds for the target to say who holds its ports, once the login has failed for want of one."""
RELEASE_S: Final = 3.0
"""Seconds for the target to let go of held ports; with the connection it does so anyway."""
MAX_UNSEEN: Final = 500
"""Pieces of the CLI's drawing that are kept while a question of ours is open."""
LEASE_SPARE_S: Final = 120
"""Seconds that the target waits beyond our own deadline before it cleans up by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginOptions:
    """What was asked for; the command line's options, with their defaults."""

    target: str
    ssh: SSHOptions = field(default_factory=SSHOptions)
    ec2: EC2Options = field(default_factory=EC2Options)
    inside: Inside | None = None
    """The container or pod on the target in which the CLI is."""
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

    @property
    def place(self) -> str:
        """Where the CLI is; for messages."""
        return f"{self.inside.describe()} on {self.target}" if self.inside else self.target


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
    busy_here = asyncio.ensure_future(environment.ports.busy(profile.ports))  # while we connect
    try:
        async with asyncio.timeout_at(deadline) as timer:
            async with (
                reach(options.target, options.ssh, environment, options.ec2, options.inside) as session,
                _Login(options, environment, session, profile) as run,
            ):
                facts = await run.look_around()
                if environment.turn is not None and (facts.account is None or options.force):
                    timer.reschedule(None)  # nobody was asked yet, so the time does not run
                    deadline += await environment.turn.wait()
                    timer.reschedule(deadline)
                    busy_here = asyncio.ensure_future(environment.ports.busy(profile.ports))
                ports = await run.look_at_ports(await busy_here)
                timer.reschedule(None)  # from here on the machine keeps the time: it knows what is missing
                return await run.run(facts, ports, deadline)
    except TimeoutError as exc:
        raise LoginTimedOutError(
            f"the sign-in on {options.place} took too long: {options.place} was not reached, or did not answer"
        ) from exc
    finally:
        busy_here.cancel()


class _Login:
    """One login under way: what the machine decides is done here, and what happens is told to it."""

    def __init__(self, options: LoginOptions, environment: Environment, session: Session, profile: Profile) -> None:
        self._options = options
        self._environment = environment
        self._conversation = environment.conversation
        self._session = session
        self._profile = profile
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
        self._queue: asyncio.Queue[m.LoginEvent] = asyncio.Queue()
        self._shell = ControlShell(session, lambda url: self._queue.put_nowait(m.UrlOpened(url)))
        waiting_s = environment.turn.longest_s if environment.turn else 0
        self._lease_s = int(options.timeout_s + waiting_s) + LEASE_SPARE_S
        self._holds = PortHolds(session, self._shell.listeners, lease_s=self._lease_s)
        self._cli: RemoteCLI | None = None
        self._cli_ended = True
        self._leases: dict[int, Lease] = {}
        self._pasting: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stack = contextlib.AsyncExitStack()
        self._keys = contextlib.ExitStack()
        self._shown = SafeTerminal()
        self._unseen: list[str] = []
        """What the CLI drew while a question of ours was open."""
        self._deadline = 0.0
        self._way: Way = "direct-tcpip"
        self._result: LoginResult | None = None

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self._stack.push_async_callback(self._clean_up_whole)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def look_around(self) -> RemoteFacts:
        """Learn what there is on the target."""
        return await self._shell.look_around(
            cli=self._options.cli,
            profile=self._profile,
            prepare="always" if self._options.force else "signed-out",
            lease_s=self._lease_s,
        )

    async def look_at_ports(self, here: Mapping[int, str]) -> PortFacts:
        """Learn who has the CLI's ports at both ends. The target is asked only where it matters: some are busy here."""
        rows = await self._shell.listeners() if here else None
        return PortFacts(here=here, there=busy_there(rows, self._profile.ports))

    async def run(self, facts: RemoteFacts, ports: PortFacts, deadline: float) -> LoginResult:
        """Go through the login."""
        loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._session.lost.add_done_callback(lambda lost: self._queue.put_nowait(m.Disconnected(lost.result())))
        self._timers["deadline"] = loop.call_at(deadline, self._queue.put_nowait, m.DeadlinePassed())
        actions = self._machine.begin(facts, ports)
        while True:
            for action in actions:
                await self._perform(action, facts)
                if self._result is not None:
                    return self._result
            actions = self._machine.feed(await self._queue.get())

    # --- actions -----------------------------------------------------------------------------------------------------

    async def _perform(self, action: m.Action, facts: RemoteFacts) -> None:
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
                self._spawn(self._holds.release())
            case m.StartRemote():
                await self._in_time(self._start(action, facts))
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
                if self._cli is not None:
                    self._cli.type(keys.encode())
            case m.StartTimer(name, seconds):
                self._start_timer(name, seconds)
            case m.AskWhoami():
                self._spawn(self._ask_whoami())
            case m.StopRemote():
                await self._shell.stop()
            case m.Succeed(account, already):
                self._result = LoginResult(target=self._options.target, account=account, already=already)
            case m.Fail(error):
                raise await self._explained(error)

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
                there = PortFacts(there=busy_there(await self._shell.listeners(), listed))
        except (KirotunnelError, TimeoutError):
            return error
        rows = port_table([port for port in listed if port in there.there], there, self._options.place)
        return CallbackPortError("\n  ".join([f"{error.message}" + (":" if rows else ""), *rows]), error.hint)

    async def _hold(self, busy: Mapping[int, str]) -> None:
        held = await self._holds.take(busy)
        for port, holder in busy.items():
            if method := held.get(port):
                self._conversation.event(ev.PortSteered(busy=port, holder=holder, method=method))
            else:
                self._conversation.warn(
                    f"port {port} is in use here by {holder}, and {self._options.place} has no means to keep "
                    f"{self._options.cli} off it"
                )

    async def _start(self, action: m.StartRemote, facts: RemoteFacts) -> None:
        if facts.directory is None:
            where = self._session.where
            raise RemoteLoginError(
                f"no directory on {where} lets a program run (tried TMPDIR, /tmp, ~/.cache, ~ and /var/tmp)",
                "make one of them writable, and not mounted noexec, for that account",
            )
        if action.own_mode or action.logout_first or action.arguments != self._profile.login:
            text = runner(action.arguments, self._profile, own_mode=action.own_mode, logout_first=action.logout_first)
            await self._shell.set_runner(text)
        terminal = self._environment.terminal
        size = terminal.size() if terminal else WIDE_TERMINAL
        kind = (os.environ.get("TERM") or "xterm", size) if terminal or action.own_mode else None
        self._cli_ended = False
        self._cli = await RemoteCLI.start(self._session, facts.directory, terminal=kind)
        if terminal is not None:
            self._keys.enter_context(terminal.keys_to(self._cli.type, self._cli.resize))
        self._spawn(self._follow(self._cli))

    async def _follow(self, cli: RemoteCLI) -> None:
        transcript = Transcript()

        def sink(data: bytes) -> None:
            self._show(data)
            for what in transcript.feed(data):
                self._queue.put_nowait(m.Printed(what))

        if not await cli.output(sink):
            raise RemoteLoginError(f"{self._options.cli} on {self._options.place} prints without end")
        for what in transcript.feed(b""):
            self._queue.put_nowait(m.Printed(what))
        code = await cli.exit_code()
        self._cli_ended = True
        self._queue.put_nowait(m.RemoteExited(code))

    def _show(self, data: bytes) -> None:
        """Draw what the CLI drew, but never over a question of ours: the remote could rewrite what is asked."""
        terminal = self._environment.terminal
        if terminal is None:
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
        rows, self._way = await asyncio.gather(self._shell.listeners(), way_to_target(self._session))
        listening = None if rows is None else any(row.port == port and row.reachable_by_loopback for row in rows)
        self._queue.put_nowait(m.ListenerChecked(leg, listening))

    async def _open_tunnel(self, action: m.OpenTunnel) -> None:
        leg = action.rule.leg
        route = Route(
            rule=action.rule,
            port=action.port,
            dial=partial(dial_target, self._session, action.port),
            observer=_Observer(leg, self._queue),
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
            self._pasting[leg] = self._spawn(self._take_pasted(leg, lease.route, paste))

    async def _take_pasted(self, leg: int, route: Route, paste: Paste) -> None:
        self._conversation.tell(
            f"After signing in, the browser ends on a page that it cannot reach, at localhost:{route.port}: "
            "that is right.\nCopy the whole address from its address bar."
        )
        while True:
            line = await paste.secret("Paste the address here (it is not shown): ")
            if line is None:
                raise PromptUnansweredError(
                    f"the input ended before the address of sign-in page {leg} was pasted",
                    "paste the address on a terminal, or write it as a line to standard input",
                )
            match read_pasted(line.reveal(), route.port, route.rule):
                case NotPasted(reason, words):
                    self._queue.put_nowait(m.StrayRefused(leg, reason))
                    self._conversation.warn(words)
                case Pasted() as pasted:
                    return await route.bring(pasted)

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
        self._queue.put_nowait(m.WhoamiAnswered(await self._shell.whoami()))

    def _start_timer(self, name: str, seconds: float) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(seconds, self._queue.put_nowait, m.TimerFired(name))

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Whatever goes wrong in a task reaches the machine, which ends the login properly."""
        try:
            await work
        except ConnectionLostError as exc:
            self._queue.put_nowait(m.Disconnected(exc.message))
        except KirotunnelError as exc:
            # A channel that ends without a status is what a lost connection looks like first.
            lost = self._session.lost.done()
            self._queue.put_nowait(m.Disconnected(exc.message) if lost else m.Broken(exc))
        except Exception as exc:  # the border to what we did not foresee
            error = InternalError(f"{type(exc).__name__} while signing in on {self._options.place}")
            error.__cause__ = exc
            self._queue.put_nowait(m.Broken(error))

    async def _clean_up_whole(self) -> None:
        """Clean up to the end even if Ctrl-C comes meanwhile; each part of it is bounded."""
        cleaning = asyncio.ensure_future(self._clean_up())
        try:
            await asyncio.shield(cleaning)
        except asyncio.CancelledError:
            await cleaning
            raise

    async def _clean_up(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._keys.close()  # after the tasks: a question that was open has put the terminal back by now
        for leg in list(self._leases):
            await self._close_tunnel(leg)
        with contextlib.suppress(TimeoutError):  # over a dead link it would wait for the keepalives
            async with asyncio.timeout(RELEASE_S):
                await self._holds.release()
        await self._shell.finish(cli_ended=self._cli_ended)
        if self._cli is not None:
            self._cli.close()


class _Observer:
    """Tells the machine what the relay sees of one leg."""

    def __init__(self, leg: int, queue: asyncio.Queue[m.LoginEvent]) -> None:
        self._leg = leg
        self._queue = queue

    def stray(self, reason: ev.RefusalReason) -> None:
        self._queue.put_nowait(m.StrayRefused(self._leg, reason))

    def callback(self, outcome: ev.Outcome) -> None:
        self._queue.put_nowait(m.CallbackArrived(self._leg, outcome))

    def delivered(self, error: KirotunnelError | None) -> None:
        self._queue.put_nowait(m.CallbackDelivered(self._leg, error))
