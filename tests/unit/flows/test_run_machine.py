"""What is done about the pages, the listeners and the end of a command of which nothing is known."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import pytest

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackUndeliveredError,
    ConnectionLostError,
    KirotunnelError,
    LocalPortError,
    LoginTimedOutError,
    PortNotListeningError,
    PortNotPermittedError,
    UrlHostUnknownError,
    UrlRefusedError,
)
from kirotunnel.flows import run_steps as m
from kirotunnel.flows.run_machine import MAX_DOORS, Phase, RunMachine, RunPlan
from kirotunnel.profiles.profile import Gate
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule, Widening
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.redirect import UrlPolicy

KNOWN: Final = UrlPolicy(known_hosts=("idp.example",))
OWN: Final = 77
"""The process number of the command."""


def authorize(
    port: int = 8976, state: str = "s-1", host: str = "idp.example", more: str = "&response_type=code"
) -> str:
    redirect = quote(f"http://localhost:{port}/callback", safe="")
    return f"https://{host}/authorize?redirect_uri={redirect}&state={state}{more}"


def row(port: int = 8976, address: str = "127.0.0.1", pid: int = OWN) -> ListeningPort:
    return ListeningPort(address, port, pid, "python3")


def looked(*rows: ListeningPort) -> m.Listening:
    return m.Listening(rows, frozenset({OWN}))


def started(**plan: Any) -> RunMachine:
    machine = RunMachine(RunPlan(**{"host": "box", "command": "acme", "policy": KNOWN} | plan))
    assert machine.begin()[0] == m.StartCommand()
    return machine


def feed(machine: RunMachine, *events: m.RunEvent) -> list[m.Action]:
    """What is done about the last of these, but for reports and the timers of looks and of pages that were shown."""
    actions: list[m.Action] = []
    for event in events:
        actions = machine.feed(event)
    return [action for action in actions if not isinstance(action, m.Report) and not of_no_concern(action)]


def of_no_concern(action: m.Action) -> bool:
    return isinstance(action, m.StartTimer) and action.name.startswith(("look", "shown-"))


def shown(machine: RunMachine, url: str = "", port: int = 8976) -> list[m.Action]:
    """Bring a page as far as the browser."""
    feed(machine, m.UrlOpened(url or authorize(port)))
    feed(machine, looked(row(port)))
    return feed(machine, m.TunnelReady(port, (f"127.0.0.1:{port}",)))


# --- pages that are opened -------------------------------------------------------------------------------------------


def test_the_browser_is_opened_once_the_command_listens_and_the_port_is_ours() -> None:
    machine = started()
    assert feed(machine, m.UrlOpened(authorize())) == [m.StartTimer("listen-1", 15.0)]
    assert feed(machine, looked()) == []
    rule = LegRule(leg=1, paths=frozenset({"/callback"}), state=Secret("s-1"), wider=Widening())
    assert feed(machine, looked(row())) == [m.OpenTunnel(8976, ("127.0.0.1",), rule, KNOWN)]
    ready = feed(machine, m.TunnelReady(8976, ("127.0.0.1:8976",)))
    assert ready == [m.OpenBrowser(1, Secret(authorize()), "idp.example")]


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("::1", ("::1",)),
        ("0.0.0.0", ("127.0.0.1",)),
        ("::", ("127.0.0.1", "::1")),
        ("::ffff:127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.53", ("127.0.0.53",)),
    ],
)
def test_the_address_that_is_really_bound_is_dialled(address: str, dialled: tuple[str, ...]) -> None:
    machine = started()
    (opened,) = feed(machine, m.UrlOpened(authorize()), looked(row(address=address)))
    assert isinstance(opened, m.OpenTunnel)
    assert opened.addresses == dialled


def test_where_the_target_cannot_tell_who_listens_both_addresses_are_tried() -> None:
    (opened,) = feed(started(), m.UrlOpened(authorize()), m.Listening(None))
    assert isinstance(opened, m.OpenTunnel)
    assert opened.addresses == ("127.0.0.1", "::1")


def test_a_listener_on_another_address_of_the_target_is_not_the_one_that_the_redirect_names() -> None:
    assert feed(started(), m.UrlOpened(authorize()), looked(row(address="10.0.0.7"))) == []


def test_a_port_that_is_never_listened_on_ends_it_where_nobody_is_there() -> None:
    machine = started()
    feed(machine, m.UrlOpened(authorize()), looked())
    stop, fail = feed(machine, m.TimerFired("listen-1"))
    assert stop == m.StopCommand()
    assert isinstance(fail, m.Fail)
    assert isinstance(fail.error, PortNotListeningError)


@pytest.mark.parametrize(
    ("more", "posted", "fragment"),
    [
        ("&response_type=code", False, False),
        ("&response_type=code&response_mode=form_post", True, False),
        ("&response_type=token", True, True),
        ("&response_type=code&response_mode=fragment", True, True),
    ],
)
def test_what_the_url_says_of_its_answer_is_what_the_gate_lets_through(more: str, posted: bool, fragment: bool) -> None:
    (opened,) = feed(started(), m.UrlOpened(authorize(more=more)), looked(row()))
    assert isinstance(opened, m.OpenTunnel)
    assert (opened.rule.form_post, opened.rule.wider) == (posted, Widening(fragment=fragment))


def test_what_is_no_oauth_request_may_have_its_answer_in_any_way_also_by_its_pages_own_script() -> None:
    (opened,) = feed(started(fetch_hosts=("*.acme.example",)), m.UrlOpened(authorize(more="")), looked(row()))
    assert isinstance(opened, m.OpenTunnel)
    hosts = ("*.acme.example", "*.idp.example")
    wider = Widening(fragment=True, origins=frozenset({"https://idp.example"}), fetch_hosts=hosts)
    assert (opened.rule.form_post, opened.rule.wider) == (True, wider)


def test_a_profile_says_it_better() -> None:
    gate = Gate(form_post=True, fragment=False, pages=True, ignore_state=True)
    (opened,) = feed(started(gate=gate), m.UrlOpened(authorize(more="&response_type=token")), looked(row()))
    assert isinstance(opened, m.OpenTunnel)
    rule = opened.rule
    assert (rule.state, rule.form_post, rule.wider) == (None, True, Widening(pages=True))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://user@idp.example/",
        "http://idp.example/",
        "https://10.0.0.1/",
        "-x",
    ],
)
def test_what_must_not_be_opened_ends_it_where_nobody_is_there_and_else_is_said(url: str) -> None:
    stop, fail = feed(started(), m.UrlOpened(url))
    assert stop == m.StopCommand()
    assert isinstance(fail, m.Fail)
    assert isinstance(fail.error, UrlRefusedError)
    (warning,) = feed(started(interactive=True), m.UrlOpened(url))
    assert isinstance(warning, m.Warn)
    assert "acme goes on without it\nhint: " in warning.text


def test_a_page_that_says_nothing_of_where_it_comes_back_is_opened_at_once() -> None:
    assert feed(started(), m.UrlOpened("https://idp.example/device")) == [
        m.OpenBrowser(1, Secret("https://idp.example/device"), "idp.example")
    ]


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_asked_about_and_remembered() -> None:
    machine = started(interactive=True, policy=UrlPolicy())
    assert feed(machine, m.UrlOpened(authorize())) == [m.AskAboutHost(1, "idp.example")]
    assert feed(machine, m.UrlOpened(authorize(8977, "s-2"))) == []  # one question for both
    remembered, *waiting = feed(machine, m.HostAllowed(1, yes=True))
    assert remembered == m.RememberHost("idp.example")
    assert waiting == [m.StartTimer("listen-1", 15.0), m.StartTimer("listen-2", 15.0)]
    assert feed(machine, m.UrlOpened(authorize(8978, "s-3"))) == [m.StartTimer("listen-3", 15.0)]


def test_a_no_leaves_the_command_to_itself() -> None:
    machine = started(interactive=True, policy=UrlPolicy())
    feed(machine, m.UrlOpened(authorize()))
    (warning,) = feed(machine, m.HostAllowed(1, yes=False))
    assert isinstance(warning, m.Warn)
    assert feed(machine, looked(row())) == []
    assert machine.phase is Phase.RUNNING


def test_where_nobody_can_be_asked_an_unknown_host_ends_it() -> None:
    *_, fail = feed(started(policy=UrlPolicy()), m.UrlOpened(authorize()))
    assert isinstance(fail, m.Fail)
    assert isinstance(fail.error, UrlHostUnknownError)


# --- pages that are printed ------------------------------------------------------------------------------------------


def test_a_printed_page_waits_a_moment_for_being_opened() -> None:
    machine = started()
    assert feed(machine, m.UrlPrinted(authorize())) == [m.StartTimer("printed-1", 0.5)]
    assert feed(machine, m.UrlOpened(authorize(more="&response_type=code&hint=ada"))) == [
        m.StartTimer("listen-1", 15.0)
    ]
    assert feed(machine, m.TimerFired("printed-1")) == []
    feed(machine, looked(row()))
    assert feed(machine, m.TunnelReady(8976, ())) == [
        m.OpenBrowser(1, Secret(authorize(more="&response_type=code&hint=ada")), "idp.example")
    ]


def test_a_page_that_is_only_printed_is_opened_and_only_once() -> None:
    machine = started()
    feed(machine, m.UrlPrinted(authorize()))
    assert feed(machine, m.TimerFired("printed-1")) == [m.StartTimer("listen-1", 15.0)]
    assert feed(machine, m.UrlPrinted(authorize())) == []
    feed(machine, looked(row()), m.TunnelReady(8976, ()))
    assert feed(machine, m.UrlOpened(authorize())) == []  # late, but it is the same


@pytest.mark.parametrize(
    "url", ["https://docs.example/login", "http://localhost:3000/", "https://idp.example/authorize?redirect_uri=oob"]
)
def test_what_is_printed_and_leads_nowhere_here_is_left_alone(url: str) -> None:
    assert feed(started(), m.UrlPrinted(url)) == []


def test_opened_again_a_page_is_shown_again_but_not_at_once() -> None:
    machine = started()
    shown(machine)
    assert feed(machine, m.UrlOpened(authorize())) == []  # by another opener
    feed(machine, m.TimerFired("shown-1"))
    assert feed(machine, m.UrlOpened(authorize())) == [m.OpenBrowser(1, Secret(authorize()), "idp.example")]


def test_a_second_opener_that_comes_after_the_answer_opens_nothing() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"), m.CallbackDelivered(1))
    assert feed(machine, m.UrlOpened(authorize())) == []
    feed(machine, m.TimerFired("shown-1"))
    assert feed(machine, m.UrlOpened(authorize())) == [m.StartTimer("listen-2", 15.0)]


# --- a page of the command's own, and redirects ----------------------------------------------------------------------


def test_a_sign_in_that_begins_at_home_goes_on_where_its_redirect_leads() -> None:
    machine = started()
    url = "http://127.0.0.1:53682/auth?state=s-1"
    (opened,) = feed(machine, m.UrlOpened(url), looked(row(53682)))
    assert isinstance(opened, m.OpenTunnel)
    assert opened.rule.wider == Widening(start=Secret("/auth?state=s-1"))
    feed(machine, m.TunnelReady(53682, ()))
    to = f"https://idp.example/a?redirect_uri={quote('http://127.0.0.1:53682/', safe='')}&state=s-1&response_type=code"
    assert feed(machine, m.RedirectWanted(9, 1, to, after_callback=False)) == [m.StartTimer("listen-2", 15.0)]
    rule = LegRule(leg=2, paths=frozenset({"/"}), state=Secret("s-1"), wider=Widening())
    assert feed(machine, looked(row(53682))) == [
        m.ServeBy(53682, ("127.0.0.1",), rule, KNOWN),
        m.AnswerRedirect(9, yes=True),
    ]


def test_a_page_of_its_own_can_be_forbidden_by_a_profile() -> None:
    *_, fail = feed(started(gate=Gate(start_url_loopback=False)), m.UrlOpened("http://localhost:3000/"))
    assert isinstance(fail, m.Fail)


def test_before_the_callback_a_redirect_to_a_stranger_is_asked_about() -> None:
    machine = started(interactive=True)
    shown(machine, "http://localhost:8976/")
    assert feed(machine, m.RedirectWanted(9, 1, "https://evil.example/", after_callback=False)) == [
        m.AskAboutHost(2, "evil.example")
    ]
    refused, _ = feed(machine, m.HostAllowed(2, yes=False))
    assert refused == m.AnswerRedirect(9, yes=False)


@pytest.mark.parametrize(
    ("to", "yes"),
    [
        ("https://idp.example/done", True),
        ("https://welcome.example/", True),
        ("https://evil.example/", False),
        ("http://10.0.0.1/", False),
        ("http://localhost:1/", False),
    ],
)
def test_after_the_callback_a_redirect_goes_to_known_places_and_nobody_is_asked(to: str, yes: bool) -> None:
    machine = started(interactive=True, answer_hosts=("welcome.example",))
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    assert feed(machine, m.RedirectWanted(9, 1, to, after_callback=True)) == [m.AnswerRedirect(9, yes=yes)]


# --- listeners that no URL named -------------------------------------------------------------------------------------


def test_a_listener_that_no_url_names_is_served_once_it_has_lasted() -> None:
    machine = started()
    assert feed(machine, looked(row(4711))) == []
    assert feed(machine, looked(row(4711))) == [m.StartTimer("unnamed-4711", 2.0)]
    assert feed(machine, m.TimerFired("unnamed-4711")) == []
    (opened,) = feed(machine, looked(row(4711)))
    assert isinstance(opened, m.OpenTunnel)
    assert (opened.rule.leg, opened.rule.state, opened.rule.wider) == (0, None, Widening(any_page=True))


def test_after_a_page_that_names_no_port_the_new_listener_is_the_one() -> None:
    machine = started()
    feed(machine, m.UrlOpened("https://idp.example/cli-login"))
    assert feed(machine, looked(row(4711))) == []
    assert isinstance(feed(machine, looked(row(4711)))[0], m.OpenTunnel)


@pytest.mark.parametrize("meanwhile", [False, True])
def test_the_page_that_names_no_port_may_send_the_answer_by_its_script_once_somebody_has_said_yes_to_it(
    meanwhile: bool,
) -> None:
    machine = started(interactive=True)
    feed(machine, m.UrlOpened("https://else.example/cli-login"), looked(row(4711)), looked(row(4711)))
    (opened,) = feed(machine, m.TimerFired("unnamed-4711"), looked(row(4711)))
    assert isinstance(opened, m.OpenTunnel)
    assert opened.rule.wider == Widening(any_page=True)
    if meanwhile:  # the yes comes while the port is being opened
        _, shows = feed(machine, m.HostAllowed(1, True))
        *_, served = feed(machine, m.TunnelReady(4711, ()))
    else:
        feed(machine, m.TunnelReady(4711, ()))
        _, served, shows = feed(machine, m.HostAllowed(1, True))
    assert isinstance(served, m.ServeBy)
    wider = Widening(any_page=True, origins=frozenset({"https://else.example"}), fetch_hosts=("*.else.example",))
    assert served.rule.wider == wider
    assert isinstance(shows, m.OpenBrowser)


def test_a_listener_of_a_moment_is_none() -> None:
    machine = started()
    feed(machine, m.UrlOpened("https://idp.example/cli-login"))
    for port in (4711, 4712, 4713):
        assert feed(machine, looked(row(port))) == []
        assert feed(machine, looked()) == []


@pytest.mark.parametrize(
    "row_", [row(80), row(4711, pid=1), row(4711, "10.0.0.7")], ids=["privileged", "alien", "else"]
)
def test_listeners_that_are_none_of_ours_are_left_alone(row_: ListeningPort) -> None:
    machine = started()
    feed(machine, m.UrlOpened("https://idp.example/cli-login"))
    assert feed(machine, looked(row_), looked(row_), looked(row_)) == []


def test_a_url_that_names_the_port_afterwards_takes_the_door_over() -> None:
    machine = started()
    feed(machine, m.UrlOpened("https://idp.example/x"), looked(row()), looked(row()), m.TunnelReady(8976, ()))
    feed(machine, m.UrlOpened(authorize()))
    served, opened = feed(machine, looked(row()))
    assert isinstance(served, m.ServeBy)
    assert served.rule.state == Secret("s-1")
    assert isinstance(opened, m.OpenBrowser)


def test_once_it_says_that_it_is_signed_in_nothing_new_is_served() -> None:
    machine = started()
    shown(machine)
    said, closed = feed(machine, m.SuccessSaid())
    assert isinstance(said, m.Tell)
    assert closed == m.CloseTunnel(8976)
    feed(machine, m.TunnelEnded(8976))
    assert feed(machine, looked(row(4711)), looked(row(4711)), m.TimerFired("unnamed-4711"), looked(row(4711))) == []


def test_what_is_being_answered_when_it_says_so_is_answered_first() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    assert [type(action) for action in feed(machine, m.SuccessSaid())] == [m.Tell]
    assert feed(machine, m.CallbackDelivered(1)) == [m.CloseTunnel(8976)]


# --- doors -----------------------------------------------------------------------------------------------------------


def test_a_door_is_closed_when_nobody_listens_behind_it_any_more() -> None:
    machine = started()
    shown(machine)
    assert feed(machine, looked()) == []  # it may be between two logins
    assert feed(machine, looked(row())) == []
    assert feed(machine, looked(), looked()) == [m.CloseTunnel(8976)]


def test_it_stays_open_while_a_callback_is_being_answered() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    assert feed(machine, looked(), looked(), looked()) == []
    feed(machine, m.CallbackDelivered(1))
    assert feed(machine, looked(), looked()) == [m.CloseTunnel(8976)]


def test_a_second_sign_in_comes_back_to_the_same_door() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"), m.CallbackDelivered(1))
    feed(machine, m.UrlOpened(authorize(state="s-2")))
    served, opened = feed(machine, looked(row()))
    assert isinstance(served, m.ServeBy)
    assert (served.rule.leg, served.rule.state) == (2, Secret("s-2"))
    assert isinstance(opened, m.OpenBrowser)


def test_a_second_sign_in_waits_for_a_door_that_is_just_being_opened() -> None:
    machine = started()
    feed(machine, m.UrlOpened(authorize()), m.UrlOpened(authorize(state="s-2")))
    (opened,) = feed(machine, looked(row()))
    assert isinstance(opened, m.OpenTunnel)
    assert opened.rule.leg == 1
    assert feed(machine, looked(row())) == []
    assert feed(machine, m.TunnelReady(8976, ())) == [m.OpenBrowser(1, Secret(authorize()), "idp.example")]
    served, shows = feed(machine, looked(row()))
    assert isinstance(served, m.ServeBy)
    assert (served.rule.leg, served.rule.state) == (2, Secret("s-2"))
    assert shows == m.OpenBrowser(2, Secret(authorize(state="s-2")), "idp.example")


def test_while_its_door_is_being_opened_or_closed_nobody_says_that_nothing_listens() -> None:
    machine = started()
    feed(machine, m.UrlOpened(authorize()), m.UrlOpened(authorize(state="s-2")), looked(row()))
    assert feed(machine, m.TimerFired("listen-2")) == [m.StartTimer("listen-2", 15.0)]
    feed(machine, m.TunnelReady(8976, ()))
    feed(machine, m.SuccessSaid())
    assert feed(machine, m.TimerFired("listen-2")) == [m.StartTimer("listen-2", 15.0)]
    feed(machine, m.TunnelEnded(8976))
    assert isinstance(feed(machine, m.TimerFired("listen-2"))[-1], m.Fail)


def test_with_one_callback_by_profile_the_door_closes_behind_it() -> None:
    machine = started(gate=Gate(several_callbacks=False))
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    assert feed(machine, m.CallbackDelivered(1)) == [m.CloseTunnel(8976)]


def test_a_callback_that_was_not_taken_is_said_and_no_end() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    (warning,) = feed(machine, m.CallbackDelivered(1, CallbackUndeliveredError("nobody took it")))
    assert isinstance(warning, m.Warn)
    assert machine.phase is Phase.RUNNING


def test_a_port_that_is_taken_here_ends_it_where_nobody_is_there() -> None:
    machine = started()
    feed(machine, m.UrlOpened(authorize()), looked(row()))
    taken = LocalPortError("taken")
    assert feed(machine, m.TunnelFailed(8976, taken)) == [m.StopCommand(), m.Fail(taken)]


def test_a_listener_that_cannot_be_served_here_is_said_once() -> None:
    machine = started()
    feed(machine, m.UrlOpened("https://idp.example/x"), looked(row()), looked(row()))
    (warning,) = feed(machine, m.TunnelFailed(8976, LocalPortError("taken")))
    assert isinstance(warning, m.Warn)
    assert feed(machine, looked(row()), looked(row()), looked(row())) == []


def test_there_are_only_so_many_doors() -> None:
    machine = started()
    for number in range(MAX_DOORS):
        shown(machine, authorize(9000 + number, f"s-{number}"), 9000 + number)
    feed(machine, m.UrlOpened(authorize(9900, "s-x")))
    *_, fail = feed(machine, looked(*(row(9000 + number) for number in range(MAX_DOORS)), row(9900)))
    assert isinstance(fail, m.Fail)
    assert isinstance(fail.error, PortNotPermittedError)


# --- endings ---------------------------------------------------------------------------------------------------------


def test_the_commands_end_is_the_end_and_its_code_ours() -> None:
    machine = started()
    assert feed(machine, m.CommandEnded(7))[-1] == m.Exit(7)
    assert machine.phase is Phase.ENDED
    assert machine.feed(m.UrlOpened(authorize())) == []


def test_doors_are_closed_before_the_end_and_a_callback_under_way_is_let_finish() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"))
    assert feed(machine, m.CommandEnded(0)) == [m.StartTimer("drain", 5.0)]
    assert feed(machine, m.CallbackDelivered(1)) == [m.CloseTunnel(8976)]
    assert feed(machine, m.TunnelEnded(8976)) == [m.Exit(0)]


def test_an_answer_that_never_ends_is_not_waited_for_once_the_command_is_gone() -> None:
    machine = started()
    shown(machine)
    feed(machine, m.CallbackArrived(1, "granted"), m.CommandEnded(0))
    assert feed(machine, m.TimerFired("drain")) == [m.CloseTunnel(8976)]


def test_the_first_interrupt_is_the_commands_and_the_second_ours() -> None:
    machine = started()
    assert feed(machine, m.Interrupted()) == [m.SendSignal("INT")]
    assert feed(machine, m.Interrupted()) == [m.StopCommand(), m.Exit(130)]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (m.Disconnected("reset"), ConnectionLostError),
        (m.DeadlinePassed(), LoginTimedOutError),
        (m.Broken(LocalPortError("broken")), LocalPortError),
    ],
)
def test_what_ends_it_stops_the_command_and_closes_the_doors(event: m.RunEvent, error: type[KirotunnelError]) -> None:
    machine = started(interactive=True)
    shown(machine)
    closed, stopped, fail = feed(machine, event)
    assert (closed, stopped) == (m.CloseTunnel(8976), m.StopCommand())
    assert isinstance(fail, m.Fail)
    assert isinstance(fail.error, error)


def test_an_opener_that_is_called_again_and_again_ends_it() -> None:
    machine = started(interactive=True)
    last: list[m.Action] = []
    for number in range(300):
        last = machine.feed(m.UrlOpened(authorize(state=f"s-{number}")))
        if machine.phase is Phase.ENDED:
            break
    assert isinstance(last[-1], m.Fail)
    assert isinstance(last[-1].error, PortNotPermittedError)


def test_the_events_are_those_of_a_login() -> None:
    machine = started()
    events: list[ev.Event] = []
    for event in (
        m.UrlOpened(authorize()),
        looked(row()),
        m.TunnelReady(8976, ("127.0.0.1:8976",)),
        m.BrowserStarted(1, "xdg-open"),
        m.StrayRefused(1, "path"),
        m.CallbackArrived(1, "granted"),
    ):
        events += [action.event for action in machine.feed(event) if isinstance(action, m.Report)]
    assert [event.name() for event in events] == [
        "browser_requested", "tunnel_opened", "browser_opened", "request_refused", "callback_received",
    ]  # fmt: skip
