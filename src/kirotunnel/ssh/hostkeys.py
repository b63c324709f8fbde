"""What known_hosts says of a host's key: known, unknown, changed or revoked; and writing a new one down.

asyncssh raises one and the same error for unknown, changed and revoked keys, so the difference is made here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from enum import Enum, auto
from pathlib import Path
from typing import Any

import asyncssh

from kirotunnel.errors import HostKeyUnknownError
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
        known = load((*endpoint.known_hosts_files, *endpoint.global_known_hosts_files))
        self.name = name_of(endpoint)
        """The name under which known_hosts has it: `[host]:port` where the port is another than 22."""
        of_name: list[list[Any]] = [list(found) for found in known.match(self.name, "", None)]
        trusted, authorities, revoked, *rest = of_name
        self._of_this_name = list(trusted)
        if self.name != endpoint.key_name:
            # What is known of the name without the port is trusted as well, where nothing else is known of this port.
            # It never makes another key a changed one: that is another server (sshconnect.c, check_host_key).
            types = {key.algorithm for key in trusted}
            bare_trusted, bare_authorities, bare_revoked, *_ = known.match(endpoint.key_name, "", None)
            trusted += [key for key in bare_trusted if key.algorithm not in types]
            authorities += bare_authorities
            revoked += bare_revoked
        revoked += _revoked_keys(endpoint)
        self.match: tuple[Any, ...] = (trusted, authorities, revoked, *rest)

    def standing(self, key: asyncssh.SSHKey) -> Standing:
        """How that key stands. Another key type of the same host does not make it a changed one (as in OpenSSH)."""
        trusted, _, revoked, *_ = self.match
        if key in revoked:
            return Standing.REVOKED
        if key in trusted:
            return Standing.KNOWN
        same_type = any(other.algorithm == key.algorithm for other in self._of_this_name)
        return Standing.CHANGED if same_type else Standing.UNKNOWN

    def usable(self, algorithms: Iterable[str]) -> list[str]:
        """Host key algorithms, those of known keys first, so that the server shows a key that can be checked.

        Certificates are asked for only where an authority is known that could have signed one.
        """
        trusted, authorities, *_ = self.match
        known = {name.decode() for key in trusted for name in key.sig_algorithms}

        def rank(name: str) -> int:
            return 0 if "-cert-v01" in name or name in known else 1

        return sorted((name for name in algorithms if authorities or "-cert-v01" not in name), key=rank)


def name_of(endpoint: Endpoint) -> str:
    """The endpoint's name in known_hosts."""
    standard = endpoint.port == 22 or endpoint.host_key_alias
    return endpoint.key_name if standard else f"[{endpoint.key_name}]:{endpoint.port}"


def _revoked_keys(endpoint: Endpoint) -> list[asyncssh.SSHKey]:
    """The keys of the file RevokedHostKeys. Raises HostKeyUnknownError where it cannot be told which they are."""
    file = endpoint.revoked_host_keys
    if file is None:
        return []
    hint = "RevokedHostKeys must name a list of public keys, one a line, that you can read; or leave it out"
    where = endpoint.describe()
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise HostKeyUnknownError(
            f"the host key of {where} cannot be checked against {file}: {exc.strerror}", hint
        ) from exc
    if data.startswith(b"SSHKRL\n\0"):
        raise HostKeyUnknownError(
            f"the host key of {where} cannot be checked against {file}: it is a binary list", hint
        )
    keys: list[asyncssh.SSHKey] = []
    for line in data.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(asyncssh.KeyImportError, ValueError):
            keys.append(asyncssh.import_public_key(line))
    return keys


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
    name = name_of(endpoint)
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
