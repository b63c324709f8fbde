"""What holds in every order of events of a run, whatever the remote does."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import CallbackUndeliveredError, LocalPortError
from kirotunnel.flows import run_steps as m
from kirotunnel.flows.run_machine import Phase, RunMachine, RunPlan
from kirotunnel.profiles.profile import Gate
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.redirect import MIN_PORT, UrlPolicy
from unit.flows.test_run_machine import OWN, authorize

PORTS: Final = (80, 4711, 8976, 8977, 9001, 9002, 53682)
URLS: Final = st.sampled_from(
    [
        *(authorize(port, f"s-{port}") for port in PORTS),
        authorize(8976, "s-2"), authorize(host="evil.example"), authorize(8976, "s-1", more=""),
        "http://127.0.0.1:53682/auth?state=s-1", "http://localhost:80/", "https://idp.example/device",
        "https://evil.example/", "file:///etc/passwd", "javascript:x", "", "http://10.0.0.1/",
    ]
)  # fmt: skip
LEGS: Final = st.integers(0, 6)
PORT: Final = st.sampled_from(PORTS)
ROWS: Final = st.lists(
    st.builds(
        ListeningPort,
        st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "::", "10.0.0.7"]),
        PORT,
        st.sampled_from([OWN, OWN, 1, None]),
    ),
    max_size=5,
).map(tuple)
NAMES: Final = st.sampled_from(
    [
        "look",
        "drain",
        *(f"{kind}-{n}" for kind in ("printed", "listen") for n in range(1, 5)),
        "unnamed-4711",
        "unnamed-8976",
    ]
)
ENDS: Final = st.one_of(
    st.builds(m.CommandEnded, st.sampled_from([0, 1, 130])),
    st.builds(m.Disconnected, st.just("reset by peer")),
    st.just(m.DeadlinePassed()),
    st.just(m.HungUp()),
    st.just(m.OutputGone()),
    st.just(m.Interrupted()),
    st.builds(m.Broken, st.just(LocalPortError("broken"))),
)
EVENTS: Final = st.one_of(
    st.builds(m.UrlOpened, URLS),
    st.builds(m.UrlOpened, URLS),
    st.builds(m.UrlPrinted, URLS),
    st.builds(m.HostAllowed, LEGS, st.booleans()),
    st.builds(m.Listening, st.one_of(st.none(), ROWS, ROWS, ROWS), st.just(frozenset({OWN}))),
    st.builds(m.Listening, ROWS, st.just(frozenset({OWN}))),
    st.builds(m.TunnelReady, PORT, st.just(("127.0.0.1:1",))),
    st.builds(m.TunnelReady, PORT, st.just(("127.0.0.1:1",))),
    st.builds(m.TunnelFailed, PORT, st.just(LocalPortError("taken"))),
    st.builds(m.TunnelEnded, PORT),
    st.builds(m.BrowserStarted, LEGS, st.just("xdg-open")),
    st.builds(m.CallbackArrived, LEGS, st.sampled_from(["granted", "denied"])),
    st.builds(m.CallbackDelivered, LEGS, st.sampled_from([None, CallbackUndeliveredError("no")])),
    st.builds(m.RedirectWanted, st.integers(1, 9), LEGS, URLS, st.booleans()),
    st.builds(m.TimerFired, NAMES),
    st.just(m.SuccessSaid()),
)
PLANS: Final = st.builds(
    RunPlan,
    host=st.just("box"),
    command=st.just("acme"),
    policy=st.sampled_from([UrlPolicy(), UrlPolicy(known_hosts=("idp.example",))]),
    gate=st.sampled_from([Gate(), Gate(several_callbacks=False, start_url_loopback=False), Gate(ignore_state=True)]),
    interactive=st.booleans(),
)


class World:
    """Does what it is told, and notices what it may not be told."""

    def __init__(self, plan: RunPlan) -> None:
        self.machine = RunMachine(plan)
        self.asked_for: set[int] = set()
        """Ports whose tunnel was asked for, and whose closing was not."""
        self.standing: set[int] = set()
        self.command_runs = False
        self.last_rows: tuple[ListeningPort, ...] | None = ()
        self.ended = False
        self.do(self.machine.begin())

    def happen(self, event: m.RunEvent) -> None:
        match event:
            case m.Listening(rows):
                self.last_rows = rows
            # What nobody asked for does not happen.
            case m.TunnelReady(port) if port not in self.asked_for or port in self.standing:
                return
            case m.TunnelReady(port):
                self.standing.add(port)
            case m.TunnelFailed(port) if port not in self.asked_for or port in self.standing:
                return
            case m.TunnelFailed(port):
                self.asked_for.discard(port)
            case m.TunnelEnded(port) if port in self.asked_for:
                return
            case m.CommandEnded() if not self.command_runs:
                return
            case m.CommandEnded():
                self.command_runs = False
            case _:
                pass
        self.do(self.machine.feed(event))

    def do(self, actions: list[m.Action]) -> None:
        assert not (self.ended and actions), "after the end no event has an effect"
        for action in actions:
            assert not self.ended, "nothing comes after the end"
            match action:
                case m.StartCommand():
                    self.command_runs = True
                case m.OpenTunnel(port, addresses, rule):
                    assert port >= MIN_PORT
                    assert port not in self.asked_for
                    assert addresses
                    assert self.last_rows is None or any(row.port == port for row in self.last_rows)
                    assert rule.wider is not None
                    self.asked_for.add(port)
                case m.ServeBy(port):
                    assert port in self.standing, "what is only being opened cannot be served in another way yet"
                case m.CloseTunnel(port):
                    assert port in self.asked_for, "closed once, and only what was opened"
                    self.asked_for.discard(port)
                    self.standing.discard(port)
                case m.OpenBrowser(url=url):
                    text = url.reveal()
                    port = next((port for port in PORTS if f"%3A{port}%2F" in text or f":{port}/" in text), None)
                    assert port is None or port in self.standing, "the browser comes back to a door that stands"
                    assert text.startswith(("https://", "http://127.0.0.1:"))
                case m.StopCommand():
                    self.command_runs = False
                case m.Exit() | m.Fail():
                    assert not self.asked_for, "every door is closed before the end"
                    assert not self.command_runs, "the command is stopped unless it ended by itself"
                    self.ended = True
                case _:
                    pass


@given(PLANS, st.lists(EVENTS, max_size=40), st.lists(ENDS, min_size=1, max_size=3))
def test_whatever_happens_the_rules_hold(plan: RunPlan, events: list[m.RunEvent], ends: list[m.RunEvent]) -> None:
    world = World(plan)
    for event in [*events, *ends]:
        world.happen(event)
    if world.machine.phase is Phase.DRAINING:
        world.happen(m.TimerFired("drain"))
        for port in PORTS:
            world.happen(m.TunnelEnded(port))
    if not world.ended:
        world.happen(m.HungUp())
    assert world.ended


@given(PLANS, st.lists(EVENTS, max_size=30))
def test_after_a_stop_nothing_has_an_effect(plan: RunPlan, events: list[m.RunEvent]) -> None:
    world = World(plan)
    world.happen(m.HungUp())
    for event in events:
        assert world.machine.feed(event) == []
