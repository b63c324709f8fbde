"""The login of a remote CLI as a state machine: events in, actions out, no I/O.

    begin(facts) ──▶ RUNNING ──▶ CONFIRMING ──▶ ENDED
                        │             ▲
                        └─ RemoteExited (each leg closed or draining)

    Beside that, in both of these: connected ──▶ lost ──▶ connected

A login is a stream of legs. A leg begins when the CLI wants a URL opened and runs through

    ASKING ──▶ CHECKING ──▶ OPENING ──▶ OPEN ──▶ CALLED ──▶ CLOSED
    (a yes for  (does the    (both       (browser  (the callback
    the host)   CLI listen?) listeners)  started)  is being delivered)

The next leg exists only once the CLI, having got the callback of this one, wants another URL (kiro-cli's Builder ID,
IAM Identity Center and external IdP sign-ins have two). So it is the CLI's exit and its own whoami that end a login,
not a callback.

Rules that hold in every order of events, and are tested as properties:
 * the browser is opened only after both listeners of that leg stand;
 * every leg whose tunnel was asked for is closed before the end, and the CLI is stopped unless it ended by itself;
 * ports are held on the target only before the CLI starts, and let go of before the end;
 * after the end no event has an effect;
 * whatever comes, the deadline ends it;
 * a lost connection ends nothing by itself: no page is opened twice for it, no key typed twice, and what the target was
   asked and had not answered is asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackUndeliveredError,
    CLINotFoundError,
    ConnectionLostError,
    KirotunnelError,
    LocalPortError,
    LoginRefusedError,
    LoginTimedOutError,
    NotSignedInError,
    OAuthError,
    PortNotListeningError,
    PortNotPermittedError,
    PromptUnansweredError,
    RemoteLoginError,
    UrlHostUnknownError,
    WrongAccountError,
)
from kirotunnel.flows.login_plan import (
    LoginPlan,
    choose_own_mode,
    error_for,
    is_of_method,
    login_arguments,
    own_mode_uses_port,
)
from kirotunnel.flows.login_steps import (
    Action,
    AskAboutHost,
    AskWhoami,
    Broken,
    BrowserStarted,
    CallbackArrived,
    CallbackDelivered,
    CheckListener,
    CloseTunnel,
    DeadlinePassed,
    Disconnected,
    Fail,
    HoldPorts,
    HostAllowed,
    ListenerChecked,
    LoginEvent,
    OpenBrowser,
    OpenTunnel,
    Printed,
    Reconnect,
    Reconnected,
    ReconnectFailed,
    ReleaseHolds,
    RemoteExited,
    RemoteStarted,
    Report,
    StartAnew,
    StartRemote,
    StartTimer,
    StopRemote,
    StrayRefused,
    Succeed,
    TimerFired,
    TunnelEnded,
    TunnelFailed,
    TunnelReady,
    Type,
    UrlOpened,
    Warn,
    WhoamiAnswered,
)
from kirotunnel.flows.reconnecting import MAX_DROPS, delay_before, is_hopeless
from kirotunnel.flows.steering import PortFacts, no_port_left, ports_to_hold, takes_another_listed_port, with_paste
from kirotunnel.flows.strays import Strays
from kirotunnel.redaction import redacted
from kirotunnel.wire import transcript as tr
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.redirect import (
    AuthorizationUrl,
    CheckedUrl,
    UrlPolicy,
    check_url,
    has_loopback_redirect,
    parse_authorization_url,
)
from kirotunnel.wire.terminal import one_line

MAX_LEGS: Final = 4
MAX_OPENINGS: Final = 50
"""Calls of the opener, with whatever URL; a login has two or three."""
MAX_REMEMBERED: Final = 50
"""Errors and menu rows of the CLI; a login has a few."""
MENU_SETTLES_S: Final = 0.3
"""Seconds without another row after which a menu is taken as complete; dialoguer draws it in one go."""
MENU_ROWS_GRACE_S: Final = 2.0
"""Seconds for more rows of a menu that has not the wanted one: packets are lost, and a target may be short of time."""
NOT_LISTENING_GRACE_S: Final = 2.0
"""Seconds for the end of a CLI that has closed its port already to be heard of."""
UNDELIVERED_GRACE_S: Final = 5.0
"""Seconds that the CLI has to end by itself after its listener refused the callback."""
INTERRUPTED_GRACE_S: Final = 30.0
"""Seconds that the CLI has to go on after the connection was lost between a callback and its answer: it may be at work
with it."""
DRAIN_GRACE_S: Final = 5.0
"""Seconds that a callback under way has to finish after the CLI ended."""
DEVICE_URL_GRACE_S: Final = 2.0
"""Seconds after a one-time code in which its URL is expected in the output."""


class Phase(Enum):
    """Where the login stands."""

    NEW = auto()
    RUNNING = auto()
    CONFIRMING = auto()
    ENDED = auto()


class LegState(Enum):
    """Where a leg stands."""

    ASKING = auto()
    CHECKING = auto()
    OPENING = auto()
    OPEN = auto()
    CALLED = auto()
    CLOSING = auto()
    CLOSED = auto()


_NOTHING_BUSY: Final = PortFacts()
_GONE_HINT: Final = (
    "the machine was restarted, or somebody ended it; run the same command again, the sign-in starts anew"
)
_WITH_TUNNEL: Final = frozenset({LegState.OPENING, LegState.OPEN, LegState.CALLED})


@dataclass(slots=True)
class _Leg:
    number: int
    url: AuthorizationUrl | None
    """None for the page of a one-time code, which has no callback."""
    page: CheckedUrl
    state: LegState = LegState.ASKING
    outcome: ev.Outcome | None = None
    undelivered: KirotunnelError | None = None
    shown: bool = False
    """Whether the browser was given its page."""


class LoginMachine:
    """One login. Feed it what happens, do what it says, in order."""

    def __init__(self, plan: LoginPlan) -> None:
        self._plan = plan
        self._legs: dict[int, _Leg] = {}
        self._phase = Phase.NEW
        self._exit_code: int | None = None
        self._whoami: WhoamiAnswered | None = None
        self._errors: list[str] = []
        self._last_line = ""
        self._menu: list[tr.MenuItemShown] = []
        self._menu_kind: tr.PromptKind | None = None
        self._menu_lacked = 0
        """Rows that a menu had when more of them were waited for."""
        self._answered: set[tr.PromptKind] = set()
        self._user_code: str | None = None
        self._device_shown = False
        self._strays = Strays()
        self._openings = 0
        self._busy_here: frozenset[int] = frozenset()
        """Ports of the CLI's list that were busy here when the login began."""
        self._prints = 0
        self._held_ports: HoldPorts | None = None
        self._start: StartRemote | None = None
        self._started = False
        self._lost: str | None = None
        """Why the connection is lost, while it is."""
        self._drops = 0

    @property
    def phase(self) -> Phase:
        """Where the login stands."""
        return self._phase

    @property
    def tunnels(self) -> frozenset[int]:
        """The legs whose tunnel was asked for and not closed yet."""
        return frozenset(number for number, leg in self._legs.items() if leg.state in _WITH_TUNNEL)

    # --- begin -------------------------------------------------------------------------------------------------------

    def begin(self, facts: RemoteFacts, ports: PortFacts = _NOTHING_BUSY) -> list[Action]:
        """What to do, given what the look around on the target found, and who has the CLI's ports at both ends."""
        if self._phase is not Phase.NEW:
            return []
        plan = self._plan
        if facts.cli is None:
            return self._fail(CLINotFoundError(f"{plan.cli} was not found on {plan.host}"))
        seen = ev.RemoteCli(path=facts.cli, version=facts.version_text, signed_in=facts.account is not None)
        if facts.account is not None and not plan.force:
            return [Report(seen), *self._verdict_signed_in(facts.account, already=True)]
        try:
            own_mode = choose_own_mode(plan, facts)
            arguments = login_arguments(plan, own_mode=own_mode)
        except LoginRefusedError as exc:
            return [Report(seen), *self._fail(exc)]
        by_port = own_mode and own_mode_uses_port(plan, facts)
        self._busy_here = frozenset(ports.here)
        steering: list[Action] = []
        if by_port or not own_mode:
            listed = plan.profile.ports
            if plan.paste:
                ports = with_paste(listed, ports, plan.method)
            if error := no_port_left(listed, ports, host=plan.host, cli=plan.cli, method=plan.method):
                return [Report(seen), *self._fail(error)]
            if busy := {port: ports.here[port] for port in ports_to_hold(listed, ports)}:
                self._held_ports = HoldPorts(busy)
                steering = [self._held_ports]
        self._phase = Phase.RUNNING
        self._start = StartRemote(arguments, own_mode, facts.account is not None)
        return [
            Report(seen),
            *steering,
            self._start,
            Report(ev.LoginStarted(flow="device" if own_mode and not by_port else "callback")),
        ]

    # --- feed --------------------------------------------------------------------------------------------------------

    def feed(self, event: LoginEvent) -> list[Action]:
        """What to do about something that happened."""
        if self._phase in {Phase.NEW, Phase.ENDED}:
            return []
        match event:
            case UrlOpened(url):
                self._started = True
                return self._opener_called(url)
            case HostAllowed(leg, yes):
                return self._host_answered(self._legs.get(leg), yes=yes)
            case ListenerChecked(leg, listening):
                return self._listener_checked(self._legs.get(leg), listening)
            case TunnelReady(leg):
                return self._tunnel_ready(self._legs.get(leg), event)
            case TunnelFailed(leg, error):
                return self._tunnel_failed(self._legs.get(leg), error)
            case Broken(error):
                return self._fail(error)
            case BrowserStarted(leg, how):
                return self._browser_started(self._legs.get(leg), how)
            case StrayRefused(leg, reason):
                return [Report(event) for event in self._strays.refused(leg, reason)]
            case CallbackArrived(leg, outcome):
                return self._callback_arrived(self._legs.get(leg), outcome)
            case CallbackDelivered(leg, error):
                return self._callback_delivered(self._legs.get(leg), error)
            case TunnelEnded(leg):
                return self._tunnel_ended(self._legs.get(leg))
            case Printed(what):
                self._started = True
                return self._printed(what)
            case TimerFired(name):
                return self._timer_fired(name)
            case RemoteExited(code):
                return self._remote_exited(code)
            case WhoamiAnswered():
                self._whoami = event if self._phase is Phase.CONFIRMING else None
                return self._conclude()
            case RemoteStarted():
                self._started = True
                return []
            case Disconnected(reason, resumable):
                return self._disconnected(one_line(reason), resumable=resumable)
            case Reconnected(attempt, held):
                return self._reconnected(attempt, held=held)
            case ReconnectFailed(attempt, error):
                return self._reconnect_failed(attempt, error)
            case DeadlinePassed():
                return self._fail(self._timed_out())

    # --- the connection ----------------------------------------------------------------------------------------------

    def _disconnected(self, reason: str, *, resumable: bool) -> list[Action]:
        if self._lost is not None:
            return []
        self._lost = reason
        self._drops += 1
        report = Report(ev.ConnectionLost(reason=reason))
        if self._drops > MAX_DROPS or (not resumable and self._phase is Phase.RUNNING):
            return [report, *self._fail(self._lost_for_good())]
        # One that is lost again and again is tried the later.
        return [report, Reconnect(1, delay_before(self._drops))]

    def _reconnect_failed(self, attempt: int, error: KirotunnelError) -> list[Action]:
        if self._lost is None:
            return []
        if is_hopeless(error):
            # A container that has stopped is the reason for both.
            told = one_line(error.message).startswith(self._lost)
            more = "" if told else f", and could not be made anew: {error.message}"
            return self._fail(self._lost_for_good(more, error.hint))
        return [Reconnect(attempt + 1, delay_before(self._drops + attempt))]

    def _reconnected(self, attempt: int, *, held: bool) -> list[Action]:
        if self._lost is None:
            return []
        reason, self._lost = self._lost, None
        again: list[Action] = [Report(ev.Reconnected(reason=reason, attempt=attempt))]
        if self._phase is Phase.CONFIRMING:
            return again if self._whoami else [*again, AskWhoami()]
        if not held and self._started:
            self._lost = reason
            return again + self._fail(
                self._lost_for_good(f"; {self._plan.cli} was gone from there when it came back", _GONE_HINT)
            )
        if self._held_ports is not None:
            again.append(self._held_ports)  # they were let go of with the connection
        if not self._started and self._start is not None:
            again.append(self._start)
        again += [
            CheckListener(leg.number, leg.url.redirect.port)
            for leg in self._legs.values()
            if leg.state is LegState.CHECKING and leg.url is not None
        ]
        latest = next(reversed(self._legs.values()), None)
        if latest and latest.undelivered:
            again.append(self._wait_for_effect(latest.undelivered))
        return again

    def _lost_for_good(self, more: str = "", hint: str | None = None) -> ConnectionLostError:
        message = f"the connection to {self._plan.host} was lost: {self._lost}{more}; {self._progress()}"
        return ConnectionLostError(message, hint)

    # --- legs --------------------------------------------------------------------------------------------------------

    def _opener_called(self, url: str) -> list[Action]:
        self._openings += 1
        if self._openings > MAX_OPENINGS:
            return self._fail(PortNotPermittedError(f"{self._plan.host} calls its browser opener again and again"))
        return self._url_wanted(url)

    def _url_wanted(self, text: str) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        if any(leg.page.url.reveal() == text for leg in self._legs.values()):
            return []  # printed as well as opened, or opened twice
        if len(self._legs) >= MAX_LEGS:
            return self._fail(
                PortNotPermittedError(f"{self._plan.host} asked for more than {MAX_LEGS} sign-in pages in one login")
            )
        try:
            leg = self._new_leg(text)
        except KirotunnelError as exc:
            return self._fail(exc)
        self._legs[leg.number] = leg
        if leg.page.standing != "unknown":
            return self._host_accepted(leg)
        if self._plan.interactive:
            return [AskAboutHost(leg.number, leg.page.authority)]
        return self._fail(
            UrlHostUnknownError(
                f"the remote asked to open a page on {leg.page.authority}, which {self._plan.cli} is not known to use"
            )
        )

    def _new_leg(self, text: str) -> _Leg:
        number = len(self._legs) + 1
        if has_loopback_redirect(text):
            url = parse_authorization_url(text, self._plan.policy)
            return _Leg(number, url, url.checked)
        page = check_url(text, self._device_policy())
        if page.standing == "unknown" and self._user_code is None:
            # Neither a callback nor a code page: nothing that a login needs.
            return _Leg(number, parse_authorization_url(text, self._plan.policy), page)
        return _Leg(number, None, page)

    def _device_policy(self) -> UrlPolicy:
        return UrlPolicy(known_hosts=self._plan.profile.device_hosts, trusted=self._plan.policy.trusted)

    def _host_answered(self, leg: _Leg | None, *, yes: bool) -> list[Action]:
        if leg is None or leg.state is not LegState.ASKING or self._phase is not Phase.RUNNING:
            return []
        if not yes:
            return self._fail(UrlHostUnknownError(f"the page on {leg.page.authority} was not allowed"))
        return self._host_accepted(leg)

    def _host_accepted(self, leg: _Leg) -> list[Action]:
        if leg.url is None:
            leg.state, leg.shown = LegState.CLOSED, True
            return [OpenBrowser(leg.number, leg.page.url, leg.page.authority), *self._device_code()]
        leg.state = LegState.CHECKING
        port = leg.url.redirect.port
        requested = ev.BrowserRequested(leg=leg.number, authorize_host=leg.page.authority, redirect_port=port)
        release = [] if takes_another_listed_port(self._plan.method, leg.number) else self._release_holds()
        check = [] if self._lost is not None else [CheckListener(leg.number, port)]
        return [Report(requested), *release, *check]

    def _listener_checked(self, leg: _Leg | None, listening: bool | None) -> list[Action]:
        if leg is None or leg.url is None or leg.state is not LegState.CHECKING or self._phase is not Phase.RUNNING:
            return []
        port = leg.url.redirect.port
        if listening is False:
            return [StartTimer("not-listening", NOT_LISTENING_GRACE_S)]  # it may be ending, which says more
        leg.state = LegState.OPENING
        redirect = leg.url.redirect
        paths = frozenset({redirect.path} if redirect.path else self._plan.profile.callback_paths)
        rule = LegRule(leg=leg.number, paths=paths, state=leg.url.state, form_post=leg.url.form_post)
        policy = self._plan.policy
        if leg.page.standing == "unknown":  # the person said yes
            policy = policy.trusting(leg.page.host, leg.page.port)
        return [OpenTunnel(port, rule, policy)]

    def _never_listened(self) -> list[Action]:
        leg = next((leg for leg in self._legs.values() if leg.state is LegState.CHECKING), None)
        if leg is None or leg.url is None:
            return []
        port = leg.url.redirect.port
        return self._fail(
            PortNotListeningError(
                f"nothing listens on port {port} of {self._plan.host}, which the sign-in page would come back to"
            )
        )

    def _tunnel_ready(self, leg: _Leg | None, ready: TunnelReady) -> list[Action]:
        if leg is None or leg.url is None or leg.state is not LegState.OPENING:
            return []
        leg.state, leg.shown = LegState.OPEN, True
        port = leg.url.redirect.port
        opened = ev.TunnelOpened(leg=leg.number, port=port, listen=ready.listen, via=ready.via)
        return [Report(opened), OpenBrowser(leg.number, leg.page.url, leg.page.authority)]

    def _tunnel_failed(self, leg: _Leg | None, error: KirotunnelError) -> list[Action]:
        if leg is None or leg.state is not LegState.OPENING:
            return []  # the CLI ended meanwhile, and that leg was given up: its exit says how the login went
        return self._fail(error, anew=self._can_be_steered(leg, error))

    def _can_be_steered(self, leg: _Leg, error: KirotunnelError) -> bool:
        """Whether the CLI may have another port of its list: somebody took this one here after the look at it, or it
        was held there, and let go of with a connection that was lost, in the moment in which the CLI chose."""
        listed = leg.url is not None and leg.url.redirect.port in self._plan.profile.ports
        known = leg.url is not None and leg.url.redirect.port in self._busy_here and not self._drops
        nobody_was_asked = not any(other.shown for other in self._legs.values())
        return error.code == LocalPortError.code and nobody_was_asked and listed and not known

    def _browser_started(self, leg: _Leg | None, how: str) -> list[Action]:
        if leg is None or not leg.shown:
            return []
        return [Report(ev.BrowserOpened(leg=leg.number, how=how))]

    def _callback_arrived(self, leg: _Leg | None, outcome: ev.Outcome) -> list[Action]:
        if leg is None or leg.state is not LegState.OPEN:
            return []
        leg.state, leg.outcome = LegState.CALLED, outcome
        return [Report(ev.CallbackReceived(leg=leg.number, outcome=outcome))]

    def _callback_delivered(self, leg: _Leg | None, error: KirotunnelError | None) -> list[Action]:
        if leg is None or leg.state is not LegState.CALLED:
            return []
        if isinstance(error, ConnectionLostError):
            # It may have arrived, so it is not sent again: the CLI's next step shows whether it did.
            error = ConnectionLostError(
                f"the connection to {self._plan.host} was lost between the callback of sign-in page {leg.number} and "
                f"its answer; it may have arrived, so it was not sent again, but {self._plan.cli} did not go on"
            )
        leg.undelivered = error
        close = self._close([leg])
        if error is None or self._phase is not Phase.RUNNING:
            return close  # where the CLI ended already, its exit and its whoami say how it went
        if not isinstance(error, CallbackUndeliveredError | ConnectionLostError):
            return close + self._fail(error)
        return [*close, self._wait_for_effect(error)]

    @staticmethod
    def _wait_for_effect(error: KirotunnelError) -> StartTimer:
        interrupted = isinstance(error, ConnectionLostError)
        return StartTimer("undelivered", INTERRUPTED_GRACE_S if interrupted else UNDELIVERED_GRACE_S)

    def _tunnel_ended(self, leg: _Leg | None) -> list[Action]:
        if leg is None or leg.url is None or leg.state in {LegState.ASKING, LegState.CHECKING, LegState.CLOSED}:
            return []
        leg.state = LegState.CLOSED
        return self._conclude()

    # --- what the CLI prints -----------------------------------------------------------------------------------------

    def _printed(self, what: tr.TranscriptEvent) -> list[Action]:
        self._prints += 1
        if self._prints >= tr.MAX_EVENTS:
            return self._fail(RemoteLoginError(f"{self._plan.cli} on {self._plan.host} prints without end"))
        match what:
            case tr.UrlShown(url):
                return self._url_printed(url)
            case tr.UserCodeShown(code):
                self._user_code = code
                return [*self._device_code(), StartTimer("device-url", DEVICE_URL_GRACE_S)]
            case tr.PromptShown(kind, text):
                return self._prompted(kind, text)
            case tr.MenuItemShown():
                self._menu = [*self._menu[:MAX_REMEMBERED], what]
                return [StartTimer("menu", MENU_SETTLES_S)]
            case tr.ErrorShown(text):
                self._errors = [*self._errors[-MAX_REMEMBERED:], one_line(text)]
            case tr.LineShown(text):
                self._last_line = one_line(redacted(text)) or self._last_line
            case tr.PortShown():
                pass  # the URL that follows Enter has the port again
        return []

    def _url_printed(self, url: str) -> list[Action]:
        if has_loopback_redirect(url):
            return self._url_wanted(url)
        if self._device_leg is not None:
            return []  # one page for the code is enough; what else is printed is no page of this login
        # Kiro's own device flow prints its page first and the code after it.
        if self._user_code is None and not self._looks_like_device_page(url):
            return []
        return self._url_wanted(url)

    def _looks_like_device_page(self, url: str) -> bool:
        try:
            return check_url(url, self._device_policy()).standing != "unknown" and "device" in url
        except KirotunnelError:
            return False

    @property
    def _device_leg(self) -> _Leg | None:
        return next((leg for leg in self._legs.values() if leg.url is None), None)

    def _device_code(self) -> list[Action]:
        leg = self._device_leg
        if self._user_code is None or leg is None or leg.state is not LegState.CLOSED or self._device_shown:
            return []
        self._device_shown = True
        return [Report(ev.DeviceCode(url=leg.page.url.reveal(), user_code=self._user_code))]

    def _prompted(self, kind: tr.PromptKind, text: str) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        self._menu.clear()
        self._menu_kind = kind if kind in {"method", "profile"} else None
        if kind in self._answered:
            return []  # drawn again
        plan = self._plan
        match kind:
            case "method" | "profile":
                return [StartTimer("menu", MENU_SETTLES_S)]
            case "enter":
                return [Type("\r")]
            case "start-url" | "region":
                given = plan.start_url if kind == "start-url" else plan.region
                if given:  # a flag is only the prompt's initial text (seen from 1.24 to 2.22): it wants an Enter
                    self._answered.add(kind)
                    return [Type("\r")]
        if plan.interactive:
            return []
        option = {"start-url": "--start-url", "region": "--region"}.get(kind, "a terminal")
        asked = redacted(one_line(text))
        return self._fail(PromptUnansweredError(f"{plan.cli} on {plan.host} asks: {asked}; it needs {option}"))

    def _menu_settled(self) -> list[Action]:
        kind = self._menu_kind
        if kind is None or kind in self._answered or not self._menu or self._phase is not Phase.RUNNING:
            return []  # rows that are still to come start the timer
        self._menu_kind = None
        plan = self._plan
        if kind == "profile":
            return [] if plan.interactive else self._answer(kind, "\r")
        login = plan.profile.device.get(plan.method or "")
        labels = [item.label for item in self._menu]
        offered = redacted(one_line(", ".join(labels)))
        if login is None:
            if plan.interactive:
                return []
            return self._fail(
                PromptUnansweredError(f"{plan.cli} on {plan.host} asks how to sign in ({offered}); give --method")
            )
        wanted = next(
            (i for pattern in login.menu_labels for i, label in enumerate(labels) if re.search(pattern, label)), None
        )
        if wanted is None:
            if self._lost is not None or len(self._menu) > self._menu_lacked:
                # What was drawn meanwhile comes only after the connection is back, so none of it was waited for yet.
                self._menu_kind, self._menu_lacked = kind, len(self._menu) if self._lost is None else 0
                return [StartTimer("menu", MENU_ROWS_GRACE_S)]
            return self._fail(
                LoginRefusedError(f"{plan.cli} on {plan.host} offers no {plan.method} sign-in here, only: {offered}")
            )
        active = next((i for i, item in enumerate(self._menu) if item.active), 0)
        return self._answer(kind, ("j" if wanted > active else "k") * abs(wanted - active) + "\r")

    def _answer(self, kind: tr.PromptKind, keys: str) -> list[Action]:
        self._answered.add(kind)
        return [Type(keys)]

    def _timer_fired(self, name: str) -> list[Action]:
        match name:
            case "menu":
                return self._menu_settled()
            case "undelivered" if self._phase is Phase.RUNNING and self._lost is None:
                # A CLI that went on to another page had its callback after all.
                latest = next(reversed(self._legs.values()), None)
                return self._fail(latest.undelivered) if latest and latest.undelivered else []
            case "not-listening" if self._phase is Phase.RUNNING and self._lost is None:
                return self._never_listened()
            case "device-url" if self._user_code and self._device_leg is None:
                return self._url_wanted(self._device_url(self._user_code))
            case "drain":
                return self._close_all()
        return []

    def _device_url(self, code: str) -> str:
        # --use-device-flow prints the code without its page where an opener is there but shows nobody (Kiro#10975).
        start = (self._plan.start_url or "https://view.awsapps.com/start").rstrip("/")
        return f"{start}/#/device?user_code={code}"

    # --- endings -----------------------------------------------------------------------------------------------------

    def _remote_exited(self, code: int | None) -> list[Action]:
        if self._phase is not Phase.RUNNING:
            return []
        self._started = True
        self._phase, self._exit_code = Phase.CONFIRMING, code
        # A callback under way is let finish: its page tells the person how it went.
        idle = [leg for leg in self._legs.values() if leg.state in {LegState.OPENING, LegState.OPEN}]
        for leg in self._legs.values():
            if leg.state in {LegState.ASKING, LegState.CHECKING}:
                leg.state = LegState.CLOSED
        ask = [] if self._lost is not None else [AskWhoami()]
        return [*self._close(idle), *self._release_holds(), *ask, StartTimer("drain", DRAIN_GRACE_S)]

    def _conclude(self) -> list[Action]:
        if self._phase is not Phase.CONFIRMING or self._whoami is None:
            return []
        if any(leg.state is not LegState.CLOSED for leg in self._legs.values()):
            return []
        account, code = self._whoami.account, self._exit_code
        already = any("already logged in" in text.lower() for text in self._errors)
        if account is not None and (code == 0 or (already and not self._plan.force)):
            return self._verdict_signed_in(account, already=already)
        if code == 0:
            return self._fail(
                NotSignedInError(
                    f"{self._plan.cli} on {self._plan.host} ended its login without an error, but nobody is signed in"
                )
            )
        error = self._explain_exit()
        if account is not None:
            error = type(error)(f"{error.message}; its whoami says {account.describe()} all the same", error.hint)
        return self._fail(error)

    def _verdict_signed_in(self, account: ev.Account, *, already: bool) -> list[Action]:
        plan = self._plan
        if plan.expect and not account.matches(plan.expect):
            return self._fail(WrongAccountError(f"{account.describe()} is signed in on {plan.host}, not {plan.expect}"))
        self._phase = Phase.ENDED
        warning: list[Action] = []
        if plan.method and account.type and not is_of_method(account, plan.method):
            hint = "; --force signs in anew" if already else ""
            warning = [Warn(f"signed in with {account.describe()}, though --method {plan.method} was asked for{hint}")]
        return [*warning, Report(ev.SignedIn(account=account)), Succeed(account, already)]

    def _explain_exit(self) -> KirotunnelError:
        """The error behind a login that ended badly: what the CLI said, else what was seen of the browser."""
        plan = self._plan
        if error := error_for(" ".join(self._errors)):
            return error(f"{plan.cli} on {plan.host}: {redacted(one_line(self._errors[-1]))}")
        if any(leg.outcome == "denied" for leg in self._legs.values()):
            return OAuthError(f"the sign-in for {plan.host} was denied on the sign-in page")
        killed = self._exit_code is None  # which is why no callback could be delivered either
        undelivered = next((leg.undelivered for leg in self._legs.values() if leg.undelivered), None)
        if undelivered is not None and not killed:
            return undelivered
        how = "was ended by a signal" if killed else f"ended with exit code {self._exit_code}"
        words = redacted(self._errors[-1]) if self._errors else self._last_line
        return RemoteLoginError(f"{plan.cli} login on {plan.host} {how}" + (f": {words}" if words else ""))

    def _timed_out(self) -> KirotunnelError:
        host, cli = self._plan.host, self._plan.cli
        if self._lost is not None:
            return self._lost_for_good(", and did not come back before the time of the sign-in was over")
        if self._phase is Phase.CONFIRMING:
            return LoginTimedOutError(
                f"the sign-in on {host} took too long: {self._plan.cli} ended, but its whoami did not answer"
            )
        leg = next(reversed(self._legs.values()), None)
        if leg is None:
            return LoginTimedOutError(
                f"the sign-in on {host} took too long: {self._plan.cli} never asked for a browser"
            )
        if leg.state is LegState.ASKING:
            return LoginTimedOutError(
                f"the sign-in on {host} took too long: nobody said whether to open the page on {leg.page.authority}"
            )
        if leg.url is None:
            return LoginTimedOutError(f"the sign-in on {host} took too long: the one-time code was not confirmed")
        where = f"port {leg.url.redirect.port}, sign-in page {leg.number}"
        if leg.state in {LegState.CHECKING, LegState.OPENING}:
            return LoginTimedOutError(f"the sign-in on {host} took too long: the tunnel was not open yet ({where})")
        if leg.state in {LegState.CLOSING, LegState.CLOSED}:
            delivered = "did not reach" if leg.undelivered else "was delivered to"
            return LoginTimedOutError(
                f"the sign-in on {host} took too long: the callback {delivered} {cli} ({where}), and it did not end"
            )
        if leg.state is LegState.CALLED:
            return LoginTimedOutError(
                f"the sign-in on {host} took too long: the callback came ({where}), but {cli} did not answer it"
            )
        strays = f"; {counted}" if (counted := self._strays.describe()) else ""
        return LoginTimedOutError(f"the sign-in on {host} took too long: the browser never came back ({where}){strays}")

    def _progress(self) -> str:
        """How far the login had come, for a person who wonders whether to do it again."""
        leg = next(reversed(self._legs.values()), None)
        if self._phase is Phase.CONFIRMING:
            return f"{self._plan.cli} had ended, and was being asked who is signed in"
        if leg is None:
            return f"{self._plan.cli} had not asked for a browser yet"
        if leg.state in {LegState.CALLED, LegState.CLOSING, LegState.CLOSED} and leg.url is not None:
            return f"the callback of sign-in page {leg.number} had come already"
        return f"the browser had not come back from sign-in page {leg.number} yet"

    def _fail(self, error: KirotunnelError, *, anew: bool = False) -> list[Action]:
        running = self._phase is Phase.RUNNING
        closing = [*self._close_all(), *self._release_holds()]
        self._phase = Phase.ENDED
        return [*closing, *([StopRemote()] if running else []), StartAnew(error) if anew else Fail(error)]

    def _release_holds(self) -> list[Action]:
        holding, self._held_ports = self._held_ports, None
        return [ReleaseHolds()] if holding else []

    def _close_all(self) -> list[Action]:
        return self._close([leg for leg in self._legs.values() if leg.state in _WITH_TUNNEL])

    def _close(self, legs: list[_Leg]) -> list[Action]:
        actions: list[Action] = []
        for leg in legs:
            leg.state = LegState.CLOSING
            actions += [*map(Report, self._strays.rest(leg.number)), CloseTunnel(leg.number)]
        return actions
