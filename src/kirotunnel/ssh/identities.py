"""Which keys are offered to a server, and in which order; a locked one is unlocked when the server wants it.

Keys that somebody named come first, then the agent's: a server stops listening after a few (MaxAuthTries), and ssh's
own order, the agent first, is why a full agent needs IdentitiesOnly there.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import stat
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh

from kirotunnel.ssh.config import Endpoint
from kirotunnel.ssh.prompts import Prompts
from kirotunnel.wire.terminal import one_line

AGENT_TIMEOUT_S: Final = 5.0
"""Seconds for the agent's list of keys: it asks nobody anything for that."""
PASSPHRASE_TRIES: Final = 3
Unlock = Callable[[Path], Awaitable[asyncssh.SSHKey | None]]


class UnlockedKeys:
    """Asks for passphrases, once for each key: what was unlocked for one host serves the others as well."""

    def __init__(self) -> None:
        self._keys: dict[Path, asyncssh.SSHKey | None] = {}
        self._turns: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, path: Path, host: str, prompts: Prompts) -> asyncssh.SSHKey | None:
        """The private key; None where nobody knows the passphrase."""
        async with self._turns[path]:  # two hosts may want it at the same time
            if path not in self._keys:
                self._keys[path] = await self._ask(path, host, prompts)
            return self._keys[path]

    async def _ask(self, path: Path, host: str, prompts: Prompts) -> asyncssh.SSHKey | None:
        for _ in range(PASSPHRASE_TRIES):
            passphrase = await prompts.secret(f"Passphrase for {path} (for {host}): ")
            if passphrase is None or not passphrase.reveal():
                return None
            with contextlib.suppress(asyncssh.KeyEncryptionError, asyncssh.KeyImportError, OSError, ValueError):
                return await asyncio.to_thread(asyncssh.read_private_key, path, passphrase.reveal())
        return None


class Unlocker:
    """Unlocks keys for one connection, its jump hosts included."""

    def __init__(self, keys: UnlockedKeys | None = None) -> None:
        self._keys = keys or UnlockedKeys()
        self.in_vain: list[Path] = []
        """Keys that a server wanted, and that stayed locked."""

    async def unlock(self, path: Path, host: str, prompts: Prompts) -> asyncssh.SSHKey | None:
        """The private key; None where nobody knows the passphrase."""
        key = await self._keys.get(path, host, prompts)
        if key is None:
            self.in_vain.append(path)
        return key


class LockedKeyPair(asyncssh.SSHKeyPair):
    """A key of which only the public half is known until a server accepts it; then the passphrase is asked for."""

    _key_type = "local"

    def __init__(self, public: asyncssh.SSHKey, unlock: Callable[[], Awaitable[asyncssh.SSHKey | None]]) -> None:
        algorithm, variants = public.algorithm, public.sig_algorithms
        super().__init__(algorithm, algorithm, variants, variants, public.public_data, public.get_comment_bytes())
        self._unlock = unlock

    async def sign_async(self, data: bytes) -> bytes:
        """The signature. Raises ValueError where the key stays locked, and the next one is tried."""
        key = await self._unlock()
        if key is None:
            raise ValueError("the key stays locked")
        signature: bytes = key.sign(data, self.sig_algorithm)
        return signature


@dataclass(slots=True)
class Identities:
    """What there is to offer."""

    pairs: list[asyncssh.SSHKeyPair] = field(default_factory=list)
    """In the order in which they are offered."""
    locked: list[Path] = field(default_factory=list)
    """Keys in older formats, which show not even their public half without the passphrase: offered last."""
    exposed: list[Path] = field(default_factory=list)
    """Private keys that others may read: not used, as ssh does not."""
    agent_trouble: str | None = None
    """Why the agent could not be asked."""


@contextlib.asynccontextmanager
async def identities(endpoint: Endpoint, unlock: Unlock) -> AsyncIterator[Identities]:
    """The keys for that endpoint, while the agent's connection is open."""
    found = Identities()
    async with contextlib.AsyncExitStack() as stack:
        agent_keys: Sequence[asyncssh.SSHKeyPair] = ()
        if endpoint.identity_agent:
            try:
                async with asyncio.timeout(AGENT_TIMEOUT_S):
                    agent = await asyncssh.connect_agent(endpoint.identity_agent)
                    stack.push_async_callback(_close, agent)
                    agent_keys = await agent.get_keys()
            except TimeoutError:
                found.agent_trouble = f"the agent at {endpoint.identity_agent} does not answer"
            except (OSError, ValueError, asyncssh.Error) as exc:
                reason = one_line(getattr(exc, "strerror", None) or str(exc))
                found.agent_trouble = f"the agent at {endpoint.identity_agent} cannot be asked: {reason}"
        await asyncio.to_thread(_collect, endpoint, agent_keys, unlock, found)
        yield found


