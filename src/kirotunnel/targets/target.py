"""What the person typed as a target, read into what it names. No I/O."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from kirotunnel.errors import TargetError

_INSTANCE: Final = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
# OpenSSH refuses most shell metacharacters in names: ProxyCommand and Match exec see them (ssh.c, valid_hostname).
_FORBIDDEN: Final = re.compile(r"[\s'`\"$\\;&<>|(){}\x00-\x1f\x7f]")
_PORT_TAIL: Final = re.compile(r"(?P<host>[^:\[\]]+|\[[^\[\]]+\]):(?P<port>[0-9]+)")
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class SSHTarget:
    """A name or address that ssh understands."""

    text: str
    """As typed; the name under which it is reported."""
    destination: str
    """What `ssh` gets: NAME, user@host, or ssh://user@host:port."""
    instance: str | None = None
    """The EC2 instance ID that the host's name is."""
    user: str | None = None
    """The user in front of an instance ID."""


def parse_target(text: str) -> SSHTarget:
    """Read `NAME`, `[user@]host[:port]`, `ssh://[user@]host[:port]` or `[user@][v6addr]:port`.

    Raises TargetError for what is none of these.
    """
    rest = text.removeprefix("ssh://")
    is_uri = rest != text
    if is_uri:
        rest = rest.removesuffix("/")
    user, at, host = rest.rpartition("@")
    if not host or host.startswith("-") or user.startswith("-") or (at and not user) or _FORBIDDEN.search(rest):
        raise TargetError(f"{text!r} is no target")
    if "/" in host:
        raise TargetError(f"{text!r} is no target: it has a path")
    port = ""
    if tail := _PORT_TAIL.fullmatch(host):
        host, port = tail["host"], tail["port"].lstrip("0")
        if len(port) > 5 or not 0 < int(port or 0) <= _MAX_PORT:
            raise TargetError(f"{text!r} has a port that does not exist")
    if "[" in host or "]" in host:
        if not (host.startswith("[") and host.endswith("]") and _is_v6(host[1:-1])):
            raise TargetError(f"{text!r} has an address that cannot be read")
    elif ":" in host and (is_uri or not _is_v6(host)):
        raise TargetError(f"{text!r} has a port that cannot be read")
    destination = f"ssh://{user}{at}{host}:{port}" if port else f"{user}{at}{host.strip('[]')}"
    instance = host if _INSTANCE.fullmatch(host) else None
    return SSHTarget(text, destination, instance=instance, user=(user or None) if instance else None)


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
