"""Whether the person sits at this machine or at another: facts first, then one pure decision."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Kind = Literal["ssh", "cloud", "wsl", "container", "no-display"]

_SSH_VARIABLES: Final = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
_SSH_SERVERS: Final = frozenset({"sshd", "sshd-session", "sshd-auth", "dropbear", "mosh-server", "tailscaled"})
_CLOUD: Final = {
    "CODESPACES": "a codespace",
    "GITPOD_WORKSPACE_ID": "a Gitpod workspace",
    "CLOUD_SHELL": "Cloud Shell",
    "CLOUDENV_ENVIRONMENT_ID": "a cloud environment",
}
_CONTAINER_FILES: Final = ("/.dockerenv", "/run/.containerenv")
_MAX_ANCESTORS: Final = 64


@dataclass(frozen=True, slots=True)
class Remoteness:
    """The browser is probably not on this machine."""

    kind: Kind
    words: str
    """`an SSH session`: what is said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What there is to go by."""

    environment: Mapping[str, str]
    platform: str = "linux"
    kernel: str = ""
    """The kernel's release, in lower case; empty where it is not known."""
    in_container: bool = False
    ancestors: tuple[str, ...] = field(default=())
    """The names of the processes above this one, nearest first."""


def remoteness(facts: SessionFacts) -> Remoteness | None:
    """Where the person is; None for at this machine.

    kiro-cli asks for the SSH variables and for WSL alone. A shell by `sudo -i` or `su -` has no SSH variables, but an
    SSH server above it; containers, codespaces and machines without a display have no browser either. Who sets
    $BROWSER says that pages can be opened from here; only SSH's own variables and cloud shells overrule that.
    """
    environment = facts.environment
    if any(name in environment for name in _SSH_VARIABLES):  # an empty value counts, as it does for kiro-cli
        return Remoteness("ssh", "an SSH session")
    for name, words in _CLOUD.items():
        if environment.get(name, "").lower() not in {"", "false", "0"}:
            return Remoteness("cloud", words)
    if environment.get("AWS_EXECUTION_ENV", "").strip().lower() == "cloudshell":
        return Remoteness("cloud", "AWS CloudShell")
    if environment.get("BROWSER", "").strip():
        return None
    if not _SSH_SERVERS.isdisjoint(facts.ancestors):
        return Remoteness("ssh", "an SSH session (in a shell that hides it)")
    if "microsoft" in facts.kernel or "wsl" in facts.kernel:
        return Remoteness("wsl", "WSL")
    if facts.in_container or "container" in environment or "KUBERNETES_SERVICE_HOST" in environment:
        return Remoteness("container", "a container")
    has_display = any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "MIR_SOCKET"))
    if facts.platform not in {"darwin", "win32"} and not has_display:
        return Remoteness("no-display", "a machine without a display")
    return None


def session_facts(environment: Mapping[str, str] | None = None) -> SessionFacts:
    """The facts of this process."""
    return SessionFacts(
        environment=os.environ if environment is None else environment,
        platform=sys.platform,
        kernel=_read("/proc/sys/kernel/osrelease").strip().lower(),
        in_container=any(Path(name).exists() for name in _CONTAINER_FILES),
        ancestors=tuple(_ancestors()),
    )


def _ancestors() -> list[str]:
    """By /proc, where there is one: elsewhere the other facts must do."""
    names: list[str] = []
    pid = os.getppid()
    while pid > 0 and len(names) < _MAX_ANCESTORS:
        # `pid (name) state ppid …`: the name may have parentheses and spaces of its own.
        head, _, rest = _read(f"/proc/{pid}/stat").rpartition(")")
        fields = rest.split()
        if len(fields) < 2 or not fields[1].isdecimal():
            break
        names.append(head.partition("(")[2])
        pid = int(fields[1])
    return names


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
