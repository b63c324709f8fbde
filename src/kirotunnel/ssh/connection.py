"""One SSH connection to a target, by asyncssh: made, checked, and translated into our own errors.

Nothing of ours travels along: no agent or X11 forwarding, no environment, none of the config's LocalForward,
RemoteForward or RemoteCommand.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs

from kirotunnel.errors import (
    AuthenticationFailedError,
    CallbackUndeliveredError,
    ConnectionLostError,
    ConnectTimedOutError,
    ForwardingRefusedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    HostNotFoundError,
    SessionRefusedError,
    SSHError,
)
from kirotunnel.ssh.config import Endpoint
from kirotunnel.ssh.hostkeys import KnownHosts, Standing, remember
from kirotunnel.ssh.prompts import Prompts
from kirotunnel.wire.terminal import one_line

CONNECT_TIMEOUT_S: Final = 30.0
"""Seconds to the end of the key exchange, where ConnectTimeout says nothing else."""
LOGIN_TIMEOUT_S: Final = 300.0
"""Seconds for authentication: a person may be looking for a second factor."""
KEEPALIVE_S: Final = 15.0
"""Seconds between keepalives, where ServerAliveInterval says nothing else: without, a dead link is never noticed."""
PASSWORD_TRIES: Final = 3

_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


class SSHSession:
    """An authenticated connection; `async with connect(...)` makes and closes it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, endpoint: Endpoint, lost: asyncio.Future[str]) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.lost = lost
        """Done when the connection is gone, with the reason."""

    @property
    def host_key(self) -> str:
        """`SHA256:…` of the server's key."""
        key = self.connection.get_server_host_key()
        return key.get_fingerprint() if key is not None else ""

    @property
    def server(self) -> str:
        """The server's version line."""
        return one_line(str(self.connection.get_extra_info("server_version", "")), 120)

    async def start(self, command: str, **options: Any) -> asyncssh.SSHClientProcess[bytes]:
        """Run a command on a channel of its own. Raises SessionRefusedError or ConnectionLostError."""
        for attempt in (1, 2):
            try:
                return await self.connection.create_process(command, encoding=None, **options)
            except asyncssh.ChannelOpenError as exc:
                # Dropbear refuses a session opened right after another was closed, about every eighth time.
                if attempt == 2 or "PTY" in exc.reason:
                    where = self.endpoint.describe()
                    raise SessionRefusedError(f"{where} does not start a session: {one_line(exc.reason)}") from exc
                await asyncio.sleep(0.03)
            except (asyncssh.Error, OSError) as exc:
                raise self._gone(exc) from exc
        raise AssertionError("unreachable")

    async def dial(self, port: int) -> ChannelStream:
        """One connection to 127.0.0.1:port of the target, the literal address that kiro-cli binds.

        Raises CallbackUndeliveredError where nothing listens, ForwardingRefusedError where the server forbids it.
        """
        where = self.endpoint.describe()
        try:
            reader, writer = await self.connection.open_connection("127.0.0.1", port)
        except asyncssh.ChannelOpenError as exc:
            if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise ForwardingRefusedError(f"{where} forbids forwarding to its port {port}") from exc
            raise CallbackUndeliveredError(f"nothing takes the callback on port {port} of {where} any more") from exc
        except (asyncssh.Error, OSError) as exc:
            raise self._gone(exc) from exc
        return ChannelStream(reader, writer)

    def _gone(self, cause: BaseException) -> ConnectionLostError:
        return ConnectionLostError(f"the connection to {self.endpoint.describe()} was lost: {one_line(str(cause))}")


