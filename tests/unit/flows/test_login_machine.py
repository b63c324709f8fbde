"""The login as dialogues: `>>` is what happens, `<<` is what the machine does about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from kirotunnel import events as ev
from kirotunnel.errors import (
    AuthenticationFailedError,
    CallbackUndeliveredError,
    ConnectionLostError,
    ContainerNotRunningError,
    ForwardingRefusedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    KirotunnelError,
    LocalPortError,
    PortAwaitedError,
    SessionRefusedError,
    SSHError,
)
from kirotunnel.events import Account
from kirotunnel.flows.login_machine import (
    DEVICE_URL_GRACE_S,
    DRAIN_GRACE_S,
    INTERRUPTED_GRACE_S,
    MENU_ROWS_GRACE_S,
    MENU_SETTLES_S,
    NOT_LISTENING_GRACE_S,
    UNDELIVERED_GRACE_S,
    LoginMachine,
    Phase,
)
from kirotunnel.flows.login_plan import LoginPlan
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
from kirotunnel.flows.reconnecting import MAX_DROPS, delay_before
from kirotunnel.flows.steering import PortFacts
from kirotunnel.redaction import Secret
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.redirect import TrustedHost, UrlPolicy
from kirotunnel.wire.transcript import (
    ErrorShown,
    LineShown,
    MenuItemShown,
    PortShown,
    PromptKind,
    PromptShown,
    UrlShown,
    UserCodeShown,
)
from unit.flows.playbook import (
    ADA,
    BUILDER_ID,
    DEVICE_PAGE,
    PORTAL,
    PORTAL_STATE,
    Dialogue,
    Fails,
    facts,
    plan,
    portal_page,
    portal_tunnel,
    sso_page,
    sso_tunnel,
)

START: Final = StartRemote(("login",), own_mode=False, logout_first=False)
LISTEN: Final = ("127.0.0.1:3128", "[::1]:3128")
DRAIN: Final = StartTimer("drain", DRAIN_GRACE_S)
ELSEWHERE: Final = PORTAL.replace("app.kiro.dev", "sso.example.org")


def started(of: LoginPlan | None = None) -> Dialogue:
    return Dialogue(of) >> facts() << START >> RemoteStarted()


def at_the_page(of: LoginPlan | None = None) -> Dialogue:
    """The first page is open in the browser."""
    dialogue = started(of) >> UrlOpened(PORTAL) << CheckListener(1, 3128)
    dialogue = dialogue >> ListenerChecked(1, True) << portal_tunnel() >> TunnelReady(1, LISTEN) << portal_page()
    return dialogue >> BrowserStarted(1, "xdg-open")


def called(of: LoginPlan | None = None, outcome: ev.Outcome = "granted") -> Dialogue:
    """The callback of the first page is being delivered."""
    return at_the_page(of) >> CallbackArrived(1, outcome)


def delivered(of: LoginPlan | None = None, outcome: ev.Outcome = "granted") -> Dialogue:
    """The callback of the first page was delivered, and its port is free again."""
    return called(of, outcome) >> CallbackDelivered(1) << CloseTunnel(1) >> TunnelEnded(1)


def exited(code: int | None = 0, of: LoginPlan | None = None, outcome: ev.Outcome = "granted") -> Dialogue:
    """The CLI ended after its callback."""
    return delivered(of, outcome) >> RemoteExited(code) << AskWhoami() << DRAIN


# --- the usual ways --------------------------------------------------------------------------------------------------


def test_one_page_from_beginning_to_end() -> None:
    assert (
        Dialogue(with_reports=True)
        >> facts()
        << Report(ev.RemoteCli(path="/usr/bin/kiro-cli", version="2.10.0", signed_in=False))
        << START
        << Report(ev.LoginStarted(flow="callback"))
        >> UrlOpened(PORTAL)
        << Report(ev.BrowserRequested(leg=1, authorize_host="app.kiro.dev", redirect_port=3128))
        << CheckListener(1, 3128)
        >> ListenerChecked(1, True)
        << portal_tunnel()
        >> TunnelReady(1, LISTEN)
        << Report(ev.TunnelOpened(leg=1, port=3128, listen=LISTEN))
        << portal_page()
        >> BrowserStarted(1, "xdg-open")
        << Report(ev.BrowserOpened(leg=1, how="xdg-open"))
        >> StrayRefused(1, "path")
        << Report(ev.RequestRefused(leg=1, reason="path"))
        >> CallbackArrived(1, "granted")
        << Report(ev.CallbackReceived(leg=1, outcome="granted"))
        >> CallbackDelivered(1)
        << CloseTunnel(1)
        >> TunnelEnded(1)
        >> RemoteExited(0)
        << AskWhoami()
        << DRAIN
        >> WhoamiAnswered(ADA)
        << Report(ev.SignedIn(account=ADA))
        << Succeed(ADA, already=False)
    )


def test_two_pages_from_beginning_to_end() -> None:
    assert (
        delivered()
        >> UrlOpened(_sso())
        << CheckListener(2, 41733)
        >> ListenerChecked(2, True)
        << sso_tunnel()
        >> TunnelReady(2, ("127.0.0.1:41733", "[::1]:41733"))
        << sso_page()
        >> BrowserStarted(2, "xdg-open")
        >> CallbackArrived(2, "granted")
        >> CallbackDelivered(2)
        << CloseTunnel(2)
        >> TunnelEnded(2)
        >> RemoteExited(0)
        << AskWhoami()
        << DRAIN
        >> WhoamiAnswered(BUILDER_ID)
        << Succeed(BUILDER_ID, already=False)
    )


def _sso() -> str:
    return sso_page().url.reveal()


def test_the_second_page_may_be_wanted_while_the_first_port_is_still_closing() -> None:
    assert (
        called()
        >> CallbackDelivered(1)
        << CloseTunnel(1)
        >> UrlOpened(_sso())
        << CheckListener(2, 41733)
        >> TunnelEnded(1)
        >> ListenerChecked(2, True)
        << sso_tunnel()
    )


def test_the_cli_may_end_before_its_answer_has_reached_the_browser() -> None:
    assert (
        called()
        >> RemoteExited(0)
        << AskWhoami()
        << DRAIN
        >> WhoamiAnswered(ADA)
        >> CallbackDelivered(1)
        << CloseTunnel(1)
        >> TunnelEnded(1)
        << Succeed(ADA, already=False)
    )


def test_an_answer_that_never_reaches_the_browser_is_given_up_after_a_while() -> None:
    assert (
        called()
        >> RemoteExited(0)
        << AskWhoami()
        << DRAIN
        >> WhoamiAnswered(ADA)
        >> TimerFired("drain")
        << CloseTunnel(1)
        >> TunnelEnded(1)
        << Succeed(ADA, already=False)
    )


def test_a_target_that_cannot_tell_who_listens_is_believed() -> None:
    assert started() >> UrlOpened(PORTAL) << CheckListener(1, 3128) >> ListenerChecked(1, None) << portal_tunnel()


def test_a_url_that_is_opened_and_printed_is_one_page() -> None:
    dialogue = at_the_page() >> Printed(UrlShown(PORTAL)) >> UrlOpened(PORTAL)
    assert dialogue >> CallbackArrived(1, "granted") >> UrlOpened(PORTAL)


def test_form_post_and_the_redirects_own_path_reach_the_gate() -> None:
    url = PORTAL.replace("3128", "4649%2Fcb") + "&response_mode=form_post"
    expected = portal_tunnel(port=4649)
    expected = replace(expected, rule=replace(expected.rule, paths=frozenset({"/cb"}), form_post=True))
    assert started() >> UrlOpened(url) << CheckListener(1, 4649) >> ListenerChecked(1, True) << expected


# --- before it begins ------------------------------------------------------------------------------------------------


def test_a_target_without_the_cli() -> None:
    assert Dialogue() >> facts(cli=None) << Fails("KT401", "kiro-cli was not found on box")


def test_somebody_is_signed_in_already() -> None:
    assert Dialogue() >> facts(account=ADA) << Succeed(ADA, already=True)
    assert Dialogue(plan(expect="ADA@example.com")) >> facts(account=ADA) << Succeed(ADA, already=True)


def test_somebody_else_is_signed_in_already() -> None:
    assert (
        Dialogue(plan(expect="grace@example.com"))
        >> facts(account=ADA)
        << Fails("KT410", "ada@example.com (Google) is signed in on box, not grace@example.com")
    )


def test_with_force_the_one_who_is_signed_in_is_signed_out_first() -> None:
    assert (
        Dialogue(plan(force=True)) >> facts(account=ADA) << StartRemote(("login",), own_mode=False, logout_first=True)
    )
    assert Dialogue(plan(force=True)) >> facts() << START


def test_a_method_that_the_target_cannot_do_is_refused_before_anything_starts() -> None:
    assert Dialogue(plan(method="external-idp")) >> facts(wsl=True) << Fails("KT403", "identity provider on WSL")


def test_nothing_happens_before_it_begins_and_it_begins_only_once() -> None:
    dialogue = Dialogue() >> UrlOpened(PORTAL) >> RemoteExited(0) >> DeadlinePassed() >> facts() << START
    assert dialogue >> facts() >> facts(cli=None)


# --- which page may be opened ----------------------------------------------------------------------------------------


def test_a_person_allows_an_unknown_host() -> None:
    assert (
        started(plan(interactive=True))
        >> UrlOpened(ELSEWHERE)
        << AskAboutHost(1, "sso.example.org")
        >> HostAllowed(1, yes=True)
        << CheckListener(1, 3128)
        >> HostAllowed(1, yes=True)
        >> ListenerChecked(1, True)
        << replace(portal_tunnel(), policy=plan().policy.trusting("sso.example.org", 443))
        >> TunnelReady(1, LISTEN)
        << OpenBrowser(1, Secret(ELSEWHERE), "sso.example.org")
    )


def test_a_person_refuses_an_unknown_host() -> None:
    assert (
        started(plan(interactive=True))
        >> UrlOpened(ELSEWHERE)
        << AskAboutHost(1, "sso.example.org")
        >> HostAllowed(1, yes=False)
        << StopRemote()
        << Fails("KT609", "the page on sso.example.org was not allowed")
    )


def test_without_a_person_an_unknown_host_is_refused() -> None:
    assert (
        started()
        >> UrlOpened(ELSEWHERE)
        << StopRemote()
        << Fails("KT609", "a page on sso.example.org, which kiro-cli is not known to use")
    )


def test_a_trusted_host_needs_no_yes() -> None:
    policy = UrlPolicy(trusted=(TrustedHost("sso.example.org"),))
    assert started(plan(policy=policy)) >> UrlOpened(ELSEWHERE) << CheckListener(1, 3128)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        pytest.param("file:///etc/passwd", "KT607", id="a file"),
        pytest.param("javascript:alert(1)", "KT607", id="a script"),
        pytest.param("--version", "KT607", id="an option"),
        pytest.param("", "KT607", id="nothing"),
        pytest.param("http://127.0.0.1:8080/?redirect_uri=http://localhost:3128&state=x", "KT608", id="this machine"),
        pytest.param("https://sso.example.org/", "KT405", id="a page that is no authorization request"),
        pytest.param(PORTAL.replace("localhost", "evil.example"), "KT405", id="a redirect to somewhere else"),
        pytest.param(PORTAL.replace("state=", "stale="), "KT405", id="no state"),
        pytest.param(PORTAL + "&state=2", "KT405", id="two states"),
        pytest.param(PORTAL.replace("3128", "443"), "KT502", id="a privileged port"),
    ],
)
def test_a_page_that_must_not_be_opened_ends_the_login(url: str, code: str) -> None:
    assert started(plan(interactive=True)) >> UrlOpened(url) << StopRemote() << Fails(code)


def test_more_than_four_pages_are_too_many() -> None:
    dialogue = started()
    for leg in range(1, 5):
        url = PORTAL.replace("3128", str(5000 + leg))
        dialogue = dialogue >> UrlOpened(url) << CheckListener(leg, 5000 + leg) >> ListenerChecked(leg, True)
        dialogue = dialogue << portal_tunnel(leg, 5000 + leg)
    for leg in range(1, 5):
        dialogue = dialogue >> TunnelReady(leg, LISTEN) << portal_page(leg, PORTAL.replace("3128", str(5000 + leg)))
    assert (
        dialogue
        >> UrlOpened(PORTAL)
        << CloseTunnel(1)
        << CloseTunnel(2)
        << CloseTunnel(3)
        << CloseTunnel(4)
        << StopRemote()
        << Fails("KT502", "box asked for more than 4 sign-in pages in one login")
    )


# --- ports -----------------------------------------------------------------------------------------------------------


def test_a_port_on_which_nothing_listens_there_is_not_opened_here() -> None:
    assert (
        started()
        >> UrlOpened(PORTAL)
        << CheckListener(1, 3128)
        >> ListenerChecked(1, False)
        << StartTimer("not-listening", NOT_LISTENING_GRACE_S)
        >> TimerFired("not-listening")
        << StopRemote()
        << Fails("KT409", "nothing listens on port 3128 of box")
    )


def test_a_port_that_nothing_listens_on_because_the_cli_is_ending_is_not_what_is_said() -> None:
    dialogue = checking() >> ListenerChecked(1, False) << StartTimer("not-listening", NOT_LISTENING_GRACE_S)
    dialogue = dialogue >> RemoteExited(70) << AskWhoami() << DRAIN >> TimerFired("not-listening")
    assert dialogue >> WhoamiAnswered(None) << Fails("KT404", "ended with exit code 70")


@pytest.mark.parametrize(
    ("error", "busy_before", "lost", "anew"),
    [
        (LocalPortError("port 3128 is in use by squid"), {}, False, True),
        (
            LocalPortError("port 3128 is in use by squid"),
            {3128: "squid"},
            False,
            False,
        ),  # there was no holding it there
        (LocalPortError("port 3128 is in use by squid"), {3128: "squid"}, True, True),  # or it ended with a connection
        (PortAwaitedError("port 3128 is in use by attach"), {}, False, False),
    ],
)
def test_a_port_that_is_taken_here_ends_this_start(
    error: LocalPortError, busy_before: dict[int, str], lost: bool, anew: bool
) -> None:
    machine = LoginMachine(plan())
    machine.begin(facts(), PortFacts(here=busy_before, there={}))
    for event in (Disconnected("corrupt", resumable=True), Reconnected(1, held=True)) if lost else ():
        machine.feed(event)
    for event in (RemoteStarted(), UrlOpened(PORTAL), ListenerChecked(1, True)):
        machine.feed(event)
    *closing, end = machine.feed(TunnelFailed(1, error))
    assert closing == [CloseTunnel(1), *([ReleaseHolds()] if busy_before else []), StopRemote()]
    assert end == (StartAnew(error) if anew else Fail(error))


def test_a_tunnel_that_fails_after_the_cli_ended_changes_nothing() -> None:
    dialogue = started() >> UrlOpened(PORTAL) << CheckListener(1, 3128) >> ListenerChecked(1, True) << portal_tunnel()
    assert (
        dialogue
        >> RemoteExited(0)
        << CloseTunnel(1)
        << AskWhoami()
        << DRAIN
        >> TunnelFailed(1, LocalPortError("late"))
        >> TunnelReady(1, LISTEN)
        >> TunnelEnded(1)
        >> WhoamiAnswered(ADA)
        << Succeed(ADA, already=False)
    )


def test_a_server_that_refuses_forwarding_ends_the_login() -> None:
    assert (
        called()
        >> CallbackDelivered(1, ForwardingRefusedError("box forbids it"))
        << CloseTunnel(1)
        << StopRemote()
        << Fails("KT307", "box forbids it")
    )


def test_a_delivery_that_breaks_after_the_cli_ended_well_is_no_failure() -> None:
    assert (
        called()
        >> RemoteExited(0)
        << AskWhoami()
        << DRAIN
        >> CallbackDelivered(1, ForwardingRefusedError("closed"))
        << CloseTunnel(1)
        >> TunnelEnded(1)
        >> WhoamiAnswered(ADA)
        << Succeed(ADA, already=False)
    )


# --- a callback that is not taken ------------------------------------------------------------------------------------


def undelivered() -> Dialogue:
    return (
        called()
        >> CallbackDelivered(1, CallbackUndeliveredError("nothing listens there any more"))
        << CloseTunnel(1)
        << StartTimer("undelivered", UNDELIVERED_GRACE_S)
        >> TunnelEnded(1)
    )


def test_a_callback_that_is_not_taken_ends_the_login_when_the_cli_lives_on() -> None:
    assert (
        undelivered() >> TimerFired("undelivered") << StopRemote() << Fails("KT407", "nothing listens there any more")
    )


def test_a_callback_that_is_not_taken_is_the_reason_when_the_cli_says_none() -> None:
    assert (
        undelivered()
        >> RemoteExited(1)
        << AskWhoami()
        << DRAIN
        >> TimerFired("undelivered")
        >> WhoamiAnswered(None)
        << Fails("KT407", "nothing listens there any more")
    )


def test_a_callback_that_is_not_taken_is_not_the_reason_when_the_cli_was_killed() -> None:
    dialogue = undelivered() >> RemoteExited(None) << AskWhoami() << DRAIN >> TimerFired("undelivered")
    assert dialogue >> WhoamiAnswered(None) << Fails("KT404", "was ended by a signal")


def test_a_callback_that_is_not_taken_does_not_matter_when_the_cli_goes_on() -> None:
    assert (
        undelivered()
        >> UrlOpened(_sso())
        << CheckListener(2, 41733)
        >> TimerFired("undelivered")
        >> ListenerChecked(2, True)
        << sso_tunnel()
    )


# --- how the CLI ends ------------------------------------------------------------------------------------------------


def test_the_account_is_the_wrong_one() -> None:
    assert (
        exited(of=plan(expect="grace@example.com"))
        >> WhoamiAnswered(ADA)
        << Fails("KT410", "ada@example.com (Google) is signed in on box, not grace@example.com")
    )


def test_the_account_is_of_another_method() -> None:
    assert (
        exited(of=plan(method="google"))
        >> WhoamiAnswered(BUILDER_ID)
        << Warn("signed in with ada@example.com (AWS Builder ID), though --method google was asked for")
        << Succeed(BUILDER_ID, already=False)
    )


def test_nobody_is_signed_in_although_the_cli_ended_well() -> None:
    assert exited(0) >> WhoamiAnswered(None) << Fails("KT411", "ended its login without an error, but nobody")


def test_somebody_is_signed_in_although_the_cli_ended_badly() -> None:
    dialogue = delivered() >> Printed(ErrorShown("No profiles available. Please contact your administrator."))
    dialogue = dialogue >> RemoteExited(1) << AskWhoami() << DRAIN >> WhoamiAnswered(BUILDER_ID)
    assert dialogue << Fails(
        "KT404",
        "kiro-cli login on box ended with exit code 1: No profiles available. Please contact your administrator.; "
        "its whoami says ada@example.com (AWS Builder ID) all the same",
    )


def test_the_words_of_an_error_are_those_of_its_exception() -> None:
    machine = LoginMachine(plan())
    machine.begin(facts())
    machine.feed(RemoteExited(1))
    [fail] = machine.feed(WhoamiAnswered(ADA))
    assert isinstance(fail, Fail)
    assert str(fail.error) == fail.error.message


def test_the_cli_says_that_somebody_is_signed_in_already() -> None:
    dialogue = started() >> Printed(ErrorShown("Already logged in, please logout with kiro-cli logout first"))
    dialogue = dialogue >> RemoteExited(1) << AskWhoami() << DRAIN >> WhoamiAnswered(ADA)
    assert dialogue << Succeed(ADA, already=True)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("OAuth error: All callback ports are in use.", "KT402", "All callback ports are in use."),
        ("Failed to bind callback port", "KT402", "Failed to bind callback port"),
        ("OAuth state mismatch. Actual: a1 | Expected: b2", "KT602", "Actual: *** | Expected: ***"),
        ("OAuth error: OAuth state mismatch: expected=b2, actual=a1", "KT602", "expected=***, actual=***"),
        ("Social login is not supported in remote environments.", "KT403", "not supported"),
        ("Device code expired. Please try again.", "KT604", "Device code expired"),
        ("OAuth error: Auth portal timed out", "KT701", "Auth portal timed out"),
        ("Timeout waiting for authentication to complete", "KT701", "Timeout waiting"),
        ("No code received on redirect", "KT407", "No code received on redirect"),
        ("OAuth error: Callback channel closed", "KT407", "Callback channel closed"),
        ("Google denied access to Kiro. Please ensure you grant all required permissions.", "KT601", "denied access"),
        ("OAuth error: access_denied: no", "KT601", "access_denied"),
        ("service error", "KT603", "service error"),
        ("OAuth error: Token exchange failed: HTTP 400", "KT603", "Token exchange failed"),
        ("error sending request for url (https://x.example/t): operation timed out", "KT603", "error sending request"),
        ("something new", "KT404", "kiro-cli login on box ended with exit code 1: something new"),
    ],
)
def test_what_the_cli_says_is_understood(said: str, code: str, words: str) -> None:
    dialogue = started() >> Printed(LineShown(f"error: {said}")) >> Printed(ErrorShown(said))
    dialogue = dialogue >> RemoteExited(1) << AskWhoami() << DRAIN >> WhoamiAnswered(None)
    assert dialogue << Fails(code, words)


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (1, None, "kiro-cli login on box ended with exit code 1"),
        (101, "thread 'main' panicked", "ended with exit code 101: thread 'main' panicked"),
        (None, None, "kiro-cli login on box was ended by a signal"),
        (None, "Killed", "was ended by a signal: Killed"),
    ],
)
def test_a_cli_that_says_nothing_known(code: int | None, said: str | None, words: str) -> None:
    dialogue = started()
    if said:
        dialogue = dialogue >> Printed(LineShown(said)) >> Printed(LineShown("\x1b[0m \x07"))
    dialogue = dialogue >> RemoteExited(code) << AskWhoami() << DRAIN >> WhoamiAnswered(None)
    assert dialogue << Fails("KT404", words)


def test_a_denial_is_the_reason_when_the_cli_says_none() -> None:
    assert exited(1, outcome="denied") >> WhoamiAnswered(None) << Fails("KT601", "the sign-in for box was denied")


@pytest.mark.parametrize("when", ["before a page", "asking", "checking", "opening", "open"])
def test_a_cli_that_dies_early_takes_its_ports_along(when: str) -> None:
    dialogue = started(plan(interactive=True))
    closes = when in {"opening", "open"}
    if when == "asking":
        dialogue = dialogue >> UrlOpened(ELSEWHERE) << AskAboutHost(1, "sso.example.org")
    elif when != "before a page":
        dialogue = dialogue >> UrlOpened(PORTAL) << CheckListener(1, 3128)
    if closes:
        dialogue = dialogue >> ListenerChecked(1, True) << portal_tunnel()
    if when == "open":
        dialogue = dialogue >> TunnelReady(1, LISTEN) << portal_page()
    dialogue = dialogue >> RemoteExited(1)
    if closes:
        dialogue = dialogue << CloseTunnel(1)
    dialogue = dialogue << AskWhoami() << DRAIN
    # Answers to questions that no longer matter have no effect.
    dialogue = dialogue >> HostAllowed(1, yes=True) >> ListenerChecked(1, True) >> CallbackArrived(1, "granted")
    if closes:
        dialogue = dialogue >> TunnelEnded(1)
    assert dialogue >> WhoamiAnswered(None) << Fails("KT404", "ended with exit code 1")


def test_what_happens_after_the_exit_starts_nothing_new() -> None:
    dialogue = started(plan(method="google")) >> Printed(PromptShown("method", "Select login method"))
    dialogue = dialogue << StartTimer("menu", MENU_SETTLES_S) >> Printed(MenuItemShown("Use with Google", active=True))
    dialogue = dialogue << StartTimer("menu", MENU_SETTLES_S) >> RemoteExited(1) << AskWhoami() << DRAIN
    assert (
        dialogue
        >> TimerFired("menu")
        >> Printed(PromptShown("enter", "Press Enter"))
        >> Printed(PromptShown("other", "Name"))
        >> UrlOpened(PORTAL)
        >> RemoteExited(0)
        >> WhoamiAnswered(None)
        << Fails("KT404", "exit code 1")
    )


# --- time, and the connection ----------------------------------------------------------------------------------------


def asking() -> Dialogue:
    return started(plan(interactive=True)) >> UrlOpened(ELSEWHERE) << AskAboutHost(1, "sso.example.org")


def checking() -> Dialogue:
    return started() >> UrlOpened(PORTAL) << CheckListener(1, 3128)


def opening() -> Dialogue:
    return checking() >> ListenerChecked(1, True) << portal_tunnel()


def closing() -> Dialogue:
    return called() >> CallbackDelivered(1) << CloseTunnel(1)


def with_strays() -> Dialogue:
    return at_the_page() >> StrayRefused(1, "path") >> StrayRefused(1, "state") >> StrayRefused(1, "idle")


def with_code() -> Dialogue:
    dialogue = started() >> Printed(UrlShown(DEVICE_PAGE)) << OpenBrowser(1, Secret(DEVICE_PAGE), "app.kiro.dev")
    return dialogue >> Printed(UserCodeShown("WDJB-MJHT")) << StartTimer("device-url", DEVICE_URL_GRACE_S)


STATES: Final = [
    pytest.param(started, 0, True, "kiro-cli never asked for a browser", id="before a page"),
    pytest.param(asking, 0, True, "nobody said whether to open the page on sso.example.org", id="asking"),
    pytest.param(checking, 0, True, "the tunnel was not open yet (port 3128, sign-in page 1)", id="checking"),
    pytest.param(opening, 1, True, "the tunnel was not open yet (port 3128, sign-in page 1)", id="opening"),
    pytest.param(at_the_page, 1, True, "the browser never came back (port 3128, sign-in page 1)", id="open"),
    pytest.param(with_strays, 1, True, "sign-in page 1); 3 other requests were refused", id="open, with strays"),
    pytest.param(called, 1, True, "the callback came (port 3128, sign-in page 1), but kiro-cli did not", id="called"),
    pytest.param(closing, 0, True, "the callback was delivered to kiro-cli (port 3128, sign-in page 1)", id="closing"),
    pytest.param(delivered, 0, True, "the callback was delivered to kiro-cli", id="closed"),
    pytest.param(undelivered, 0, True, "the callback did not reach kiro-cli", id="undelivered"),
    pytest.param(with_code, 0, True, "the one-time code was not confirmed", id="code"),
    pytest.param(exited, 0, False, "kiro-cli ended, but its whoami did not answer", id="confirming"),
]


@pytest.mark.parametrize(("reach", "tunnels", "running", "words"), STATES)
def test_the_deadline_says_what_is_still_missing(reach: Any, tunnels: int, running: bool, words: str) -> None:
    dialogue = _closing(reach() >> DeadlinePassed(), tunnels=tunnels, running=running)
    assert dialogue << Fails("KT701", words)
    assert dialogue.ended


@pytest.mark.parametrize(("reach", "tunnels", "running", "_"), STATES)
def test_a_connection_that_does_not_come_back_ends_the_login_with_the_deadline(
    reach: Any, tunnels: int, running: bool, _: str
) -> None:
    dialogue = reach() >> Disconnected("read: \x1b[2Jreset\nby peer") << Reconnect(1, 0.0)
    dialogue = dialogue >> ReconnectFailed(1, SSHError("no route to the host")) << Reconnect(2, delay_before(2))
    dialogue = _closing(dialogue >> DeadlinePassed(), tunnels=tunnels, running=running)
    assert dialogue << Fails("KT305", "the connection to box was lost: read: reset by peer, and did not come back")


@pytest.mark.parametrize(("reach", "tunnels", "running", "_"), STATES)
@pytest.mark.parametrize(
    "error", [HostKeyChangedError("another key"), AuthenticationFailedError("refused"), HostKeyUnknownError("unknown")]
)
def test_a_connection_that_cannot_come_back_ends_the_login_with_the_reason(
    reach: Any, tunnels: int, running: bool, _: str, error: KirotunnelError
) -> None:
    dialogue = reach() >> Disconnected("reset") << Reconnect(1, 0.0) >> ReconnectFailed(1, error)
    dialogue = _closing(dialogue, tunnels=tunnels, running=running)
    assert dialogue << Fails("KT305", f"was lost: reset, and could not be made anew: {error.message}")


def test_a_container_that_has_stopped_is_said_once() -> None:
    reason = "container web on box is not running: it is exited"
    dialogue = started() >> Disconnected(reason) << Reconnect(1, 0.0)
    dialogue = dialogue >> ReconnectFailed(1, ContainerNotRunningError(reason, "`docker start web` there"))
    dialogue = _closing(dialogue, tunnels=0, running=True)
    assert dialogue << Fails("KT305", f"the connection to box was lost: {reason}; ")


@pytest.mark.parametrize(
    ("reach", "again"),
    [
        (started, []),
        (asking, []),
        (checking, [CheckListener(1, 3128)]),
        (opening, []),
        (at_the_page, []),
        (called, []),
        (closing, []),
        (delivered, []),
        (undelivered, [StartTimer("undelivered", UNDELIVERED_GRACE_S)]),
        (with_code, []),
        (exited, [AskWhoami()]),
    ],
)
def test_what_is_done_when_the_connection_is_back(reach: Any, again: list[Action]) -> None:
    dialogue = reach() >> Disconnected("reset") << Reconnect(1, 0.0) >> Disconnected("the same, seen by another")
    dialogue = dialogue >> Reconnected(1)
    for action in again:
        dialogue = dialogue << action
    assert dialogue >> Reconnected(1)
    names = [event.name() for event in dialogue.reports][-2:]
    assert names == ["connection_lost", "reconnected"]


def test_a_login_goes_on_through_two_drops() -> None:
    dialogue = checking() >> Disconnected("reset") << Reconnect(1, 0.0) >> ListenerChecked(1, None) << portal_tunnel()
    dialogue = dialogue >> TunnelReady(1, LISTEN) << portal_page() >> Reconnected(1) >> BrowserStarted(1, "x")
    dialogue = dialogue >> CallbackArrived(1, "granted") >> Disconnected("again") << Reconnect(1, delay_before(2))
    dialogue = dialogue >> Reconnected(1) >> CallbackDelivered(1) << CloseTunnel(1) >> TunnelEnded(1)
    dialogue = dialogue >> RemoteExited(0) << AskWhoami() << DRAIN >> WhoamiAnswered(ADA)
    assert dialogue << Succeed(ADA, already=False)


def test_before_the_cli_runs_it_is_started_anew_with_its_ports_held_anew() -> None:
    here = PortFacts(here={3128: "Squid"})
    machine = LoginMachine(plan())
    held, start = machine.begin(facts(), here)[1:3]
    assert held == HoldPorts({3128: "Squid"})
    assert Reconnect(1, 0.0) in machine.feed(Disconnected("reset"))
    assert machine.feed(Reconnected(1))[1:] == [held, start]
    assert machine.feed(RemoteStarted()) == []
    machine.feed(Disconnected("reset"))
    assert machine.feed(Reconnected(1))[1:] == [held]  # the CLI may want a second port of its list


def test_an_unanswered_question_is_not_asked_while_nobody_can_answer() -> None:
    dialogue = started() >> Disconnected("reset") << Reconnect(1, 0.0) >> UrlOpened(PORTAL) >> Reconnected(1)
    assert dialogue << CheckListener(1, 3128)
    dialogue = delivered() >> Disconnected("reset") << Reconnect(1, 0.0) >> RemoteExited(0) << DRAIN >> Reconnected(1)
    assert dialogue << AskWhoami()


def test_a_cli_that_is_gone_when_the_connection_is_back() -> None:
    dialogue = at_the_page() >> Disconnected("reset") << Reconnect(1, 0.0) >> Reconnected(1, held=False)
    dialogue = dialogue << CloseTunnel(1) << StopRemote()
    assert dialogue << Fails("KT305", "kiro-cli was gone from there when it came back; the browser had not come back")
    dialogue = exited() >> Disconnected("reset") << Reconnect(1, 0.0) >> Reconnected(1, held=False) << AskWhoami()
    assert dialogue >> WhoamiAnswered(ADA) << Succeed(ADA, already=False)


def test_a_cli_that_ends_with_its_connection_ends_the_login() -> None:
    dialogue = at_the_page() >> Disconnected("reset", resumable=False) << CloseTunnel(1) << StopRemote()
    assert dialogue << Fails("KT305", "the connection to box was lost: reset; the browser had not come back")


def test_a_callback_that_was_cut_off_is_not_sent_again_and_the_cli_shows_whether_it_arrived() -> None:
    wait = StartTimer("undelivered", INTERRUPTED_GRACE_S)
    cut = called() >> CallbackDelivered(1, ConnectionLostError("reset")) << CloseTunnel(1) << wait >> TunnelEnded(1)
    cut = cut >> Disconnected("reset") << Reconnect(1, 0.0) >> TimerFired("undelivered") >> Reconnected(1) << wait
    went_on = cut >> RemoteExited(0) << AskWhoami() << DRAIN >> WhoamiAnswered(ADA)
    assert went_on << Succeed(ADA, already=False)
    cut = called() >> CallbackDelivered(1, ConnectionLostError("reset")) << CloseTunnel(1) << wait >> TunnelEnded(1)
    cut = cut >> TimerFired("undelivered") << StopRemote()
    assert cut << Fails("KT305", "between the callback of sign-in page 1 and its answer")


def test_a_target_that_drops_again_and_again_is_given_up() -> None:
    machine = at_the_page().machine
    for drop in range(MAX_DROPS):
        assert machine.feed(Disconnected("reset"))[-1] == Reconnect(1, delay_before(drop + 1))
        machine.feed(Reconnected(1))
    assert Fails("KT305") == machine.feed(Disconnected("reset"))[-1]


@pytest.mark.parametrize(("reach", "tunnels", "running", "_"), STATES)
def test_what_breaks_ends_the_login_in_every_state(reach: Any, tunnels: int, running: bool, _: str) -> None:
    dialogue = _closing(reach() >> Broken(SessionRefusedError("no more")), tunnels=tunnels, running=running)
    assert dialogue << Fails("KT308", "no more")


def _closing(dialogue: Dialogue, *, tunnels: int, running: bool) -> Dialogue:
    for leg in range(1, tunnels + 1):
        dialogue = dialogue << CloseTunnel(leg)
    return dialogue << StopRemote() if running else dialogue


def test_after_the_end_nothing_has_an_effect() -> None:
    dialogue = exited() >> WhoamiAnswered(ADA) << Succeed(ADA, already=False)
    late: list[LoginEvent] = [
        UrlOpened(PORTAL), HostAllowed(1, True), ListenerChecked(1, True), TunnelReady(1, LISTEN),
        TunnelFailed(1, LocalPortError("late")), BrowserStarted(1, "x"), StrayRefused(1, "path"),
        CallbackArrived(1, "granted"), CallbackDelivered(1), TunnelEnded(1), Printed(UserCodeShown("ABCD-EFGH")),
        TimerFired("drain"), TimerFired("menu"), RemoteExited(1), WhoamiAnswered(None), Disconnected("x"),
        Reconnected(1), ReconnectFailed(1, SSHError("x")), RemoteStarted(), DeadlinePassed(),
        Broken(LocalPortError("late")),
    ]  # fmt: skip
    for event in late:
        dialogue = dialogue >> event
    assert dialogue
    assert dialogue.machine.phase is Phase.ENDED
    assert dialogue.machine.tunnels == frozenset()


def test_events_of_legs_that_do_not_exist_have_no_effect() -> None:
    dialogue = started()
    for event in (
        HostAllowed(7, True), ListenerChecked(7, False), TunnelReady(7, LISTEN), TunnelFailed(7, LocalPortError("x")),
        BrowserStarted(7, "x"), CallbackArrived(7, "granted"), CallbackDelivered(7), TunnelEnded(7), TimerFired("x"),
    ):  # fmt: skip
        dialogue = dialogue >> event
    assert dialogue
    assert [event.name() for event in dialogue.reports] == ["remote_cli", "login_started"]


# --- one-time codes --------------------------------------------------------------------------------------------------

OWN: Final = ("login", "--use-device-flow")


def own_mode(of: LoginPlan, found: RemoteFacts | None = None, arguments: tuple[str, ...] = OWN) -> Dialogue:
    return Dialogue(of) >> (found or facts()) << StartRemote(arguments, own_mode=True, logout_first=False)


def device_codes(dialogue: Dialogue) -> list[ev.Event]:
    return [event for event in dialogue.reports if isinstance(event, ev.DeviceCode)]


def test_kiros_own_device_flow_shows_its_page_first_and_its_code_after_it() -> None:
    dialogue = own_mode(plan(flow="device", method="google")) >> Printed(LineShown("To sign in with Google, visit:"))
    dialogue = dialogue >> Printed(UrlShown(DEVICE_PAGE)) << OpenBrowser(1, Secret(DEVICE_PAGE), "app.kiro.dev")
    dialogue = dialogue >> Printed(UserCodeShown("WDJB-MJHT")) << StartTimer("device-url", DEVICE_URL_GRACE_S)
    dialogue = dialogue >> TimerFired("device-url") >> Printed(UrlShown("https://kiro.dev/docs"))
    dialogue = dialogue >> RemoteExited(0) << AskWhoami() << DRAIN >> WhoamiAnswered(ADA) << Succeed(ADA, already=False)
    assert dialogue
    assert device_codes(dialogue) == [ev.DeviceCode(url=DEVICE_PAGE, user_code="WDJB-MJHT")]


def test_awss_device_flow_shows_its_code_first_and_its_page_after_it() -> None:
    page = "https://view.awsapps.com/start/#/device?user_code=BCDF-GHJK"
    dialogue = own_mode(plan(flow="device", method="builder-id"), arguments=(*OWN, "--license", "free"))
    dialogue = dialogue >> Printed(UserCodeShown("BCDF-GHJK")) << StartTimer("device-url", DEVICE_URL_GRACE_S)
    dialogue = dialogue >> Printed(UrlShown(page)) << OpenBrowser(1, Secret(page), "view.awsapps.com")
    dialogue = dialogue >> TimerFired("device-url")
    assert dialogue
    assert device_codes(dialogue) == [ev.DeviceCode(url=page, user_code="BCDF-GHJK")]


@pytest.mark.parametrize(
    ("start_url", "page"),
    [
        (None, "https://view.awsapps.com/start/#/device?user_code=BCDF-GHJK"),
        ("https://d-1.awsapps.com/start/", "https://d-1.awsapps.com/start/#/device?user_code=BCDF-GHJK"),
    ],
)
def test_a_code_without_a_page_gets_the_page_that_it_belongs_to(start_url: str | None, page: str) -> None:
    dialogue = started(plan(start_url=start_url)) >> Printed(UserCodeShown("BCDF-GHJK"))
    dialogue = dialogue << StartTimer("device-url", DEVICE_URL_GRACE_S) >> TimerFired("device-url")
    dialogue = dialogue << OpenBrowser(1, Secret(page), page.split("/")[2])
    assert dialogue
    assert device_codes(dialogue) == [ev.DeviceCode(url=page, user_code="BCDF-GHJK")]


def test_a_code_page_on_an_unknown_host_waits_for_a_yes_and_is_not_named_before() -> None:
    page = "https://sso.example.org/device?user_code=BCDF-GHJK"
    dialogue = started(plan(interactive=True)) >> Printed(UserCodeShown("BCDF-GHJK"))
    dialogue = dialogue << StartTimer("device-url", DEVICE_URL_GRACE_S)
    dialogue = dialogue >> Printed(UrlShown(page)) << AskAboutHost(1, "sso.example.org") >> TimerFired("device-url")
    assert device_codes(dialogue) == []
    assert dialogue >> HostAllowed(1, yes=True) << OpenBrowser(1, Secret(page), "sso.example.org")
    assert device_codes(dialogue) == [ev.DeviceCode(url=page, user_code="BCDF-GHJK")]


@pytest.mark.parametrize(
    "url",
    [
        "https://kiro.dev/docs/cli",
        "https://sso.example.org/device?user_code=ABCD-EFGH",
        "http://app.kiro.dev/account/device?user_code=ABCD-EFGH",
        "https://app.kiro.dev/changelog",
        "https://127.0.0.1/device",
    ],
)
def test_a_url_that_is_only_mentioned_is_not_opened(url: str) -> None:
    assert started(plan(interactive=True)) >> Printed(UrlShown(url))


# --- port and Enter (1.24 to 2.0) ------------------------------------------------------------------------------------


def test_port_and_enter() -> None:
    page = PORTAL.replace("3128", "49153")
    dialogue = own_mode(plan(flow="device", method="github"), facts(version=(1, 24, 0)))
    assert isinstance(dialogue.reports[-1], ev.LoginStarted)
    assert dialogue.reports[-1].flow == "callback"
    assert (
        dialogue
        >> Printed(PortShown(49153))
        >> Printed(PromptShown("enter", "Press Enter"))
        << Type("\r")
        >> Printed(UrlShown(page))
        << CheckListener(1, 49153)
        >> ListenerChecked(1, True)
        << portal_tunnel(port=49153)
        >> TunnelReady(1, ("127.0.0.1:49153", "[::1]:49153"))
        << portal_page(url=page)
    )


# --- menus and questions ---------------------------------------------------------------------------------------------

E1: Final = ("Use with Builder ID", "Use with IDC Account")
E1_CHAT: Final = ("Use for Free with Builder ID", "Use with Pro license")
E2: Final = ("Use for Free with Builder ID", "Use for Free with Google or GitHub", "Use with Pro license")
E3: Final = ("Use with Builder ID", "Use with Google", "Use with GitHub", "Use with Your Organization")


SETTLES: Final = StartTimer("menu", MENU_SETTLES_S)
LACKING: Final = StartTimer("menu", MENU_ROWS_GRACE_S)


def shows_menu(dialogue: Dialogue, rows: tuple[str, ...], kind: PromptKind = "method", active: int = 0) -> Dialogue:
    dialogue = dialogue >> Printed(PromptShown(kind, "Select")) << StartTimer("menu", MENU_SETTLES_S)
    for i, row in enumerate(rows):
        dialogue = dialogue >> Printed(MenuItemShown(row, active=i == active)) << StartTimer("menu", MENU_SETTLES_S)
    return dialogue >> TimerFired("menu")


@pytest.mark.parametrize(
    ("method", "rows", "active", "keys"),
    [
        ("builder-id", E1, 0, "\r"),
        ("idc", E1, 0, "j\r"),
        ("builder-id", E1_CHAT, 0, "\r"),
        ("idc", E1_CHAT, 0, "j\r"),
        ("builder-id", E2, 0, "\r"),
        ("google", E2, 0, "j\r"),
        ("github", E2, 0, "j\r"),
        ("idc", E2, 0, "jj\r"),
        ("builder-id", E3, 0, "\r"),
        ("google", E3, 0, "j\r"),
        ("github", E3, 0, "jj\r"),
        ("idc", E3, 0, "jjj\r"),
        ("builder-id", E3, 3, "kkk\r"),
        ("github", E3, 3, "k\r"),
        ("github", E3, 2, "\r"),
        ("google", tuple(reversed(E3)), 0, "jj\r"),
        ("github", ("Use with GitHub Enterprise", "Use with GitHub"), 0, "j\r"),
    ],
)
def test_the_menus_row_is_chosen_by_its_label(method: str, rows: tuple[str, ...], active: int, keys: str) -> None:
    assert shows_menu(started(plan(method=method)), rows, active=active) << Type(keys)


def test_a_menu_is_answered_once_however_often_it_is_drawn() -> None:
    dialogue = shows_menu(started(plan(method="google")), E3) << Type("j\r")
    for row in E3:
        dialogue = dialogue >> Printed(MenuItemShown(row, active=False)) << StartTimer("menu", MENU_SETTLES_S)
    assert dialogue >> TimerFired("menu") >> Printed(PromptShown("method", "Select")) >> TimerFired("menu")


@pytest.mark.parametrize("interactive", [True, False])
def test_a_menu_without_the_wanted_row_ends_the_login(interactive: bool) -> None:
    dialogue = shows_menu(started(plan(method="google", interactive=interactive)), E1)
    assert (
        dialogue
        << LACKING
        >> TimerFired("menu")
        << StopRemote()
        << Fails(
            "KT403", "kiro-cli on box offers no google sign-in here, only: Use with Builder ID, Use with IDC Account"
        )
    )


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_menu_that_comes_in_two_pieces_is_answered_when_it_is_whole(first: int) -> None:
    """The pieces are further apart than the rows of a menu ever are."""
    dialogue = shows_menu(started(plan(method="idc")), E3[:first])
    if first:
        dialogue = dialogue << LACKING
    for row in E3[first:]:
        dialogue = dialogue >> Printed(MenuItemShown(row, active=row == E3[0])) << SETTLES
    assert dialogue >> TimerFired("menu") << Type("jjj\r")


def test_a_menu_in_pieces_without_the_wanted_row_ends_the_login_when_no_more_of_it_comes() -> None:
    dialogue = shows_menu(started(plan(method="google")), E1[:1]) << LACKING
    dialogue = dialogue >> Printed(MenuItemShown(E1[1], active=False)) << SETTLES >> TimerFired("menu") << LACKING
    assert dialogue >> TimerFired("menu") << StopRemote() << Fails("KT403", "Use with IDC Account")


def test_the_rest_of_a_menu_is_waited_for_through_a_drop() -> None:
    dialogue = shows_menu(started(plan(method="google")), E3[:1]) << LACKING
    dialogue = dialogue >> Disconnected("reset") << Reconnect(1, 0.0)
    for _ in range(3):
        dialogue = dialogue >> TimerFired("menu") << LACKING
    dialogue = dialogue >> Reconnected(1) >> TimerFired("menu") << LACKING
    dialogue = dialogue >> Printed(MenuItemShown(E3[1], active=False)) << SETTLES
    assert dialogue >> TimerFired("menu") << Type("j\r")


def test_without_a_method_a_person_chooses_and_nobody_else() -> None:
    assert shows_menu(started(plan(interactive=True)), E3)
    assert (
        shows_menu(started(), E3)
        << StopRemote()
        << Fails("KT406", "asks how to sign in (Use with Builder ID, Use with Google, Use with GitHub, Use with Your")
    )


def test_a_menu_whose_rows_have_not_come_yet_waits() -> None:
    dialogue = started() >> Printed(PromptShown("method", "Select")) << StartTimer("menu", MENU_SETTLES_S)
    assert dialogue >> TimerFired("menu")


def test_without_a_person_the_first_profile_is_taken() -> None:
    rows = ("team-a (arn: a)", "team-b (arn: b) (active)")
    assert shows_menu(started(), rows, "profile", active=1) << Type("\r")
    assert shows_menu(started(plan(interactive=True)), rows, "profile")


@pytest.mark.parametrize(
    ("kind", "given"),
    [("start-url", {"start_url": "https://d-1.awsapps.com/start"}), ("region", {"region": "eu-west-1"})],
)
def test_a_value_that_was_given_wants_an_enter_once(kind: PromptKind, given: dict[str, str]) -> None:
    dialogue = started(plan(method="idc", **given)) >> Printed(PromptShown(kind, "Enter"))
    assert dialogue << Type("\r") >> Printed(PromptShown(kind, "Enter"))


@pytest.mark.parametrize(
    ("kind", "option"), [("start-url", "--start-url"), ("region", "--region"), ("other", "a terminal")]
)
def test_a_question_that_nobody_can_answer_ends_the_login(kind: PromptKind, option: str) -> None:
    assert started(plan(interactive=True)) >> Printed(PromptShown(kind, "Enter it"))
    assert (
        started()
        >> Printed(PromptShown(kind, "Enter it"))
        << StopRemote()
        << Fails("KT406", f"kiro-cli on box asks: Enter it; it needs {option}")
    )


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_what_the_cli_prints_of_a_secret_is_in_no_message() -> None:
    said = f"Invalid callback http://localhost:3128/oauth/callback?code=s3cr3t&state={PORTAL_STATE}"
    machine = LoginMachine(plan())
    machine.begin(facts())
    for printed in (LineShown(said), ErrorShown(said)):
        machine.feed(Printed(printed))
    machine.feed(RemoteExited(1))
    [fail] = machine.feed(WhoamiAnswered(Account(type="api-key")))
    assert isinstance(fail, Fail)
    assert fail.error.message == (
        "kiro-cli login on box ended with exit code 1: Invalid callback "
        "http://localhost:3128/oauth/callback?code=***&state=***; its whoami says API key all the same"
    )
