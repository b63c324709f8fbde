"""What holds in every order of events, every repetition and every fault of a login."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackUndeliveredError,
    ConnectionLostError,
    ForwardingRefusedError,
    HostKeyChangedError,
    LocalPortError,
    SSHError,
)
from kirotunnel.events import Account
from kirotunnel.flows.login_machine import LoginMachine, Phase
from kirotunnel.flows.login_plan import LoginPlan
from kirotunnel.flows.login_steps import (
    Action,
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
    HostAllowed,
    ListenerChecked,
    LoginEvent,
    OpenBrowser,
    OpenTunnel,
    Printed,
    Reconnect,
    Reconnected,
    ReconnectFailed,
    RemoteExited,
    RemoteStarted,
    Report,
    StartAnew,
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
from kirotunnel.wire.transcript import (
    ErrorShown,
    LineShown,
    MenuItemShown,
    PortShown,
    PromptShown,
    UrlShown,
    UserCodeShown,
)
from unit.flows.playbook import ADA, BUILDER_ID, DEVICE_PAGE, PORTAL, PORTAL_STATE, SSO, SSO_STATE, facts, plan

CODE: Final = "s3cr3t-c0de"
SECRETS: Final = (CODE, PORTAL_STATE, SSO_STATE)
LEAK: Final = f"GET http://localhost:3128/oauth/callback?code={CODE}&state={PORTAL_STATE}"

URLS: Final = st.sampled_from(
    [
        *[PORTAL.replace("3128", str(port)) for port in (3128, 4649, 6588, 8008, 9091)],
        SSO, SSO, DEVICE_PAGE, PORTAL.replace("app.kiro.dev", "sso.example.org"), PORTAL.replace("3128", "80"),
        f"file:///tmp/{CODE}", f"https://view.awsapps.com/?code={CODE}", "https://sso.example.org/device", "",
    ]
)  # fmt: skip
LEGS: Final = st.integers(1, 5)
LINES: Final = st.sampled_from(
    [LEAK, f"OAuth state mismatch. Actual: {SSO_STATE} | Expected: {PORTAL_STATE}", "service error",
    "Already logged in", "x\x1b[2J"]
)  # fmt: skip
PRINTED: Final = st.one_of(
    st.builds(UrlShown, URLS),
    st.builds(UserCodeShown, st.just("ABCD-EFGH")),
    st.builds(PromptShown, st.sampled_from(["method", "profile", "start-url", "region", "enter", "other"]), LINES),
    st.builds(MenuItemShown, st.sampled_from(["Use with Google", "Use with Builder ID", LEAK]), st.booleans()),
    st.builds(ErrorShown, LINES),
    st.builds(LineShown, LINES),
    st.builds(PortShown, st.just(3128)),
)
LOST: Final = ConnectionLostError("reset")
UNDELIVERED: Final = CallbackUndeliveredError("nobody took it")
LATE: Final = st.one_of(
    st.builds(RemoteExited, st.sampled_from([0, 1, None])),
    st.builds(WhoamiAnswered, st.sampled_from([None, ADA, BUILDER_ID, Account(type="api-key")])),
    st.builds(Disconnected, st.just("reset by peer"), st.sampled_from([True, True, False])),
    st.builds(Reconnected, st.just(1), st.sampled_from([True, True, False])),
    st.builds(ReconnectFailed, st.just(1), st.sampled_from([SSHError("no route"), HostKeyChangedError("changed")])),
    st.just(RemoteStarted()),
    st.just(DeadlinePassed()),
    st.builds(Broken, st.just(LocalPortError("broken"))),
    st.builds(TunnelFailed, LEGS, st.just(LocalPortError("taken"))),
    st.builds(UrlOpened, st.just(f"javascript:{CODE}")),
)
EVENTS: Final = st.one_of(
    st.builds(UrlOpened, URLS),
    st.builds(UrlOpened, URLS),
    st.builds(HostAllowed, LEGS, st.booleans()),
    st.builds(ListenerChecked, LEGS, st.sampled_from([True, True, None, False])),
    st.builds(TunnelReady, LEGS, st.just(("127.0.0.1:3128", "[::1]:3128"))),
    st.builds(BrowserStarted, LEGS, st.just("xdg-open")),
    st.builds(StrayRefused, LEGS, st.sampled_from(["path", "state"])),
    st.builds(CallbackArrived, LEGS, st.sampled_from(["granted", "denied"])),
    st.builds(CallbackDelivered, LEGS, st.sampled_from([None, UNDELIVERED, LOST, ForwardingRefusedError("no")])),
    st.builds(TunnelEnded, LEGS),
    st.builds(Printed, PRINTED),
    st.builds(TimerFired, st.sampled_from(["menu", "undelivered", "device-url", "drain", "other"])),
    LATE,
)
PLANS: Final = st.sampled_from(
    [
        plan(),
        plan(interactive=True),
        plan(method="google", interactive=True),
        plan(method="idc", start_url="https://d-1.awsapps.com/start", region="eu-west-1"),
        plan(flow="device", method="github"),
        plan(expect="grace@example.com"),
        plan(force=True),
    ]
)


ENDINGS: Final[list[LoginEvent]] = [
    DeadlinePassed(),
    Disconnected("gone", resumable=False),
    Broken(LocalPortError("x")),
]


class Watch:
    """Feeds a machine and says at once what does not hold."""

    def __init__(self, of: LoginPlan) -> None:
        self.machine = LoginMachine(of)
        self.asked: set[int] = set()
        """Legs whose tunnel was asked for."""
        self.ready: set[int] = set()
        self.gone: set[int] = set()
        self.with_callback: set[int] = set()
        self.shown = False
        """Whether a page was given to the browser."""
        self.ends = 0
        self.stops = 0

    def begin(self, **found: object) -> None:
        self._see(self.machine.begin(facts(**found)), Phase.NEW)

    def feed(self, event: LoginEvent) -> list[Action]:
        before = self.machine.phase
        match event:
            case TunnelReady(leg) if leg in self.asked - self.gone:
                self.ready.add(leg)
            case TunnelEnded(leg) if leg in self.asked:
                self.gone.add(leg)
        actions = self.machine.feed(event)
        if before is Phase.ENDED:
            assert actions == []
        self._see(actions, before)
        if isinstance(event, DeadlinePassed):
            assert self.machine.phase is Phase.ENDED
        return actions

    def _see(self, actions: Sequence[Action], before: Phase) -> None:
        for action in actions:
            self._no_secret_in(action)
            match action:
                case Report(ev.BrowserRequested(leg=leg)):
                    self.with_callback.add(leg)
                case OpenTunnel(_, rule):
                    assert rule.leg not in self.asked
                    self.asked.add(rule.leg)
                case CloseTunnel(leg):
                    assert leg in self.asked
                    assert leg not in self.gone or self.machine.phase is not Phase.RUNNING
                    self.gone.add(leg)
                case OpenBrowser(leg):
                    assert leg not in self.with_callback or leg in self.ready
                    assert before is Phase.RUNNING
                    self.shown = True
                case Report(ev.BrowserOpened(leg=leg)):
                    assert leg not in self.with_callback or leg in self.ready
                case Type():
                    assert before is Phase.RUNNING
                case StopRemote():
                    self.stops += 1
                    assert before is Phase.RUNNING
                case Fail() | StartAnew() | Succeed():
                    assert not (isinstance(action, StartAnew) and self.shown)  # nobody is asked twice
                    self.ends += 1
                    assert action is actions[-1]
                    assert self.asked <= self.gone
                    assert self.machine.phase is Phase.ENDED
                    assert self.machine.tunnels == frozenset()
                    if not isinstance(action, Succeed):
                        assert (before is Phase.RUNNING) == any(isinstance(other, StopRemote) for other in actions)
                    else:
                        assert self.stops == 0
        assert len(self.asked) <= 4
        assert self.machine.tunnels <= self.asked - self.gone
        assert (self.machine.phase is Phase.ENDED) == (self.ends == 1)
        assert self.ends <= 1

    @staticmethod
    def _no_secret_in(action: Action) -> None:
        match action:
            case Report(event):
                at = datetime(2026, 1, 1, tzinfo=UTC)
                shown = json.dumps(ev.Stamped(event=event, at=at, elapsed_ms=0, target="box").to_json())
                if isinstance(event, ev.DeviceCode):
                    shown = ""  # the page of a code is there for a person to open
            case Fail(error) | StartAnew(error):
                shown = f"{error} {error.message} {error.hint}"
            case Warn(text):
                shown = text
            case _:
                shown = repr(action)
        assert [secret for secret in SECRETS if secret in shown] == [], shown


@settings(max_examples=600)
@given(PLANS, st.lists(EVENTS, max_size=40))
@example(plan(), [Printed(ErrorShown(LEAK)), RemoteExited(1), WhoamiAnswered(None)])
@example(plan(), [UrlOpened(PORTAL), RemoteExited(0), ListenerChecked(1, True), WhoamiAnswered(ADA)])
def test_in_any_order_of_events(of: LoginPlan, events: list[LoginEvent]) -> None:
    watch = Watch(of)
    watch.begin()
    for event in events:
        watch.feed(event)
    watch.feed(DeadlinePassed())
    for event in events:
        assert watch.feed(event) == []


# A page that goes well, step by step; a fault or a stray event may come between any two of them.
def page(leg: int, url: str) -> list[LoginEvent]:
    return [
        UrlOpened(url),
        HostAllowed(leg, yes=True),
        ListenerChecked(leg, True),
        TunnelReady(leg, ("127.0.0.1:3128",)),
        BrowserStarted(leg, "xdg-open"),
        CallbackArrived(leg, "granted"),
        CallbackDelivered(leg),
        TunnelEnded(leg),
    ]


@settings(max_examples=400)
@given(
    st.lists(URLS, min_size=1, max_size=5, unique=True),
    st.lists(st.tuples(st.integers(0, 45), EVENTS), max_size=6),
    st.lists(st.integers(0, 45), max_size=3),
)
def test_with_faults_at_any_place_of_a_login_that_goes_well(
    urls: list[str], between: list[tuple[int, LoginEvent]], twice: list[int]
) -> None:
    script = [step for leg, url in enumerate(urls, 1) for step in page(leg, url)]
    script += [RemoteExited(0), WhoamiAnswered(ADA)]
    for place in sorted(twice, reverse=True):
        if place < len(script):
            script.insert(place, script[place])
    for place, event in between:
        script.insert(min(place, len(script)), event)
    watch = Watch(plan(interactive=True))
    watch.begin()
    for event in script:
        watch.feed(event)
    watch.feed(DeadlinePassed())


@given(st.lists(st.tuples(st.integers(0, 9), EVENTS), max_size=3), st.data())
def test_the_deadline_and_the_loss_of_what_was_not_held_end_it_at_any_time(
    between: list[tuple[int, LoginEvent]], data: st.DataObject
) -> None:
    script = page(1, PORTAL)
    for place, event in between:
        script.insert(min(place, len(script)), event)
    cut = data.draw(st.integers(0, len(script)))
    ending = data.draw(st.sampled_from(ENDINGS))
    watch = Watch(plan())
    watch.begin()
    for event in script[:cut]:
        watch.feed(event)
    watch.feed(Reconnected(1))  # or a connection that is lost already could not be lost
    watch.feed(ending)
    assert watch.machine.phase is Phase.ENDED


# What is asked of the target: after a drop it may be asked again, and nothing else may be done again.
QUESTIONS: Final = (CheckListener, AskWhoami, Reconnect, StartTimer)


@settings(max_examples=400)
@given(
    st.lists(URLS.filter(lambda url: "redirect_uri" in url), min_size=1, max_size=4, unique=True),
    st.lists(st.tuples(st.integers(1, 45), st.integers(0, 3)), max_size=6),
)
def test_no_number_of_drops_loses_or_doubles_anything(urls: list[str], drops: list[tuple[int, int]]) -> None:
    script: list[LoginEvent] = [RemoteStarted(), *(step for leg, url in enumerate(urls, 1) for step in page(leg, url))]
    script += [RemoteExited(0), WhoamiAnswered(ADA)]
    undisturbed = done_in(script)
    disturbed = list(script)
    for place, failures in sorted(drops, reverse=True):
        failed = [ReconnectFailed(attempt, SSHError("no route")) for attempt in range(1, failures + 1)]
        at = min(place, len(script))
        disturbed[at:at] = [Disconnected("reset"), *failed, Reconnected(failures + 1)]
    assert done_in(disturbed) == undisturbed


def done_in(script: list[LoginEvent]) -> list[str]:
    """All that the machine does, without the questions and without the reports of the drops."""
    machine = LoginMachine(plan(interactive=True))
    actions = machine.begin(facts())
    for event in script:
        actions += machine.feed(event)
    reports = (ev.ConnectionLost, ev.Reconnected)
    return [
        repr(action)
        for action in actions
        if not isinstance(action, QUESTIONS) and not (isinstance(action, Report) and isinstance(action.event, reports))
    ]


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=30))
def test_what_was_asked_and_not_answered_is_asked_again_once(events: list[LoginEvent]) -> None:
    machine = LoginMachine(plan(interactive=True))
    machine.begin(facts())
    waiting: set[int] = set()
    for event in [*events, Disconnected("reset"), Reconnected(1)]:
        actions = machine.feed(event)
        asked = [action.leg for action in actions if isinstance(action, CheckListener)]
        assert len(asked) == len(set(asked))
        if isinstance(event, ListenerChecked):
            waiting.discard(event.leg)
        if (
            isinstance(event, Reconnected)
            and machine.phase is Phase.RUNNING
            and any(isinstance(action, Report) and isinstance(action.event, ev.Reconnected) for action in actions)
        ):
            assert set(asked) >= waiting
        waiting |= set(asked)
        if machine.phase is not Phase.RUNNING:
            waiting.clear()


@given(PLANS, st.sampled_from([None, ADA]), st.sampled_from([None, "/usr/bin/kiro-cli"]), st.booleans())
def test_however_it_begins(of: LoginPlan, account: Account | None, cli: str | None, wsl: bool) -> None:
    watch = Watch(of)
    watch.begin(account=account, cli=cli, wsl=wsl)
    watch.feed(DeadlinePassed())
    assert watch.ends == 1


def test_every_event_is_among_those_tried() -> None:
    tried = {
        BrowserStarted, CallbackArrived, CallbackDelivered, ListenerChecked, HostAllowed, Printed,
        StrayRefused, TimerFired,
        RemoteStarted, Reconnected, ReconnectFailed,
        TunnelEnded, TunnelFailed, TunnelReady, UrlOpened, RemoteExited, WhoamiAnswered, Disconnected,
        DeadlinePassed, Broken,
    }  # fmt: skip
    assert set(LoginEvent.__args__) == tried
    assert all(dataclasses.is_dataclass(event) for event in tried)
