"""The rows of the live table: what an event changes, and which rows a small terminal shows."""

from __future__ import annotations

import pytest

from kirotunnel import events as ev
from kirotunnel.cli.live_board import Need, Row, step, visible

ACCOUNT = ev.Account(type="social", provider="Google", email="ada@example.com")


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (ev.Connecting(host="h", port=22, user="u"), (Need.WORK, "connecting")),
        (ev.Connected(host_key="k", server="s"), (Need.WORK, "looking around")),
        (ev.RemoteCli(path="/home/u/kiro-cli", version=None, signed_in=False), (Need.WORK, "asks kiro-cli")),
        (ev.LoginStarted(flow="callback"), (Need.WORK, "begins to sign in")),
        (ev.BrowserOpened(leg=1, how="xdg-open"), (Need.PERSON, "waits for you in the browser")),
        (ev.BrowserOpened(leg=2, how="xdg-open"), (Need.PERSON, "waits for you in the browser, page 2")),
        (ev.BrowserOpened(leg=1, how="printed"), (Need.PERSON, "open the address above")),
        (ev.DeviceCode(url="u", user_code="AB-CD"), (Need.PERSON, "waits for you to confirm the code AB-CD")),
        (ev.DeviceCode(url="u", user_code="A\x1b[2J"), (Need.PERSON, "waits for you to confirm the code A")),
        (ev.CallbackReceived(leg=1, outcome="granted"), (Need.WORK, "the browser came back")),
        (ev.CallbackReceived(leg=1, outcome="denied"), (Need.WORK, "denied in the browser")),
        (ev.ConnectionLost(reason="reset"), (Need.WORK, "connection lost")),
        (ev.SignedIn(account=ACCOUNT), None),
        (ev.TunnelOpened(leg=1, port=3128, listen=()), None),
    ],
)
def test_what_an_event_changes(event: ev.Event, change: tuple[Need, str] | None) -> None:
    assert step(event) == change


def rows(*needs: Need) -> list[Row]:
    return [Row(f"web{number}", need) for number, need in enumerate(needs)]


MIXED = rows(Need.NOTHING, Need.WORK, Need.PERSON, Need.START, Need.FAILED, Need.TURN, Need.NOTHING)


@pytest.mark.parametrize(
    ("lines", "shown", "rest"),
    [
        (7, ["web0", "web1", "web2", "web3", "web4", "web5", "web6"], ""),
        (6, ["web0", "web1", "web2", "web4", "web5"], "and 1 done, 1 not begun"),
        (4, ["web1", "web2", "web4"], "and 1 waiting for their turn, 2 done, 1 not begun"),
        (2, ["web2"], "and 1 failed, 1 at work, 1 waiting for their turn, 2 done, 1 not begun"),
        (0, ["web2"], "and 1 failed, 1 at work, 1 waiting for their turn, 2 done, 1 not begun"),
    ],
)
def test_who_needs_the_person_is_shown_first(lines: int, shown: list[str], rest: str) -> None:
    found, others = visible(MIXED, lines)
    assert [row.target for row in found] == shown
    assert others == rest


def test_the_seconds_of_a_row() -> None:
    assert Row("web").seconds(9.0) is None
    assert Row("web", began=2.5).seconds(9.0) == 6
    assert Row("web", began=2.5, ended=4.0).seconds(9.0) == 1
