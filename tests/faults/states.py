"""The states of a login at which a fault can hit, each with the moment by which one knows that it is there.

Moments are words that `login_under_test` hears while a login runs: an event of kirotunnel (`browser_opened 1`, with the
leg where it has one), or something that the scene itself sees of the way, the remote or the terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class State:
    """One column of the matrix."""

    key: str
    heading: str
    """A word for the table."""
    meaning: str
    moment: str
    """What is heard when the login is there."""
    method: str = "google"
    flow: str = "auto"
    busy_ports: tuple[int, ...] = ()
    """Ports of this machine that somebody else has."""
    password: bool = False
    """Whether the server wants a password, which a person is asked for."""
    gate: str | None = None
    """The command of the remote CLI that does not go on before the fault has hit: `whoami` or `login`."""
    gate_from: str | None = None
    """The moment from which on the gate is closed; None from the beginning."""
    hesitates: int | None = None
    """The leg at which the person at the browser waits for the fault."""
    cli_pauses: bool = False
    """Whether the CLI leaves the callback lying in its listener until the fault has hit."""
    cli: dict[str, str] = field(default_factory=dict)
    """Variables of the stand-in CLI."""
    at_latest: str | None = None
    """What is heard before the moment where the CLI on the remote is quicker than we are here: it will do as well."""


CONNECTING: Final = State("connecting", "connect", "TCP is connected, no byte has passed", "way accepted")
HANDSHAKE: Final = State(
    "handshake", "handshake", "the server has said its version, keys are exchanged", "way answered"
)
AUTHENTICATION: Final = State(
    "authentication", "auth", "the person is asked for a password", "password asked", password=True
)
PREFLIGHT: Final = State(
    "preflight", "look", "the control shell asks the CLI who is signed in", "gate whoami", gate="whoami"
)
STEERING: Final = State(
    "steering", "steer", "ports that are busy here are held there", "port_steered", busy_ports=(3128, 4649)
)
STARTED: Final = State(
    "started", "start", "the CLI's login runs and has asked for nothing yet", "gate login", gate="login"
)
PAGE: Final = State("page", "page", "the CLI wants its page opened", "browser_requested 1")
WAITING: Final = State(
    "waiting", "wait", "the tunnel is open, the browser too, and the person reads", "browser_opened 1", hesitates=1
)
CALLBACK: Final = State(
    "callback", "callback", "the browser has come back, the callback goes out", "callback_received 1"
)
ANSWERING: Final = State(
    "answering", "answer", "the CLI's listener has the callback and has not answered", "callback there", cli_pauses=True
)
BETWEEN: Final = State(
    "between",
    "between",
    "the first page is done, the CLI has not asked for the second",
    "tunnel_closed 1",
    "builder-id",
    at_latest="browser_requested 2",
)
SECOND: Final = State(
    "second", "leg 2", "as `wait`, for the second page on its own port", "browser_opened 2", "builder-id", hesitates=2
)
PROMPT: Final = State(
    "prompt",
    "prompt",
    "the CLI's menu is open on the terminal",
    "menu drawn",
    "idc",
    cli={"KIRO_STANDIN_PROFILES": '[["one", "arn:aws:x:1"], ["two", "arn:aws:x:2"]]'},
)
DEVICE: Final = State(
    "device",
    "code",
    "a one-time code is shown, and not confirmed yet",
    "device_code",
    "builder-id",
    "device",
    hesitates=1,
)
CONFIRMING: Final = State(
    "confirming", "whoami", "the CLI has ended and is asked who is signed in", "gate whoami", gate="whoami",
    gate_from="login_started",
)  # fmt: skip
CLEANING: Final = State("cleaning", "clean up", "signed in; what was made there is being removed", "signed_in")

STATES: Final = (
    CONNECTING, HANDSHAKE, AUTHENTICATION, PREFLIGHT, STEERING, STARTED, PAGE, WAITING, CALLBACK, ANSWERING, BETWEEN,
    SECOND, PROMPT, DEVICE, CONFIRMING, CLEANING,
)  # fmt: skip
