"""The events of `--json`: names and fields as promised."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from kirotunnel import events as ev
from kirotunnel.events import Account, Stamped

# The public table: event, its fields.
PROMISED: Final = {
    "connecting": {"host", "port", "user", "via"},
    "connected": {"host_key", "server"},
    "remote_cli": {"path", "version", "signed_in"},
    "port_steered": {"busy", "holder", "method"},
    "login_started": {"flow"},
    "browser_requested": {"leg", "authorize_host", "redirect_port"},
    "tunnel_opened": {"leg", "port", "listen", "via"},
    "browser_opened": {"leg", "how"},
    "device_code": {"url", "user_code", "expires_in_s"},
    "request_refused": {"leg", "reason"},
    "callback_received": {"leg", "outcome"},
    "connection_lost": {"reason", "attempt"},
    "reconnected": {"reason", "attempt"},
    "tunnel_closed": {"leg", "port", "open_ms"},
    "signed_in": {"account"},
    "signed_out": {"revoked"},
    "finding": {"code", "severity", "title", "detail", "hint"},
    "failed": {"code", "exit_code", "message", "hint"},
    "result": {"ok", "targets"},
}
NOT_SENT_YET: Final = {"reconnected", "finding"}
# Readers ignore what they do not know, so there may be more.
MORE: Final = {"request_refused": {"count"}}
ADDED: Final = {"port": {"port", "state", "holders", "notes"}, "container": {"engine", "container"}}
ADDED["profile"] = {"profile", "source", "about", "programs", "arguments", "authorize_hosts", "ports"}

ADA: Final = Account(type="social", provider="Google", email="ada@example.com")
EVENTS: Final[list[tuple[ev.Event, dict[str, Any]]]] = [
    (
        ev.Connecting(host="10.0.0.1", port=22, user="ada", via=("jump:22",)),
        {"host": "10.0.0.1", "port": 22, "user": "ada", "via": ["jump:22"]},
    ),
    (
        ev.Connected(host_key="SHA256:abc", server="SSH-2.0-OpenSSH_9.2"),
        {"host_key": "SHA256:abc", "server": "SSH-2.0-OpenSSH_9.2"},
    ),
    (
        ev.Profile(
            profile="acme",
            source="built-in",
            about="",
            programs=("acme",),
            arguments="login",
            authorize_hosts=("a.example",),
            ports=(8976,),
        ),
        {
            "profile": "acme",
            "source": "built-in",
            "about": "",
            "programs": ["acme"],
            "arguments": "login",
            "authorize_hosts": ["a.example"],
            "ports": [8976],
        },
    ),
    (ev.Container(engine="docker", container="web"), {"engine": "docker", "container": "web"}),
    (
        ev.RemoteCli(path="/usr/bin/kiro-cli", version=None, signed_in=False),
        {"path": "/usr/bin/kiro-cli", "version": None, "signed_in": False},
    ),
    (
        ev.PortSteered(busy=3128, holder="squid", method="forward"),
        {"busy": 3128, "holder": "squid", "method": "forward"},
    ),
    (ev.LoginStarted(flow="callback"), {"flow": "callback"}),
    (
        ev.BrowserRequested(leg=1, authorize_host="app.kiro.dev", redirect_port=3128),
        {"leg": 1, "authorize_host": "app.kiro.dev", "redirect_port": 3128},
    ),
    (
        ev.TunnelOpened(leg=1, port=3128, listen=("127.0.0.1:3128", "[::1]:3128")),
        {"leg": 1, "port": 3128, "listen": ["127.0.0.1:3128", "[::1]:3128"], "via": "direct-tcpip"},
    ),
    (ev.BrowserOpened(leg=1, how="printed"), {"leg": 1, "how": "printed"}),
    (
        ev.DeviceCode(url="https://a.example/device", user_code="ABCD-EFGH"),
        {"url": "https://a.example/device", "user_code": "ABCD-EFGH", "expires_in_s": None},
    ),
    (ev.RequestRefused(leg=1, reason="state"), {"leg": 1, "reason": "state", "count": 1}),
    (ev.CallbackReceived(leg=1, outcome="denied"), {"leg": 1, "outcome": "denied"}),
    (ev.ConnectionLost(reason="reset", attempt=2), {"reason": "reset", "attempt": 2}),
    (ev.Reconnected(reason="reset", attempt=3), {"reason": "reset", "attempt": 3}),
    (ev.TunnelClosed(leg=1, port=3128, open_ms=1200), {"leg": 1, "port": 3128, "open_ms": 1200}),
    (
        ev.SignedIn(account=ADA),
        {
            "account": {
                "type": "social",
                "provider": "Google",
                "email": "ada@example.com",
                "start_url": None,
                "region": None,
            }
        },
    ),
    (ev.SignedOut(revoked=True), {"revoked": True}),
    (ev.Port(port=3128, state="free"), {"port": 3128, "state": "free", "holders": [], "notes": []}),
    (
        ev.Failed(code="KT501", exit_code=7, message="m", hint="h"),
        {"code": "KT501", "exit_code": 7, "message": "m", "hint": "h"},
    ),
    (
        ev.Result(ok=False, targets=(ev.TargetResult(target="box", ok=False, code="KT501"),)),
        {"ok": False, "targets": [{"target": "box", "ok": False, "code": "KT501"}]},
    ),
]


def test_every_event_is_promised_with_its_fields() -> None:
    classes = {cls.name(): {field.name for field in dataclasses.fields(cls)} for cls in ev.Event.__subclasses__()}
    known = {name: fields | MORE.get(name, set()) for name, fields in (PROMISED | ADDED).items()}
    assert classes == {name: fields for name, fields in known.items() if name in classes}
    assert set(PROMISED) - set(classes) <= NOT_SENT_YET


def test_every_event_is_tried_here() -> None:
    names = {cls.name() for cls in ev.Event.__subclasses__()}
    assert {event.name() for event, _ in EVENTS} >= names - NOT_SENT_YET


@pytest.mark.parametrize(("event", "fields"), EVENTS, ids=[event.name() for event, _ in EVENTS])
def test_a_line_has_the_leading_members_and_the_events_fields(event: ev.Event, fields: dict[str, Any]) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    line = json.loads(json.dumps(Stamped(event=event, at=at, elapsed_ms=42, target="box").to_json()))
    leading = {"v": 1, "event": event.name(), "at": "2026-01-02T03:04:05.678Z", "elapsed_ms": 42, "target": "box"}
    assert line == leading | fields
    assert list(line)[:5] == list(leading)


def test_a_line_without_a_target_says_null_and_keeps_its_offset() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    line = Stamped(event=ev.SignedOut(revoked=False), at=at, elapsed_ms=0, target=None).to_json()
    assert (line["target"], line["at"]) == (None, "2026-01-02T03:04:05.000+02:00")


IDC: Final = Account(
    type="idc", email="ada@corp.example", start_url="https://d-1.awsapps.com/start", region="eu-west-1"
)


@pytest.mark.parametrize(
    ("account", "phrase"),
    [
        (ADA, "ada@example.com (Google)"),
        (Account(type="social"), "social"),
        (Account(type="social", provider="GitHub"), "GitHub"),
        (Account(type="builder-id"), "AWS Builder ID"),
        (Account(type="builder-id", email="a@b.example"), "a@b.example (AWS Builder ID)"),
        (IDC, "ada@corp.example (IAM Identity Center, https://d-1.awsapps.com/start)"),
        (Account(type="idc"), "IAM Identity Center"),
        (Account(type="external-idp"), "organization"),
        (Account(type="api-key"), "API key"),
    ],
)
def test_an_account_is_one_phrase(account: Account, phrase: str) -> None:
    assert account.describe() == phrase


@pytest.mark.parametrize(
    ("account", "expected", "answer"),
    [
        (ADA, "ada@example.com", True),
        (ADA, " Ada@Example.COM ", True),
        (ADA, "google", True),
        (ADA, "social", True),
        (ADA, "ada", False),
        (ADA, "example.com", False),
        (ADA, "", False),
        (ADA, "None", False),
        (IDC, "https://d-1.awsapps.com/start", True),
        (IDC, "https://D-1.awsapps.com/start/", True),
        (IDC, "idc", True),
        (IDC, "eu-west-1", False),
        (IDC, "https://d-2.awsapps.com/start", False),
        (Account(type="builder-id"), "builder-id", True),
        (Account(type="builder-id"), "ada@example.com", False),
    ],
)
def test_an_account_is_the_expected_one(account: Account, expected: str, answer: bool) -> None:
    assert account.matches(expected) is answer
