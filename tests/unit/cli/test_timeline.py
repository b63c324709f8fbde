"""The picture of where the time went: its bars as a table, its text for whatever a name may hold."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import properties.conftest  # noqa: F401 - loads the profile: no clock, the same examples each time
from kirotunnel import events as ev
from kirotunnel.cli.main import cli
from kirotunnel.cli.timeline import Moment, Span, Timeline, draw, page, spans

ACCOUNT = ev.Account(type="social", provider="Google", email="ada@example.com")
LOGIN: list[tuple[int, ev.Event]] = [
    (5, ev.Connecting(host="box", port=22, user="ada")),
    (60, ev.Connected(host_key="SHA256:x", server="OpenSSH")),
    (90, ev.RemoteCli(path="/usr/bin/kiro-cli", version="2.1.0", signed_in=False)),
    (91, ev.LoginStarted(flow="callback")),
    (150, ev.BrowserRequested(leg=1, authorize_host="app.kiro.dev", redirect_port=3128)),
    (155, ev.TunnelOpened(leg=1, port=3128, listen=("127.0.0.1:3128",))),
    (160, ev.BrowserOpened(leg=1, how="xdg-open")),
    (4160, ev.CallbackReceived(leg=1, outcome="granted")),
    (4200, ev.TunnelClosed(leg=1, port=3128, open_ms=4045)),
    (4300, ev.SignedIn(account=ACCOUNT)),
]


def moments(events: list[tuple[int, ev.Event]], target: str | None = "box") -> list[Moment]:
    return [Moment(at, target, event) for at, event in events]


def test_a_login_is_cut_into_what_it_waited_for() -> None:
    assert spans(moments(LOGIN)) == [
        Span("box", "connect", "machine", 5, 60),
        Span("box", "look around", "machine", 60, 90),
        Span("box", "the CLI starts", "machine", 91, 150),
        Span("box", "page 1: check, open port", "machine", 150, 155),
        Span("box", "page 1: port 3128 open", "port", 155, 4200),
        Span("box", "page 1: you, in the browser", "person", 160, 4160),
        Span("box", "page 1: callback to the CLI", "machine", 4160, 4200),
        Span("box", "the CLI goes on, whoami", "machine", 4200, 4300),
    ]


def test_what_never_ended_is_said_so() -> None:
    failed = ev.Failed(code="KT701", exit_code=9, message="late", hint="again")
    (waiting,) = [s for s in spans(moments([*LOGIN[:7], (9000, failed)])) if s.kind == "person"]
    assert waiting == Span("box", "page 1: you, in the browser", "person", 160, 9000, whole=False)
    assert "KT701" in draw(moments([*LOGIN[:7], (9000, failed)]))


def test_targets_are_told_apart() -> None:
    both = sorted(moments(LOGIN, "web1") + moments(LOGIN, "web2"), key=lambda moment: moment.at_ms)
    found = spans(both)
    assert [s.target for s in found] == ["web1"] * 8 + ["web2"] * 8


def test_the_one_time_code_is_not_in_the_picture() -> None:
    code = ev.DeviceCode(url="https://device.example/?user_code=ABCD-EFGH", user_code="ABCD-EFGH")
    shown = moments([*LOGIN[:4], (150, code), (900, ev.SignedIn(account=ACCOUNT))])
    assert [s.label for s in spans(shown)][-1] == "you, confirming the code"
    for text in (draw(shown), page(shown)):
        assert "ABCD" not in text
        assert "ada@example.com" not in text


@given(st.text(), st.lists(st.integers(0, 10**7), min_size=len(LOGIN), max_size=len(LOGIN)))
def test_it_is_well_formed_whatever_a_target_is_called(name: str, times: list[int]) -> None:
    shown = [Moment(at, name, event) for at, (_, event) in zip(sorted(times), LOGIN, strict=True)]
    ET.fromstring(draw(shown))
    ET.fromstring(page(shown).replace("<!doctype html>", "").replace('<meta charset="utf-8">', ""))


@pytest.mark.parametrize("name", ["where.svg", "where.html", "WHERE.SVG"])
def test_the_file_is_whole_and_alone(tmp_path: Path, name: str) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    timeline = Timeline(place / name)
    note = timeline.of("box")
    for _, event in LOGIN:
        note(event)
    timeline.write()
    assert [file.name for file in place.iterdir()] == [name]
    assert "signed in" in (place / name).read_text("utf-8")


@pytest.mark.parametrize("name", ["where.png", "where", "none/where.svg"])
def test_a_name_that_cannot_be_is_refused_before_anything_begins(tmp_path: Path, name: str) -> None:
    ran = CliRunner().invoke(cli, ["login", "box", "--dry-run", "--timeline", str(tmp_path / name)])
    assert ran.exit_code == 2
    assert "--timeline" in ran.stderr