async def any_at_hand(endpoint: Endpoint) -> bool:
    """Whether there is any key to offer, be it locked."""

    async def unlock(_: Path) -> asyncssh.SSHKey | None:
        return None

    async with identities(endpoint, unlock) as found:
        return bool(found.pairs or found.locked)


def one_time_key() -> tuple[bytes, str]:
    """A new key: its private half in OpenSSH's format, and its public half as authorized_keys has it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key.export_private_key(), key.export_public_key().decode().strip()


async def _close(agent: asyncssh.SSHAgentClient) -> None:
    agent.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await agent.wait_closed()


def _collect(endpoint: Endpoint, agent_keys: Sequence[asyncssh.SSHKeyPair], unlock: Unlock, found: Identities) -> None:
    in_agent = {pair.public_data: pair for pair in agent_keys}
    certificates = _certificates(endpoint)
    from_files: list[asyncssh.SSHKeyPair] = []
    of_agent: list[asyncssh.SSHKeyPair] = []
    for path in endpoint.identity_files:
        public = _public_half(path)
        if public is not None and public.public_data in in_agent:
            of_agent.append(in_agent.pop(public.public_data))
            if endpoint.identities_named:
                from_files.append(of_agent.pop())
            continue
        pair = _pair_of(path, public, unlock, found)
        if pair is not None:
            from_files.append(pair)
    allowed = {certificate.public_data for certificate in certificates}
    for data, pair in in_agent.items():
        if not endpoint.identities_only or data in allowed:
            of_agent.append(pair)
    plain = [*from_files, *of_agent] if endpoint.identities_named else [*of_agent, *from_files]
    found.pairs = sorted([*_certified(plain, certificates), *plain], key=lambda pair: not pair.has_cert)
    if endpoint.one_time_key is not None:
        once = asyncssh.import_private_key(endpoint.one_time_key.reveal())
        found.pairs[:0] = asyncssh.load_keypairs([once])
    if found.pairs and found.pairs[-1].has_cert:
        # asyncssh 2.24 tries an RSA certificate under its second name only while another key waits behind it.
        found.pairs.append(copy.copy(found.pairs[-1]))


def _pair_of(
    path: Path, public: asyncssh.SSHKey | None, unlock: Unlock, found: Identities
) -> asyncssh.SSHKeyPair | None:
    """The key pair of a file, locked or not; None where it holds no private key that may be used."""
    if not _is_private(path):
        return None
    if _is_exposed(path):
        found.exposed.append(path)
        return None
    try:
        return asyncssh.load_keypairs([asyncssh.read_private_key(path)])[0]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as exc:
        if not (isinstance(exc, asyncssh.KeyEncryptionError) or "passphrase" in str(exc).lower()):
            return None
    except (OSError, ValueError):
        return None
    if public is None:
        found.locked.append(path)
        return None
    return LockedKeyPair(public, lambda: unlock(path))


def _certified(
    pairs: Iterable[asyncssh.SSHKeyPair], certificates: Sequence[asyncssh.SSHCertificate]
) -> list[asyncssh.SSHKeyPair]:
    """The same keys once more, each with a certificate that is about it."""
    made: list[asyncssh.SSHKeyPair] = []
    for pair in pairs:
        for certificate in certificates:
            if certificate.key.public_data == pair.key_public_data and not pair.has_cert:
                twin = copy.copy(pair)
                twin.set_certificate(certificate)
                made.append(twin)
    return made


def _certificates(endpoint: Endpoint) -> list[asyncssh.SSHCertificate]:
    """Those of CertificateFile, and those beside the keys."""
    beside = [path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub") for path in endpoint.identity_files]
    files = [*endpoint.certificate_files, *beside]
    found: dict[bytes, asyncssh.SSHCertificate] = {}
    for file in files:
        with contextlib.suppress(asyncssh.KeyImportError, OSError, ValueError):
            certificate = asyncssh.read_certificate(file)
            found.setdefault(certificate.public_data, certificate)
    return list(found.values())


def _public_half(path: Path) -> asyncssh.SSHKey | None:
    """The public key of an identity file: the file itself, the .pub beside it, or what a private key shows openly."""
    for file in (path.with_name(f"{path.name}.pub"), path):
        with contextlib.suppress(asyncssh.KeyImportError, OSError, ValueError):
            return asyncssh.read_public_key(file)
    with contextlib.suppress(asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError, ValueError):
        return asyncssh.read_private_key(path).convert_to_public()
    return None


def _is_private(path: Path) -> bool:
    try:
        return b"PRIVATE KEY" in path.read_bytes()[:16384]
    except OSError:
        return False


def _is_exposed(path: Path) -> bool:
    """Whether others may read our own private key (authfile.c, sshkey_perm_ok)."""
    if not hasattr(os, "getuid"):
        return False
    status = path.stat()
    return status.st_uid == os.getuid() and bool(stat.S_IMODE(status.st_mode) & 0o077)
