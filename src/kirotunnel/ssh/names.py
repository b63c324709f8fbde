"""The names of hosts that a person has written down: for completing one, and for finding a mistyped one."""

from __future__ import annotations

import contextlib
import difflib
import re
from pathlib import Path
from typing import Final

from kirotunnel.ssh.config_text import home, host_names

_MOST: Final = 1 << 22
"""Bytes of a known_hosts file that are looked at."""

_NEAR: Final = 0.66
"""How alike names are of which one was meant for the other: `boy` and `box` are, by two letters of three."""


def names(config_file: str | None = None) -> list[str]:
    """Aliases of the SSH config, then the names of known_hosts that are not hashed; each once."""
    found = dict.fromkeys(host_names(config_file))
    for file in (home() / ".ssh" / "known_hosts", Path("/etc/ssh/ssh_known_hosts")):
        found |= dict.fromkeys(_known(file))
    return list(found)


def similar(name: str, config_file: str | None = None) -> list[str]:
    """Names that somebody may have meant who typed this one; the likeliest first."""
    candidates = {known.lower(): known for known in reversed(names(config_file))}
    if name.lower() in candidates:
        return []
    near = difflib.get_close_matches(name.lower(), candidates, n=3, cutoff=_NEAR)
    return [candidates[found] for found in near]


def _known(file: Path) -> list[str]:
    text = ""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        text = opened.read(_MOST).decode("utf-8", "replace")
    found: list[str] = []
    for line in text.splitlines():
        patterns, _, rest = line.strip().partition(" ")
        if not rest or patterns.startswith(("#", "@", "|")):
            continue
        for pattern in patterns.split(","):
            # `[host]:2222` is typed as host:2222; an IPv6 address keeps its brackets.
            name = re.sub(r"^\[([^\]:]+)\]:", r"\1:", pattern)
            if name and not set(name) & set("*?!|"):
                found.append(name)
    return found
