"""What known_hosts says of a host's key: known, unknown, changed or revoked; and writing a new one down.

asyncssh raises one and the same error for unknown, changed and revoked keys, so the difference is made here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from enum import Enum, auto
from pathlib import Path
from typing import Any

import asyncssh

from kirotunnel.ssh.config import Endpoint


class Standing(Enum):
    """What known_hosts says of a key that a host shows."""

    KNOWN = auto()
    UNKNOWN = auto()
    CHANGED = auto()
    REVOKED = auto()


class KnownHosts:
    """The entries of an endpoint's known_hosts files that are about it."""

    def __init__(self, endpoint: Endpoint) -> None:
        files = (*endpoint.known_hosts_files, *endpoint.global_known_hosts_files)
        self._known = load(files)
        port = None if endpoint.port == 22 or endpoint.host_key_alias else endpoint.port
        self.match: tuple[Any, ...] = self._known.match(endpoint.key_name, "", port)

    def standing(self, key: asyncssh.SSHKey) -> Standing:
        """How that key stands. Another key type of the same host does not make it a changed one (as in OpenSSH)."""
        trusted, _, revoked, *_ = self.match
        if key in revoked:
            return Standing.REVOKED
        if key in trusted:
            return Standing.KNOWN
        same_type = any(other.algorithm == key.algorithm for other in trusted)
        return Standing.CHANGED if same_type else Standing.UNKNOWN

    def preferred_first(self, algorithms: Iterable[str]) -> list[str]:
        """Host key algorithms with those of known keys in front, so that the server shows a key that can be checked."""
        trusted, authorities, *_ = self.match
        known = {name.decode() for key in trusted for name in key.sig_algorithms}
        certificates = bool(authorities)

        def rank(name: str) -> int:
            is_certificate = "-cert-v01" in name
            return 0 if (is_certificate and certificates) or (name in known and not is_certificate) else 1

        return sorted(algorithms, key=rank)


def load(files: Iterable[Path]) -> asyncssh.SSHKnownHosts:
    """The entries of all files that can be read; lines that make no sense are passed over, as OpenSSH does."""
    good: list[str] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        good += [line for line in text.splitlines() if _makes_sense(line)]
    return asyncssh.import_known_hosts("\n".join(good))


def _makes_sense(line: str) -> bool:
    try:
        asyncssh.import_known_hosts(line)
    except ValueError:
        return False
    return True


def remember(endpoint: Endpoint, key: asyncssh.SSHKey) -> Path | None:
    """Write the key where OpenSSH would: to the first of UserKnownHostsFile, hashed where HashKnownHosts says so.

    Returns the file, or None where there is none or it cannot be written; then the key counts for this time only.
    """
    file = next(iter(endpoint.known_hosts_files), None)
    if file is None or str(file) == os.devnull:
        return None
    standard = endpoint.port == 22 or endpoint.host_key_alias
    name = endpoint.key_name if standard else f"[{endpoint.key_name}]:{endpoint.port}"
    line = f"{_hashed(name) if endpoint.hash_known_hosts else name} {key.export_public_key().decode().strip()}\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        needs_newline = file.exists() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as out:
            out.write(("\n" if needs_newline else "") + line)
    except OSError:
        return None
    return file


def _hashed(name: str) -> str:
    salt = secrets.token_bytes(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()  # OpenSSH's format knows no other
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