class ChannelStream:
    """A direct-tcpip channel (RFC 4254 §7.2) as a plain byte stream."""

    def __init__(self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end. Raises OSError when the connection breaks."""
        try:
            return await self._reader.read(limit)
        except asyncssh.Error as exc:
            raise ConnectionResetError(str(exc)) from exc

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError when the connection breaks."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except asyncssh.Error as exc:
            raise ConnectionResetError(str(exc)) from exc

    async def close(self) -> None:
        """Close the channel; never raises."""
        with contextlib.suppress(asyncssh.Error, OSError):
            self._writer.close()


class _Client(asyncssh.SSHClient):
    """asyncssh's questions about one connection: the host's key, the person's secrets, its end."""

    def __init__(self, endpoint: Endpoint, prompts: Prompts, accepted: asyncssh.SSHKey | None) -> None:
        self._endpoint = endpoint
        self._prompts = prompts
        self._accepted = accepted
        self.shown_key: asyncssh.SSHKey | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._passwords_left = PASSWORD_TRIES
        self._locked = locked_keys(endpoint)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        # Called for unknown, changed and revoked keys alike: the key is only noted, and judged by the caller.
        self.shown_key = key
        return key == self._accepted

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(str(exc) if exc else "closed")

    async def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        while self._locked:
            path = self._locked.pop(0)
            for _ in range(PASSWORD_TRIES):
                passphrase = await self._prompts.secret(f"Passphrase for {path} (for {self._endpoint.describe()}): ")
                if passphrase is None or not passphrase.reveal():
                    break
                try:
                    return asyncssh.read_private_key(path, passphrase.reveal())
                except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError):
                    continue
        return None

    async def password_auth_requested(self) -> str | None:
        if self._passwords_left <= 0:
            return None
        self._passwords_left -= 1
        password = await self._prompts.secret(f"Password for {self._endpoint.describe()}: ")
        return password.reveal() if password else None

    def kbdint_auth_requested(self) -> str:
        return ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        answers: list[str] = []
        intro = one_line(f"{name} {instructions}")
        for text, echo in prompts:
            question = f"({self._endpoint.describe()}) {intro} {one_line(text)} ".replace("  ", " ")
            if echo:
                answer = await self._prompts.answer(question)
            else:
                hidden = await self._prompts.secret(question)
                answer = hidden.reveal() if hidden else None
            if answer is None:
                return None
            answers.append(answer)
        return answers


@contextlib.asynccontextmanager
async def connect(endpoint: Endpoint, prompts: Prompts, tell: Callable[[str], None]) -> AsyncIterator[SSHSession]:
    """Connect through the endpoint's jumps, and close all of it in the end.

    `tell` gets a sentence for the person where a host's key was added. Raises SSHError and its kin (KT3xx) and
    HostNotFoundError (KT202).
    """
    async with contextlib.AsyncExitStack() as stack:
        tunnel: asyncssh.SSHClientConnection | None = None
        for hop in endpoint.jumps:
            tunnel = (await _connect_one(hop, tunnel, prompts, tell)).connection
            stack.push_async_callback(_close, tunnel)
        session = await _connect_one(endpoint, tunnel, prompts, tell)
        stack.push_async_callback(_close, session.connection)
        yield session


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await connection.wait_closed()
            return
    connection.abort()


async def _connect_one(
    endpoint: Endpoint, tunnel: asyncssh.SSHClientConnection | None, prompts: Prompts, tell: Callable[[str], None]
) -> SSHSession:
    known = await asyncio.to_thread(KnownHosts, endpoint)
    options = await asyncio.to_thread(_connect_options, endpoint, known)
    client = _Client(endpoint, prompts, accepted=None)
    try:
        return await _attempt(endpoint, tunnel, client, options)
    except _HostKeyRefused as refused:
        if client.shown_key is None:
            raise SSHError(f"{endpoint.describe()} shows a host key that cannot be checked: {refused}") from refused
    accepted = await _judge_host_key(endpoint, known, client.shown_key, prompts)
    file = await asyncio.to_thread(remember, endpoint, accepted)
    tell(f"added the {_key_type(accepted)} key of {endpoint.key_name} {f'to {file}' if file else 'for this time only'}")
    try:
        return await _attempt(endpoint, tunnel, _Client(endpoint, prompts, accepted), options)
    except _HostKeyRefused as refused:
        raise HostKeyChangedError(f"{endpoint.describe()} shows another host key than a moment ago") from refused


