"""A command of the person's own on a target, as a state machine: events in, actions out, no I/O.

    begin() ──▶ RUNNING ──▶ DRAINING ──▶ ENDED
                   │            ▲
                   └─ CommandEnded (a callback under way is let finish)

Nothing is known of the command but what it does: it opens a URL, prints one, or listens. From the first two come legs,

    ASKING ──▶ WAITING ──▶ OPENING ──▶ SHOWN ──▶ CALLED ──▶ DONE
    (a yes for  (does the   (both       (browser  (a callback   (it may be called again:
    the host)   command     listeners)  started)  is being      a CLI that logs in twice, or
                listen?)                          delivered)    gave a bad code back)

and from all three come doors: the ports of this machine that lead to a listener of the command. A door is opened for
the port that a leg's redirect names, once something listens on it there, or for a new listener of the command when no
URL has named a port. It stays open until that listener, or the command, is gone.

Unlike a login (`login_machine`), this ends with the command and with its exit code. What cannot be done for it is an
error only where nobody is there to do something else: a person at the terminal is told, and the command goes on.

Rules that hold in every order of events, and are tested as properties:
 * a browser is opened with a page that comes back here only after its door stands;
 * every door that was asked for is closed before the end, and the command is stopped unless it ended by itself;
 * a port is served only if it is no privileged one, and something listens on it there where that can be told;
 * after the end no event has an effect.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import (
    ConnectionLostError,
    KirotunnelError,
    LoginTimedOutError,
    PortNotListeningError,
    PortNotPermittedError,
    UrlHostPrivateError,
    UrlHostUnknownError,
)
from kirotunnel.flows.run_steps import (
    Action,
    AnswerRedirect,
    AskAboutHost,
    Broken,
    BrowserStarted,
    CallbackArrived,
    CallbackDelivered,
    CloseTunnel,
    CommandEnded,
    DeadlinePassed,
    Disconnected,
    Exit,
    Fail,
    HostAllowed,
    HungUp,
    Interrupted,
    Listening,
    Look,
    OpenBrowser,
    OpenTunnel,
    OutputGone,
    RedirectWanted,
    RememberHost,
    Report,
    RunEvent,
    SendSignal,
    ServeBy,
    StartCommand,
    StartTimer,
    StopCommand,
    StrayRefused,
    SuccessSaid,
    Tell,
    TimerFired,
    TunnelEnded,
    TunnelFailed,
    TunnelReady,
    UrlOpened,
    UrlPrinted,
    Warn,
)
from kirotunnel.profiles.profile import Gate
from kirotunnel.wire.gate import LegRule, Widening
from kirotunnel.wire.listeners import ListeningPort, dial_addresses
from kirotunnel.wire.redirect import MIN_PORT, UrlPolicy, matches_host
from kirotunnel.wire.sign_in_page import SignInPage, looks_like_sign_in, parse_sign_in_page
from kirotunnel.wire.terminal import one_line

MAX_LEGS: Final = 40
"""Sign-in pages in one run; a shell in which somebody signs several CLIs in has a dozen."""
MAX_OPENINGS: Final = 200
"""Calls of the opener, with whatever URL."""
MAX_DOORS: Final = 4
"""Ports at a time."""
LOOK_FIRST_S: Final = 0.1
LOOK_SLOWEST_S: Final = 1.0
_SLOWER: Final = 1.5
PRINTED_SETTLES_S: Final = 0.5
"""Seconds in which the command may open what it has printed, with more in it than it printed."""
AGAIN_S: Final = 3.0
"""Seconds after which a page that the command opens once more is meant to be seen again; until then it is one call by
several openers, of which some CLIs try each."""
LISTEN_GRACE_S: Final = 15.0
"""Seconds that a command may take to listen on the port that its URL names; some open the page first."""
UNNAMED_SETTLES_S: Final = 2.0
"""Seconds in which a URL may name the port of a new listener, before it is taken for one whose URL says nothing."""
GONE_LOOKS: Final = 2
"""Looks without the listener, after which a door is closed: a server may listen anew between two logins."""
SEEN_LOOKS: Final = 2
"""Looks with a listener, until it is one: CLIs try a port with a listener of a moment first."""
DRAIN_GRACE_S: Final = 5.0
"""Seconds that a callback under way has to finish after the command ended."""

_SIGPIPE: Final = 128 + 13
_TO_ANY: Final = ("127.0.0.1", "::1")


class Phase(Enum):
    """Where the run stands."""

    NEW = auto()
    RUNNING = auto()
    DRAINING = auto()
    ENDED = auto()


class LegState(Enum):
    """Where a leg stands."""

    SETTLING = auto()
    ASKING = auto()
    WAITING = auto()
    OPENING = auto()
    SHOWN = auto()
    CALLED = auto()
    DONE = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What was asked for."""

    host: str
    """The target as the person named it; for messages."""
    command: str
    """The command's name; for messages."""
    policy: UrlPolicy = field(default_factory=UrlPolicy)
    callback_paths: tuple[str, ...] = ()
    """Where the answer may come when the redirect URI names only the origin."""
    answer_hosts: tuple[str, ...] = ()
    """Where the command's answer may send the browser when all is done."""
    fetch_hosts: tuple[str, ...] = ()
    """Pages whose own scripts send the answer; without it, a sign-in page that is no OAuth request may."""
    gate: Gate = field(default_factory=Gate)
    """What is known of its listener; what is not, the general rules say."""
    interactive: bool = False
    """Whether a person sits at a terminal who can be asked."""


