"""The facts that doctor looks at: gathered, not judged. Nothing is changed, and no callback port is connected to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kirotunnel import __version__
from kirotunnel.diagnose.ports import PortFacts, look_at_ports
from kirotunnel.errors import KirotunnelError
from kirotunnel.local.browser import default_commands
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.profiles.profile import Profile
from kirotunnel.ssh.container import ContainerSession
from kirotunnel.ssh.control import ControlShell
from kirotunnel.ssh.forwards import forwards_to_here, forwards_to_target
from kirotunnel.ssh.session import Session
from kirotunnel.targets.options import TargetOptions
from kirotunnel.wire.examined import Examined, read_examined
from kirotunnel.wire.terminal import one_line

_COMMAND_S: Final = 5.0
REGION: Final = "us-east-1"
"""Where Builder ID is, and most organizations are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineOptions(TargetOptions):
    """A target to look at, how it is reached, and for which CLI."""

    cli: str = "kiro-cli"


@dataclass(frozen=True, slots=True, kw_only=True)
class HereFacts:
    """This machine."""

    versions: tuple[str, ...]
    browsers: tuple[str, ...]
    """Commands that would open a page; empty where none would."""
    localhost: tuple[str, ...]
    """The addresses that the name has."""
    has_ipv6: bool
    ports: PortFacts
    ssh: str | None
    """OpenSSH's version; None where it is missing."""
    ssh_config_error: str | None
    """What ssh complains of in the user's own config."""
    agent_keys: int | None
    """Keys in the agent; None where no agent is set, -1 where it does not answer."""
    keyring: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardFacts:
    """What the server lets us do, by having tried it."""

    to_target: bool
    to_here: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThereFacts:
    """A target that was reached."""

    server: str
    user: str
    forwards: ForwardFacts | None
    """None where there is nothing to try: only commands go into a container."""
    examined: Examined
    clock_ahead_s: float | None
    """How much its clock is ahead of ours."""


def probe_here(profile: Profile) -> HereFacts:
    """Look at this machine. Takes some 200 ms: call it from a thread."""
    return HereFacts(
        versions=(f"kirotunnel {__version__}", f"Python {platform.python_version()}", _system()),
        browsers=tuple(
            command[0] for command in default_commands(os.environ, sys.platform) if shutil.which(command[0])
        ),
        localhost=_addresses("localhost"),
        has_ipv6=_can_bind(socket.AF_INET6, "::1"),
        ports=look_at_ports(profile.ports),
        ssh=_said("ssh", "-V").partition(",")[0].strip() or None,
        ssh_config_error=_ssh_config_error(),
        agent_keys=_agent_keys(),
        keyring=_has_keyring(),
    )


async def look_there(session: Session, *, cli: str, profile: Profile) -> ThereFacts:
    """Everything there is to know of a target, in three round trips: the channel, the shell, and all questions."""
    shell = ControlShell(session)
    try:
        forwards, (examined, ahead) = await asyncio.gather(
            _try_forwards(session), _examine(shell, cli=cli, profile=profile)
        )
    finally:
        shell.let_go()
    return ThereFacts(
        server=session.server,
        user=session.where,
        forwards=forwards,
        examined=examined,
        clock_ahead_s=ahead,
    )


async def _examine(shell: ControlShell, *, cli: str, profile: Profile) -> tuple[Examined, float | None]:
    before = time.time()
    examined = read_examined(await shell.examine(cli=cli, profile=profile, hosts=sign_in_hosts()))
    after = time.time()
    if examined.seconds is None:
        return examined, None
    # Its clock was read at some moment between: only what lies outside is a difference.
    ahead = examined.seconds - after if examined.seconds > after else min(0.0, examined.seconds + 1 - before)
    return examined, ahead


async def _try_forwards(session: Session) -> ForwardFacts | None:
    if isinstance(session, ContainerSession):
        return None
    to_target, to_here = await asyncio.gather(forwards_to_target(session), forwards_to_here(session))
    return ForwardFacts(to_target=to_target, to_here=to_here)


def sign_in_hosts() -> Sequence[str]:
    """The services that the CLI itself must reach, by their origin."""
    try:
        endpoints = Endpoints.of(os.environ)
    except KirotunnelError:
        endpoints = Endpoints()
    urls = [endpoints.auth_service, endpoints.aws(REGION)]
    return list(dict.fromkeys("/".join(url.split("/")[:3]) for url in urls))


# --- this machine ----------------------------------------------------------------------------------------------------


def _system() -> str:
    return f"{platform.system()} {platform.release()}"


def _addresses(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(row[4][0]) for row in found))


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((address, 0))
        return True
    return False


def _ssh_config_error() -> str | None:
    try:
        # Asked for a name that nobody has an entry for, it reads the files and connects to nothing.
        command = ["ssh", "-G", "kirotunnel.invalid"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return one_line(done.stderr) if done.returncode else None


def _agent_keys() -> int | None:
    if not os.environ.get("SSH_AUTH_SOCK"):
        return None
    try:
        done = subprocess.run(["ssh-add", "-l"], capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return -1
    return {0: len(done.stdout.splitlines()), 1: 0}.get(done.returncode, -1)


def _has_keyring() -> bool:
    from kirotunnel.local.keyring_vault import find_keyring

    return find_keyring() is not None


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