async def _attempt(
    endpoint: Endpoint, tunnel: asyncssh.SSHClientConnection | None, client: _Client, options: dict[str, Any]
) -> SSHSession:
    with _translated(endpoint):
        connection = await asyncssh.connect(
            endpoint.host, endpoint.port, tunnel=tunnel, client_factory=lambda: client, **options
        )
    return SSHSession(connection, endpoint, client.lost)


async def _judge_host_key(
    endpoint: Endpoint, known: KnownHosts, key: asyncssh.SSHKey, prompts: Prompts
) -> asyncssh.SSHKey:
    """The key, once it may be trusted. Raises HostKeyChangedError or HostKeyUnknownError."""
    shown = f"{_key_type(key)} {key.get_fingerprint()}"
    standing = known.standing(key)
    name = endpoint.key_name if endpoint.port == 22 else f"[{endpoint.key_name}]:{endpoint.port}"
    if standing is Standing.REVOKED:
        raise HostKeyChangedError(f"the host key of {name} ({shown}) is marked as revoked in known_hosts")
    if standing is Standing.CHANGED:
        hint = f"ask who runs the machine; if the change is right, remove the old key with `ssh-keygen -R '{name}'`"
        raise HostKeyChangedError(f"the host key of {name} has changed: it shows {shown} now", hint)
    if endpoint.strict_host_key_checking in {"accept-new", "no"}:
        return key
    unknown = HostKeyUnknownError(f"the host key of {name} is not known: it shows {shown}")
    if endpoint.strict_host_key_checking == "yes":
        raise unknown
    question = f"The host key of {name} is not known. It shows {shown}\nConnect and remember this key?"
    if not await prompts.confirm(question):
        raise unknown
    return key


def _key_type(key: asyncssh.SSHKey) -> str:
    return key.get_algorithm().removeprefix("ssh-").upper()


# --- options ---------------------------------------------------------------------------------------------------------