@dataclass(slots=True)
class _Leg:
    number: int
    page: SignInPage
    opened: bool
    """By the command's opener; otherwise it was only printed."""
    state: LegState = LegState.SETTLING
    just_shown: bool = False
    redirect: int | None = None
    """The question that this page answers, where an answer of the command's listener leads to it."""

    @property
    def port(self) -> int | None:
        return self.page.redirect.port if self.page.redirect else None

    @property
    def authority(self) -> str:
        if self.page.checked is not None:
            return self.page.checked.authority
        return f"{self.page.redirect.host}:{self.page.redirect.port}" if self.page.redirect else ""


class _DoorState(Enum):
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()


@dataclass(slots=True)
class _Door:
    port: int
    leg: int
    """The leg that it serves; 0 for a listener that no URL named."""
    state: _DoorState = _DoorState.OPENING
    rule: LegRule | None = None
    """By which it is being opened, where no URL named it."""
    gone: int = 0
    """Looks in a row in which nothing listened there."""


class RunMachine:
    """One run. Feed it what happens, do what it says, in order."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._policy = plan.policy
        self._phase = Phase.NEW
        self._legs: dict[int, _Leg] = {}
        self._doors: dict[int, _Door] = {}
        self._seen: dict[int, int] = {}
        """How many looks in a row have shown a port of the command's own that no URL named."""
        self._unnamed: set[int] = set()
        """Ports of `_seen` whose time to be named is over."""
        self._rows: tuple[ListeningPort, ...] | None = ()
        self._failed_ports: set[int] = set()
        self._interval = LOOK_FIRST_S
        self._openings = 0
        self._interrupted = False
        self._signed_in = False
        self._code = 0

    @property
    def phase(self) -> Phase:
        """Where the run stands."""
        return self._phase

    @property
    def doors(self) -> frozenset[int]:
        """The ports whose tunnel was asked for and not closed yet."""
        return frozenset(port for port, door in self._doors.items() if door.state is not _DoorState.CLOSING)

    def begin(self) -> list[Action]:
        """What to do first."""
        if self._phase is not Phase.NEW:
            return []
        self._phase = Phase.RUNNING
        return [StartCommand(), StartTimer("look", self._interval)]

    def feed(self, event: RunEvent) -> list[Action]:
        """What to do about something that happened."""
        if self._phase in {Phase.NEW, Phase.ENDED}:
            return []
        match event:
            case UrlOpened(url):
                return self._opener_called(url)
            case UrlPrinted(url):
                return self._url_wanted(url, opened=False) if looks_like_sign_in(url) else []
            case HostAllowed(leg, yes):
                return self._host_answered(self._legs.get(leg), yes=yes)
            case Listening():
                return self._looked(event)
            case TunnelReady(port):
                return self._tunnel_ready(self._doors.get(port), event)
            case TunnelFailed(port, error):
                return self._tunnel_failed(self._doors.get(port), error)
            case TunnelEnded(port):
                return self._tunnel_ended(port)
            case BrowserStarted(leg, how):
                return [Report(ev.BrowserOpened(leg=leg, how=how))]
            case StrayRefused(leg, reason):
                return [Report(ev.RequestRefused(leg=leg, reason=reason))]
            case CallbackArrived(leg, outcome):
                return self._callback_arrived(self._legs.get(leg), outcome, leg)
            case CallbackDelivered(leg, error):
                return self._callback_delivered(self._legs.get(leg), error)
            case RedirectWanted():
                return self._redirect_wanted(event)
            case TimerFired(name):
                return self._timer_fired(name)
            case SuccessSaid():
                return self._success_said()
            case CommandEnded(code):
                return self._command_ended(code)
            case Interrupted():
                return self._interrupt()
            case HungUp():
                return [*self._stop(), Exit(255)]
            case OutputGone():
                return [*self._stop(), Exit(_SIGPIPE)]
            case Disconnected(reason):
                reason = one_line(reason)
                lost = ConnectionLostError(
                    f"the connection to {self._plan.host} was lost: {reason}; {self._plan.command} there has been ended"
                )
                return [Report(ev.ConnectionLost(reason=reason)), *self._fail(lost)]
            case DeadlinePassed():
                return self._fail(
                    LoginTimedOutError(
                        f"{self._plan.command} on {self._plan.host} did not end in time", "give it more with --timeout"
                    )
                )
            case Broken(error):
                return self._fail(error)

    # --- pages -------------------------------------------------------------------------------------------------------

    def _opener_called(self, url: str) -> list[Action]:
        self._openings += 1
        if self._openings > MAX_OPENINGS:
            return self._fail(PortNotPermittedError(f"{self._plan.host} calls its browser opener again and again"))
        return self._url_wanted(url, opened=True)

    def _url_wanted(self, text: str, *, opened: bool) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        try:
            page = parse_sign_in_page(text, self._policy)
        except KirotunnelError as exc:
            return self._refuse(exc) if opened else []
        if page.start is not None and self._plan.gate.start_url_loopback is False:
            error = UrlHostPrivateError(
                f"{self._plan.host} asked to open a page of its own listener, which {self._plan.command} does not do"
            )
            return self._refuse(error) if opened else []
        if (known := self._same(page)) is not None:
            return self._wanted_again(known, page, opened=opened)
        if len(self._legs) >= MAX_LEGS:
            return self._fail(
                PortNotPermittedError(f"{self._plan.host} asked for more than {MAX_LEGS} pages in one run")
            )
        leg = _Leg(len(self._legs) + 1, page, opened)
        self._legs[leg.number] = leg
        # What was printed may be opened in a moment, and what is opened is what counts.
        return self._judge(leg) if opened else [StartTimer(f"printed-{leg.number}", PRINTED_SETTLES_S)]

    def _redirect_wanted(self, wanted: RedirectWanted) -> list[Action]:
        """An answer leads elsewhere: on to the sign-in, from a page of the command's own; or away, when all is done."""
        no: list[Action] = [AnswerRedirect(wanted.number, yes=False)]
        if self._phase is not Phase.RUNNING and not wanted.after_callback:
            return no
        try:
            page = parse_sign_in_page(wanted.url, self._policy)
        except KirotunnelError as exc:
            return no if wanted.after_callback else [*no, *self._refuse(exc)]
        checked = page.checked
        if checked is None:
            return no
        if wanted.after_callback:
            used = any(leg.page.checked is not None and leg.page.checked.host == checked.host for leg in self._shown())
            known = checked.standing != "unknown" or matches_host(checked.host, self._plan.answer_hosts)
            return [AnswerRedirect(wanted.number, yes=used or known)]
        if len(self._legs) >= MAX_LEGS:
            return no
        leg = _Leg(len(self._legs) + 1, page, opened=True, redirect=wanted.number)
        self._legs[leg.number] = leg
        return self._judge(leg)

    def _shown(self) -> Iterable[_Leg]:
        return (leg for leg in self._legs.values() if leg.state in {LegState.SHOWN, LegState.CALLED, LegState.DONE})

    def _same(self, page: SignInPage) -> _Leg | None:
        """The leg of the same page, if it still may be called."""
        for leg in self._legs.values():
            if leg.state in {LegState.DONE, LegState.REFUSED} and not leg.just_shown:
                continue
            same_request = page.state is not None and (leg.page.state, leg.port) == (page.state, _port(page))
            if leg.page.url == page.url or same_request:
                return leg
        return None

    def _wanted_again(self, leg: _Leg, page: SignInPage, *, opened: bool) -> list[Action]:
        if not opened:
            return []
        if leg.state is LegState.SETTLING:  # printed a moment ago, and now opened, perhaps with more in it
            leg.page, leg.opened = page, True
            return self._judge(leg)
        first, leg.opened = not leg.opened, True
        # Printed and then opened is once; opened later is a person who pressed a key to see the page again.
        return [] if first or leg.just_shown or leg.state is not LegState.SHOWN else self._show(leg)

    def _judge(self, leg: _Leg) -> list[Action]:
        checked = leg.page.checked
        if checked is None or checked.standing != "unknown":
            return self._accepted(leg)
        if not self._plan.interactive:
            return self._refuse_leg(
                leg,
                UrlHostUnknownError(
                    f"{self._plan.command} on {self._plan.host} asked to open a page on {checked.authority}, "
                    "which it is not known to use"
                ),
            )
        leg.state = LegState.ASKING
        asked = any(
            other.state is LegState.ASKING and other is not leg and other.authority == leg.authority
            for other in self._legs.values()
        )
        return [] if asked else [AskAboutHost(leg.number, checked.authority)]

    def _host_answered(self, asked: _Leg | None, *, yes: bool) -> list[Action]:
        if asked is None or asked.state is not LegState.ASKING or self._phase is not Phase.RUNNING:
            return []
        checked = asked.page.checked
        legs = [leg for leg in self._legs.values() if leg.state is LegState.ASKING and leg.authority == asked.authority]
        if not yes or checked is None:
            refusals = [action for leg in legs for action in self._give_up(leg)]
            return [*refusals, Warn(f"the page on {asked.authority} was not opened")]
        self._policy = self._policy.trusting(checked.host, checked.port)
        return [RememberHost(asked.authority), *(action for leg in legs for action in self._accepted(leg))]

    def _accepted(self, leg: _Leg) -> list[Action]:
        self._signed_in = False  # it signs in once more
        if leg.port is None:
            return [*self._show(leg), *self._look_now()]
        leg.state = LegState.WAITING
        requested = ev.BrowserRequested(leg=leg.number, authorize_host=leg.authority, redirect_port=leg.port)
        return [Report(requested), StartTimer(f"listen-{leg.number}", LISTEN_GRACE_S), *self._look_now()]

    def _show(self, leg: _Leg) -> list[Action]:
        leg.state = LegState.SHOWN
        if leg.redirect is not None:
            number, leg.redirect = leg.redirect, None
            return [AnswerRedirect(number, yes=True)]
        leg.just_shown = True
        again = StartTimer(f"shown-{leg.number}", AGAIN_S)
        return [*self._let_in(leg), OpenBrowser(leg.number, leg.page.url, leg.authority), again]

    def _let_in(self, leg: _Leg) -> list[Action]:
        """A page that names no port may be that of a listener which is served already."""
        if leg.port is not None:
            return []
        doors = [door for door in self._doors.values() if door.leg == 0 and door.state is _DoorState.OPEN]
        return [action for door in doors for action in self._serve_unnamed(door)]

    def _serve_unnamed(self, door: _Door) -> list[Action]:
        if self._rows is None:
            return []
        return [ServeBy(door.port, dial_addresses(self._rows, door.port), self._unnamed_rule(), self._policy)]

    def _fetched_by(self, legs: Iterable[_Leg]) -> Widening:
        """For the answer of these pages, whose own scripts may send it."""
        pages = [leg.page for leg in legs if not leg.page.by_oauth]
        below = (f"*.{page.checked.host}" for page in pages if page.checked is not None)  # as `acme.dagster.cloud`
        return Widening(origins=frozenset(page.origin for page in pages), fetch_hosts=(*self._plan.fetch_hosts, *below))

    def _give_up(self, leg: _Leg) -> list[Action]:
        leg.state = LegState.REFUSED
        number, leg.redirect = leg.redirect, None
        return [] if number is None else [AnswerRedirect(number, yes=False)]

    def _refuse_leg(self, leg: _Leg, error: KirotunnelError) -> list[Action]:
        return [*self._give_up(leg), *self._refuse(error)]

    def _refuse(self, error: KirotunnelError) -> list[Action]:
        """What cannot be done: the person's affair where there is one, else the end."""
        if not self._plan.interactive:
            return self._fail(error)
        return [_warning(error, f"; {self._plan.command} goes on without it")]

    # --- listeners ---------------------------------------------------------------------------------------------------

    def _look_now(self) -> list[Action]:
        self._interval = LOOK_FIRST_S
        return [StartTimer("look", 0)]

    def _looked(self, seen: Listening) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        self._rows = seen.rows
        actions: list[Action] = []
        for leg in [leg for leg in self._legs.values() if leg.state is LegState.WAITING]:
            actions += self._open_for(leg)
        if seen.rows is not None:
            actions += self._close_abandoned(seen.rows)
            actions += self._notice_unnamed(seen.rows, seen.own)
        waiting = any(leg.state is LegState.WAITING for leg in self._legs.values())
        self._interval = LOOK_FIRST_S if waiting else min(self._interval * _SLOWER, LOOK_SLOWEST_S)
        return [*actions, StartTimer("look", self._interval)]

    def _open_for(self, leg: _Leg) -> list[Action]:
        port = leg.port
        assert port is not None  # noqa: S101 - a leg waits for its port only
        addresses = _TO_ANY if self._rows is None else dial_addresses(self._rows, port)
        if not addresses:
            return []  # not yet
        door = self._doors.get(port)
        if door is not None and door.state is not _DoorState.OPEN:
            return []  # being opened, for another page: it is shared once it stands; being closed: it is opened anew
        rule = self._rule(leg)
        leg.state = LegState.OPENING
        if door is None:
            if len(self._doors) >= MAX_DOORS:
                error = PortNotPermittedError(f"{self._plan.host} asks for more than {MAX_DOORS} ports at a time")
                return self._refuse_leg(leg, error)
            self._doors[port] = _Door(port, leg.number)
            return [OpenTunnel(port, addresses, rule, self._policy)]
        door.leg, door.gone = leg.number, 0
        return [ServeBy(port, addresses, rule, self._policy), *self._show(leg)]

    def _rule(self, leg: _Leg) -> LegRule:
        redirect = leg.page.redirect
        assert redirect is not None  # noqa: S101 - only legs with a port get a rule
        paths = frozenset({redirect.path} if redirect.path else self._plan.callback_paths or {"/"})
        page, gate = leg.page, self._plan.gate
        if page.start is not None:
            wider = Widening(start=page.start, any_page=page.state is None)
            return LegRule(leg=leg.number, paths=frozenset(), state=page.state, form_post=True, wider=wider)
        fragment = page.fragment if gate.fragment is None else gate.fragment
        # What is no OAuth request may have its answer in the fragment, and posted.
        posted = page.form_post or page.fragment if gate.form_post is None else gate.form_post
        return LegRule(
            leg=leg.number,
            paths=paths,
            state=None if gate.ignore_state else page.state,
            form_post=posted,
            wider=replace(self._fetched_by([leg]), fragment=fragment, pages=bool(gate.pages)),
        )

    def _close_abandoned(self, rows: Collection[ListeningPort]) -> list[Action]:
        """Close the doors behind which nobody has listened for a while."""
        actions: list[Action] = []
        for door in list(self._doors.values()):
            leg = self._legs.get(door.leg)
            if dial_addresses(rows, door.port) or (leg is not None and leg.state is LegState.CALLED):
                door.gone = 0
                continue
            door.gone += 1
            if door.gone >= GONE_LOOKS and door.state is _DoorState.OPEN:
                actions += self._close([door])
        return actions

    def _notice_unnamed(self, rows: Collection[ListeningPort], own: Collection[int]) -> list[Action]:
        """Open doors for listeners of the command whose port no URL has named."""
        named = {leg.port for leg in self._legs.values()}
        ports = {
            row.port
            for row in rows
            if row.pid in own and row.port >= MIN_PORT and dial_addresses(rows, row.port) and row.port not in named
        } - self._failed_ports
        self._seen = {port: self._seen.get(port, 0) + 1 for port in ports}
        self._unnamed &= ports
        if self._signed_in:
            return []  # what listens now is no login any more
        # A page that says nothing of where it comes back has been opened: then it is this one.
        expected = any(leg.port is None and leg.state is LegState.SHOWN for leg in self._legs.values())
        actions: list[Action] = []
        for port, looks in self._seen.items():
            if looks < SEEN_LOOKS or port in self._doors:
                continue
            if expected or port in self._unnamed:
                actions += self._open_unnamed(port, rows)
            elif looks == SEEN_LOOKS:
                actions.append(StartTimer(f"unnamed-{port}", UNNAMED_SETTLES_S))
        return actions

    def _open_unnamed(self, port: int, rows: Collection[ListeningPort]) -> list[Action]:
        if len(self._doors) >= MAX_DOORS:
            return []
        rule = self._unnamed_rule()
        self._doors[port] = _Door(port, leg=0, rule=rule)
        return [OpenTunnel(port, dial_addresses(rows, port), rule, self._policy)]

    def _unnamed_rule(self) -> LegRule:
        shown = [leg for leg in self._legs.values() if leg.port is None and leg.state is LegState.SHOWN]
        wider = replace(self._fetched_by(shown), any_page=True)
        return LegRule(leg=0, paths=frozenset(), state=None, form_post=True, wider=wider)

    # --- doors -------------------------------------------------------------------------------------------------------

    def _tunnel_ready(self, door: _Door | None, ready: TunnelReady) -> list[Action]:
        if door is None or door.state is not _DoorState.OPENING:
            return []
        door.state = _DoorState.OPEN
        opened = Report(ev.TunnelOpened(leg=door.leg, port=door.port, listen=ready.listen, via=ready.via))
        leg = self._legs.get(door.leg)
        if leg is None:
            where = f"{self._plan.command} listens on port {door.port} of {self._plan.host}"
            told = Tell(f"{where}: http://localhost:{door.port}/ leads there now")
            shown_meanwhile = self._unnamed_rule() != door.rule
            return [opened, told, *(self._serve_unnamed(door) if shown_meanwhile else [])]
        return [opened, *(self._show(leg) if leg.state is LegState.OPENING else [])]

    def _tunnel_failed(self, door: _Door | None, error: KirotunnelError) -> list[Action]:
        if door is None or door.state is not _DoorState.OPENING:
            return []
        del self._doors[door.port]
        self._failed_ports.add(door.port)
        leg = self._legs.get(door.leg)
        if leg is None:
            return [_warning(error, f", so port {door.port} of {self._plan.host} is not served here")]
        return [*self._refuse_leg(leg, error), *self._conclude()]

    def _tunnel_ended(self, port: int) -> list[Action]:
        self._doors.pop(port, None)
        return [*self._look_now(), *self._conclude()] if self._phase is Phase.RUNNING else self._conclude()

    def _callback_arrived(self, leg: _Leg | None, outcome: ev.Outcome, number: int) -> list[Action]:
        if leg is not None and leg.state is not LegState.REFUSED:
            leg.state = LegState.CALLED
        return [Report(ev.CallbackReceived(leg=number, outcome=outcome))]

    def _callback_delivered(self, leg: _Leg | None, error: KirotunnelError | None) -> list[Action]:
        if leg is not None and leg.state is LegState.CALLED:
            leg.state = LegState.DONE
        warning: list[Action] = [Warn(f"{error.message} ({error.code})")] if error is not None else []
        if error is None and leg is not None and self._plan.gate.several_callbacks is False:
            return [*warning, *self._close(door for door in self._doors.values() if door.leg == leg.number)]
        if self._phase is Phase.DRAINING or self._signed_in:
            return [*warning, *self._close_idle()]
        return warning

    def _close(self, doors: Iterable[_Door]) -> list[Action]:
        actions: list[Action] = []
        for door in doors:
            if door.state is not _DoorState.CLOSING:
                door.state = _DoorState.CLOSING
                actions.append(CloseTunnel(door.port))
        return actions

    # --- time --------------------------------------------------------------------------------------------------------

    def _timer_fired(self, name: str) -> list[Action]:
        kind, _, number = name.partition("-")
        if self._phase is Phase.DRAINING:
            return self._close(self._doors.values()) if kind == "drain" else []
        leg = self._legs.get(int(number)) if kind in {"printed", "listen", "shown"} else None
        match kind:
            case "look":
                return [Look()]
            case "printed" if leg is not None and leg.state is LegState.SETTLING:
                return self._judge(leg)
            case "listen" if leg is not None and leg.state is LegState.WAITING:
                if leg.port in self._doors and self._doors[leg.port].state is not _DoorState.OPEN:
                    return [StartTimer(name, LISTEN_GRACE_S)]  # it is the door that is waited for
                return self._refuse_leg(
                    leg,
                    PortNotListeningError(
                        f"nothing listens on port {leg.port} of {self._plan.host}, which the page on {leg.authority} "
                        "would come back to"
                    ),
                )
            case "shown" if leg is not None:
                leg.just_shown = False
            case "unnamed":
                self._unnamed.add(int(number))
        return []

    def _success_said(self) -> list[Action]:
        if self._signed_in or self._phase is not Phase.RUNNING:
            return []
        self._signed_in = True
        said = Tell(f"{self._plan.command} on {self._plan.host} says that it is signed in")
        return [said, *self._close_idle()]

    # --- endings -----------------------------------------------------------------------------------------------------

    def _interrupt(self) -> list[Action]:
        if self._interrupted:  # once is for the command, twice for us
            return [*self._stop(), Exit(130)]
        self._interrupted = True
        return [SendSignal("INT")]

    def _command_ended(self, code: int) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        self._phase, self._code = Phase.DRAINING, code
        return [*self._close_idle(), StartTimer("drain", DRAIN_GRACE_S), *self._conclude()]

    def _close_idle(self) -> list[Action]:
        busy = {leg.number for leg in self._legs.values() if leg.state is LegState.CALLED}
        return self._close(door for door in self._doors.values() if door.leg not in busy)

    def _conclude(self) -> list[Action]:
        if self._phase is not Phase.DRAINING or self._doors:
            return []
        self._phase = Phase.ENDED
        return [Exit(self._code)]

    def _stop(self) -> list[Action]:
        running = self._phase is Phase.RUNNING
        closing = self._close(self._doors.values())
        self._phase = Phase.ENDED
        return [*closing, *([StopCommand()] if running else [])]

    def _fail(self, error: KirotunnelError) -> list[Action]:
        return [*self._stop(), Fail(error)]


def _warning(error: KirotunnelError, then: str) -> Warn:
    """What went wrong, what comes of it, and what the person can do."""
    return Warn(f"{error.message} ({error.code}){then}" + (f"\nhint: {error.hint}" if error.hint else ""))


def _port(page: SignInPage) -> int | None:
    return page.redirect.port if page.redirect else None
