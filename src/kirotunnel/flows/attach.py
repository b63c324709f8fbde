"""Help a login that waits already: find its callback port on the target, bring it here, deliver one callback, end.

This is the situation that the documentation describes: kiro-cli in another terminal shows a port and waits. Its
authorize URL is not known here, so no state can be compared: exact path, Host, and a request that carries a response
are what counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import (
    KirotunnelError,
    LoginTimedOutError,
    NoLoginWaitingError,
    OAuthError,
    PortNotListeningError,
    PortNotPermittedError,
    SeveralLoginsWaitingError,
)
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.reach import reach
from kirotunnel.flows.strays import Strays
from kirotunnel.local.relay import Route
from kirotunnel.profiles.profile import Profile, profile_for
from kirotunnel.ssh.bridge import dial_target, way_to_target
from kirotunnel.ssh.control import ControlShell
from kirotunnel.ssh.session import Session, connection_lost
from kirotunnel.targets.options import TargetOptions
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.redirect import MIN_PORT, TrustedHost, UrlPolicy
from kirotunnel.wire.terminal import one_line

DEFAULT_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions(TargetOptions):
    """What was asked for."""

    cli: str = "kiro-cli"
    port: int | None = None
    """The callback port that the login shows; None to look for it."""
    trusted_hosts: tuple[TrustedHost, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachResult:
    """The callback that was delivered."""

    target: str
    port: int


async def attach(options: AttachOptions, environment: Environment) -> AttachResult:
    """Deliver the callback of a waiting login. Raises KirotunnelError; closes what it opened on any way out."""
    try:
        async with asyncio.timeout(options.timeout_s):
            async with reach(options, environment) as session:
                return await _attach(options, environment, session)
    except TimeoutError as exc:
        raise LoginTimedOutError(f"no callback for {options.place} came in time") from exc


async def _attach(options: AttachOptions, environment: Environment, session: Session) -> AttachResult:
    profile = profile_for(options.cli)
    shell = ControlShell(session)
    try:
        rows = await shell.look_for_listeners(cli=options.cli, profile=profile)
        port = await _choose_port(options, environment, profile, rows)
        await _deliver_one(options, environment, session, shell, profile, port)
    finally:
        await shell.finish()
    return AttachResult(target=options.target, port=port)


async def _choose_port(
    options: AttachOptions, environment: Environment, profile: Profile, rows: list[ListeningPort] | None
) -> int:
    if options.port is not None:
        if options.port < MIN_PORT:
            raise PortNotPermittedError(f"port {options.port} is privileged; no login calls back to it")
        if rows is not None and not any(row.port == options.port and row.reachable_by_loopback for row in rows):
            raise PortNotListeningError(f"nothing listens on port {options.port} of {options.place}")
        return options.port
    if rows is None:
        raise NoLoginWaitingError(
            f"{options.place} has no means to tell who listens there (no ss, /proc or lsof)",
            "name the port that the login shows with --port",
        )
    candidates = waiting_logins(rows, profile, options.cli)
    if not candidates:
        raise NoLoginWaitingError(f"no {options.cli} login of this user waits on {options.place}")
    if len(candidates) == 1:
        return candidates[0].port
    return await _ask_which(options, environment, candidates)


def waiting_logins(rows: list[ListeningPort], profile: Profile, cli: str) -> list[ListeningPort]:
    """The listeners that may be a waiting login of this user: the CLI's own; else what holds a port of its list."""
    name = cli.rpartition("/")[2]
    own = {row.port: row for row in rows if row.pid is not None and row.reachable_by_loopback and row.port >= MIN_PORT}
    # The kernel cuts a process name to 15 characters.
    by_name = [row for row in own.values() if (row.program or "").startswith(name[:15])]
    return by_name or [row for row in own.values() if row.port in profile.ports]


async def _ask_which(options: AttachOptions, environment: Environment, candidates: list[ListeningPort]) -> int:
    shown = [f"port {row.port}: {one_line(row.program or 'process')} (pid {row.pid})" for row in candidates]
    question = f"Several logins wait on {options.place}:\n" + "".join(f"  {line}\n" for line in shown) + "Which port? "
    answer = await environment.prompts.answer(question)
    chosen = next((row.port for row in candidates if answer is not None and answer.strip() == str(row.port)), None)
    if chosen is None:
        raise SeveralLoginsWaitingError(f"several logins wait on {options.place}: {'; '.join(shown)}")
    return chosen


async def _deliver_one(
    options: AttachOptions,
    environment: Environment,
    session: Session,
    shell: ControlShell,
    profile: Profile,
    port: int,
) -> None:
    conversation = environment.conversation
    observer = _Observer(environment)
    route = Route(
        rule=LegRule(leg=1, paths=frozenset(profile.callback_paths), state=None),
        port=port,
        dial=partial(dial_target, session, port, beside=shell),
        observer=observer,
        cli=options.cli,
        host=options.place,
        policy=UrlPolicy(known_hosts=profile.authorize_hosts, trusted=options.trusted_hosts),
    )
    way = await way_to_target(session)
    lease = await environment.ports.lease(route)
    try:
        conversation.event(ev.TunnelOpened(leg=1, port=port, listen=lease.listen, via=way))
        conversation.tell("Go on in the other terminal: press Enter there, and open the address that it shows here.")
        session.lost.add_done_callback(lambda lost: observer.broken(lost.result(), options.place))
        await observer.done
    finally:
        await lease.close()
        observer.count_rest()
        conversation.event(ev.TunnelClosed(leg=1, port=port, open_ms=lease.open_ms))


class _Observer:
    """Waits for the one callback."""

    def __init__(self, environment: Environment) -> None:
        self._conversation = environment.conversation
        self._outcome: ev.Outcome = "granted"
        self._strays = Strays()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stray(self, reason: ev.RefusalReason) -> None:
        self._report(self._strays.refused(1, reason))

    def count_rest(self) -> None:
        """Report the strays that were not reported one by one."""
        self._report(self._strays.rest(1))

    def _report(self, strays: list[ev.RequestRefused]) -> None:
        for event in strays:
            self._conversation.event(event)

    def callback(self, outcome: ev.Outcome) -> None:
        self._outcome = outcome
        self._conversation.event(ev.CallbackReceived(leg=1, outcome=outcome))

    def delivered(self, error: KirotunnelError | None) -> None:
        if error is None and self._outcome == "denied":
            error = OAuthError("the sign-in was denied on the sign-in page")
        self._settle(error)

    def broken(self, reason: str, target: str) -> None:
        self._settle(connection_lost(target, reason))

    def _settle(self, error: KirotunnelError | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