def _connect_options(endpoint: Endpoint, known: KnownHosts) -> dict[str, Any]:
    interval = endpoint.alive_interval_s or KEEPALIVE_S
    options: dict[str, Any] = {
        "config": None,  # `ssh -G` has read it; asyncssh's own reading would be a second truth
        "username": endpoint.user,
        "known_hosts": lambda _host, _addr, _port: known.match,
        "host_key_alias": endpoint.host_key_alias,
        "client_keys": _client_keys(endpoint),
        "client_certs": [str(path) for path in endpoint.certificate_files],
        "agent_path": endpoint.identity_agent,
        "agent_identities": _public_keys(endpoint) if endpoint.identities_only else None,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "send_env": None,
        "connect_timeout": endpoint.connect_timeout_s or CONNECT_TIMEOUT_S,
        "login_timeout": LOGIN_TIMEOUT_S,
        "keepalive_interval": interval,
        "keepalive_count_max": endpoint.alive_count,
        "family": {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(endpoint.address_family, socket.AF_UNSPEC),
        "local_addr": (endpoint.bind_address, 0) if endpoint.bind_address else None,
    }
    if endpoint.proxy_command and not endpoint.jumps:
        options["proxy_command"] = ["/bin/sh", "-c", f"exec {endpoint.proxy_command}"]
    if endpoint.preferred_authentications:
        options["preferred_auth"] = endpoint.preferred_authentications
    return options | _algorithms(endpoint, known)


def _algorithms(endpoint: Endpoint, known: KnownHosts) -> dict[str, list[str]]:
    """OpenSSH's lists without what asyncssh does not have: one unknown name would make it refuse the list."""
    here: dict[str, tuple[str, list[bytes]]] = {
        "hostkeyalgorithms": ("server_host_key_algs", [*get_certificate_algs(), *get_public_key_algs()]),
        "kexalgorithms": ("kex_algs", get_kex_algs()),
        "ciphers": ("encryption_algs", get_encryption_algs()),
        "macs": ("mac_algs", get_mac_algs()),
    }
    chosen: dict[str, list[str]] = {}
    for option, (argument, available) in here.items():
        names = {name.decode() for name in available}
        if wanted := [name for name in endpoint.algorithms.get(option, ()) if name in names]:
            chosen[argument] = wanted
    if "server_host_key_algs" not in chosen:
        # Always given: asyncssh's own order begins with RSA, which an ed25519-only Dropbear 2022.83 does not survive.
        chosen["server_host_key_algs"] = [
            *(name.decode() for name in get_public_key_algs() if name.startswith((b"ssh-ed25519", b"ecdsa"))),
            "rsa-sha2-512",
            "rsa-sha2-256",
        ]
    chosen["server_host_key_algs"] = known.preferred_first(chosen["server_host_key_algs"])
    return chosen


def _client_keys(endpoint: Endpoint) -> list[Any]:
    """The keys that need no passphrase; those of the agent are asyncssh's own business, the locked ones come later."""
    keys: list[Any] = []
    for path in endpoint.identity_files:
        with contextlib.suppress(asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError, ValueError):
            keys.append(asyncssh.read_private_key(path))
    return keys


def _public_keys(endpoint: Endpoint) -> list[asyncssh.SSHKey]:
    """The public halves of the identity files: with IdentitiesOnly the agent may offer these and no others."""
    keys: list[asyncssh.SSHKey] = []
    for path in endpoint.identity_files:
        for file in (path, path.with_name(f"{path.name}.pub")):
            with contextlib.suppress(asyncssh.KeyImportError, OSError, ValueError):
                keys.append(asyncssh.read_public_key(file))
                break
    return keys


def locked_keys(endpoint: Endpoint) -> list[Path]:
    """The identity files that are keys with a passphrase."""
    return [path for path in endpoint.identity_files if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        asyncssh.read_private_key(path)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as exc:
        return isinstance(exc, asyncssh.KeyEncryptionError) or "passphrase" in str(exc).lower()
    except (OSError, ValueError):
        return False
    return False


# --- errors ----------------------------------------------------------------------------------------------------------


class _HostKeyRefused(Exception):  # noqa: N818 - an intermediate step, never seen outside
    """asyncssh did not accept the host key; the caller finds out why."""


@contextlib.contextmanager
def _translated(endpoint: Endpoint) -> Iterator[None]:
    where = endpoint.describe()
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as exc:
        raise _HostKeyRefused(one_line(str(exc))) from exc
    except asyncssh.PermissionDenied as exc:
        raise AuthenticationFailedError(f"{where} accepted none of the keys or answers", _key_hint(endpoint)) from exc
    except asyncssh.ProtocolError as exc:
        if "authentication failures" in str(exc):
            hint = "the server stopped after too many keys: name the right one with -i and -o IdentitiesOnly=yes"
            raise AuthenticationFailedError(f"{where} refused after too many keys were offered", hint) from exc
        raise SSHError(f"{where} broke the SSH protocol: {one_line(str(exc))}") from exc
    except (TimeoutError, asyncssh.ConnectionLost) as exc:
        if isinstance(exc, TimeoutError) or "timeout" in str(exc).lower():
            raise ConnectTimedOutError(f"{where} did not answer in time") from exc
        raise SSHError(f"{where} closed the connection before it stood: {one_line(str(exc))}") from exc
    except socket.gaierror as exc:
        raise HostNotFoundError(f"{endpoint.host} has no address: {one_line(str(exc.strerror or exc))}") from exc
    except asyncssh.Error as exc:
        raise SSHError(f"cannot connect to {where}: {one_line(str(exc))}") from exc
    except OSError as exc:
        raise SSHError(f"cannot connect to {where}: {_os_words(exc)}") from exc


def _os_words(exc: OSError) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    if exc.errno in _UNREACHABLE:
        return "no route to the host"
    return one_line(exc.strerror or os.strerror(exc.errno or 0) if exc.errno else str(exc))


def _key_hint(endpoint: Endpoint) -> str | None:
    locked = locked_keys(endpoint)
    if not locked:
        return None
    return f"{locked[0]} has a passphrase: add it to the agent with `ssh-add {locked[0]}`, or run on a terminal"
