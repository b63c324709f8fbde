"""What a login reports while it runs: the events of `--json` and of the library's `on_event`.

Field names and values are promised; readers ignore events and fields that they do not know. No event holds an
authorization code, a state, a verifier, a token or a password; `DeviceCode.user_code` is there for a person to read.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

VERSION = 1
"""`v` of each JSON line."""

Outcome = Literal["granted", "denied"]
RefusalReason = Literal["path", "state", "host", "method", "malformed", "idle"]
AccountType = Literal["social", "builder-id", "idc", "external-idp", "api-key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who is signed in, as far as the CLI says."""

    type: AccountType | None
    """None where the CLI names a kind of account that is not known here."""
    provider: str | None = None
    email: str | None = None
    start_url: str | None = None
    region: str | None = None

    def describe(self) -> str:
        """One phrase for a person: `ada@example.com (Google)`."""
        kinds = {
            "builder-id": "AWS Builder ID",
            "idc": "IAM Identity Center",
            "external-idp": "organization",
            "api-key": "API key",
        }
        kind = self.provider or kinds.get(self.type or "") or self.type or "an account of an unknown kind"
        if self.type == "idc" and self.start_url:
            kind = f"{kind}, {self.start_url}"
        return f"{self.email} ({kind})" if self.email else kind

    def matches(self, expected: str) -> bool:
        """Whether `--expect` names this account: by e-mail, type, provider or start URL, in any case."""
        wanted = expected.strip().rstrip("/").casefold()
        known = (self.email, self.type, self.provider, self.start_url)
        return wanted in {value.rstrip("/").casefold() for value in known if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    @classmethod
    def name(cls) -> str:
        """The name in JSON: the class name in snake_case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting(Event):
    """A connection to the target is being made."""

    host: str
    port: int
    user: str
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """The server proved its key and accepted ours."""

    host_key: str
    """`SHA256:…` as ssh prints it."""
    server: str
    """The server's own version line, as it sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(Event):
    """The container was found and entered."""

    engine: str
    """`docker`, `podman`, `nerdctl` or `kubectl`."""
    container: str
    """Its name as the engine has it; of a pod `NAMESPACE/NAME/CONTAINER`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCli(Event):
    """The look around on the target is done."""

    path: str
    version: str | None
    signed_in: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSteered(Event):
    """A callback port that is busy here is being held on the target, so that the CLI takes another."""

    busy: int
    holder: str
    """Who has it here."""
    method: str
    """How it is held there: `forward`, `second-connection`, or `exec:` and the program that does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStarted(Event):
    """The remote CLI's login runs."""

    flow: Literal["callback", "device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserRequested(Event):
    """The remote CLI wants a URL opened; the URL itself goes to the person only."""

    leg: int
    authorize_host: str
    redirect_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelOpened(Event):
    """Both loopback listeners of a leg stand."""

    leg: int
    port: int
    listen: tuple[str, ...]
    """`ADDR:PORT`, v6 addresses in brackets."""
    via: Literal["direct-tcpip", "exec"] = "direct-tcpip"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserOpened(Event):
    """The browser was started with the URL, or the URL only printed."""

    leg: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode(Event):
    """A one-time code for the person to confirm."""

    url: str
    user_code: str
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Event):
    """Stray connections were answered here and did not reach the remote."""

    leg: int
    reason: RefusalReason
    count: int = 1
    """How many since the last report of that leg and reason: more than one only where there are very many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackReceived(Event):
    """The browser came back with the answer of the sign-in."""

    leg: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost(Event):
    """The SSH connection dropped."""

    reason: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected(Event):
    """The SSH connection is back, and the login goes on."""

    reason: str
    """Why it was lost."""
    attempt: int
    """How many it took, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelClosed(Event):
    """The local port is free again."""

    leg: int
    port: int
    open_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn(Event):
    """The CLI's own whoami names the account."""

    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOut(Event):
    """The session is gone here; `revoked` says whether it is at the service too."""

    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOwner:
    """A process that holds a port of this machine."""

    addresses: tuple[str, ...]
    """Where it listens, or has its end of a connection."""
    pid: int | None
    program: str | None
    user: str | None
    since: str | None
    """RFC 3339."""
    command: str
    """Its command line, shortened and without secrets."""
    what: str
    advice: str
    stale: bool
    """`ports --free` may end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Event):
    """What `ports` finds out about one port."""

    port: int
    state: Literal["free", "shared", "held", "reserved"]
    """`shared`: a login of this user has it, and another may have it, too."""
    holders: tuple[PortOwner, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Event):
    """What `profiles` says of one command-line tool."""

    profile: str
    """Its name."""
    source: str
    """`built-in`, or the user's own file."""
    about: str
    programs: tuple[str, ...]
    arguments: str
    """A regular expression that its logins' command lines are known by; empty for all of its commands."""
    authorize_hosts: tuple[str, ...]
    ports: tuple[int, ...]
    """Empty where it chooses any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Event):
    """Something that doctor found."""

    code: str
    severity: Literal["error", "warning", "info"]
    title: str
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """It did not work; the fields are those of the error."""

    code: str
    exit_code: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """How it ended for one target."""

    target: str | None
    ok: bool
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Event):
    """The last line, always."""

    ok: bool
    targets: tuple[TargetResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """An event with when and for whom it happened."""

    event: Event
    at: datetime
    """Aware, UTC."""
    elapsed_ms: int
    """Milliseconds since the command began, by the monotonic clock."""
    target: str | None

    #: order of the leading members of a JSON line
    LEADING: ClassVar[tuple[str, ...]] = ("v", "event", "at", "elapsed_ms", "target")

    def to_json(self) -> dict[str, Any]:
        """The object of one `--json` line."""
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        leading = dict(zip(self.LEADING, (VERSION, self.event.name(), at, self.elapsed_ms, self.target), strict=True))
        return leading | dataclasses.asdict(self.event)
