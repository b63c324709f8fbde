"""One SSH connection to a target, by asyncssh: made, checked, and translated into our own errors.

Nothing of ours travels along: no agent or X11 forwarding, no environment, none of the config's LocalForward,
RemoteForward or RemoteCommand.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
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
    ConnectTimedOutError,
    ForwardingRefusedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    HostNotFoundError,
    SessionRefusedError,
    SSHError,
)
from kirotunnel.redaction import Secret
from kirotunnel.ssh.askpass import Questions
from kirotunnel.ssh.company import PAUSES_S, Company
from kirotunnel.ssh.config import Endpoint
from kirotunnel.ssh.hostkeys import KnownHosts, Standing, remember
from kirotunnel.ssh.identities import Identities, Unlocker, identities
from kirotunnel.ssh.prompts import Nobody, Prompts
from kirotunnel.ssh.proxy_command import ProxyCommand
from kirotunnel.ssh.session import broken_stream, connection_lost, raise_if_lost
from kirotunnel.wire.terminal import one_line

CONNECT_TIMEOUT_S: Final = 30.0
"""Seconds for everything but a person's answers, where ConnectTimeout says nothing else."""
LOGIN_TIMEOUT_S: Final = 300.0
"""Seconds for authentication: a person may be looking for a second factor."""
KEEPALIVE_S: Final = 5.0
"""Seconds between keepalives, where ServerAliveInterval says nothing else: without, a dead link is never noticed.

Three unanswered end the connection, so that a browser's callback waits for at most 20 s of it."""
DIAL_S: Final = 5.0
"""Seconds for the server to open a connection to its own loopback, and then to answer when asked beside it; beyond both
the link is dead."""
UNUSED_PORT: Final = 1
"""tcpmux (RFC 1078), which nobody runs: no login is disturbed by being asked for."""

# How a server's name service says so: the C libraries' words for getaddrinfo(3).
_NO_SUCH_NAME: Final = re.compile(r"not known|name resolution|no address|name does not resolve", re.IGNORECASE)
_RUN_IT: Final = "run that command by itself: it must print a line that begins with SSH-2.0"
# What ssh says where it would have asked.
_WANTS_A_PERSON: Final = re.compile(
    r"permission denied|host key verification failed|passphrase|password", re.IGNORECASE
)
_ASKS_IN_VAIN: Final = "its ssh could ask nobody: run on a terminal, or add its key to the agent with ssh-add"
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
    def network(self) -> None:
        """Another machine's is none of ours."""

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.endpoint.describe()

    @property
    def server(self) -> str:
        """The server's version line."""
        return one_line(str(self.connection.get_extra_info("server_version", "")), 120)

    async def start(self, command: str, **options: Any) -> asyncssh.SSHClientProcess[bytes]:
        """Run a command on a channel of its own. Raises SessionRefusedError or ConnectionLostError."""
        for attempt in (1, 2):
            try:
                # Right after the request is sent, which `create_process` does before it waits for the first time.
                asyncio.get_running_loop().call_soon(self._acknowledge_at_once)
                return await self.connection.create_process(command, encoding=None, **options)
            except asyncssh.ChannelOpenError as exc:
                if self.lost.done() or self.connection.is_closed():
                    raise connection_lost(self.where, exc) from exc
                # Dropbear refuses a session opened right after another was closed, about every eighth time.
                if attempt == 2 or "PTY" in exc.reason:
                    where = self.endpoint.describe()
                    raise SessionRefusedError(f"{where} does not start a session: {one_line(exc.reason)}") from exc
                await asyncio.sleep(0.03)
            except (asyncssh.Error, OSError) as exc:
                raise connection_lost(self.where, exc) from exc
        raise AssertionError("unreachable")

    def _acknowledge_at_once(self) -> None:
        """Spare the first session 40 ms, where the system can.

        sshd turns Nagle's algorithm off with the first session only. Before that, its answer to our request for one
        waits for the ACK of what it announced just before (its host keys), and our system delays that.
        """
        sock, option = self.connection.get_extra_info("socket"), getattr(socket, "TCP_QUICKACK", None)
        if sock is not None and option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, 1)

    async def dial(self, port: int, address: str = "127.0.0.1") -> ChannelStream:
        """One connection to that port of the target, at the literal loopback address; kiro-cli binds 127.0.0.1.

        Raises CallbackUndeliveredError where nothing listens, ForwardingRefusedError where the server forbids it.
        """
        where = self.endpoint.describe()
        opening = asyncio.ensure_future(self.connection.open_connection(address, port))
        try:
            while not (await asyncio.wait({opening}, timeout=DIAL_S))[0]:
                await self._must_answer()  # a listener whose queue is full has the server wait, and others with it
            reader, writer = opening.result()
        except asyncssh.ChannelOpenError as exc:
            if self.lost.done():
                raise connection_lost(self.where, exc) from exc
            if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise ForwardingRefusedError(f"{where} forbids forwarding to its port {port}") from exc
            raise CallbackUndeliveredError(f"nothing takes the callback on port {port} of {where} any more") from exc
        except (asyncssh.Error, OSError) as exc:
            raise connection_lost(self.where, exc) from exc
        finally:
            opening.cancel()
        return ChannelStream(reader, writer, self)

    async def forwards(self) -> bool:
        """Whether it lets us reach its loopback. Raises asyncssh.Error or OSError where the connection is lost."""
        try:
            _, writer = await self.connection.open_connection("127.0.0.1", UNUSED_PORT)
        except asyncssh.ChannelOpenError as exc:
            return bool(exc.code != asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED)
        writer.close()
        return True

    async def _must_answer(self) -> None:
        """Find out whether the server still does. Raises ConnectionLostError, and gives the connection up."""
        try:
            async with asyncio.timeout(DIAL_S):
                await self.forwards()
        except TimeoutError as exc:
            self.connection.abort()
            raise connection_lost(self.where, "it answers no more") from exc


class ChannelStream:
    """A direct-tcpip channel (RFC 4254 §7.2) as a plain byte stream."""

    def __init__(
        self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes], session: SSHSession
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end. Raises OSError, or ConnectionLostError where all of it is gone."""
        try:
            data = await self._reader.read(limit)
        except (asyncssh.Error, OSError) as exc:
            raise broken_stream(self._session, exc) from exc
        if not data:
            raise_if_lost(self._session)  # to the reader that is an end like any other
        return data

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises as `read` does."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (asyncssh.Error, OSError) as exc:
            raise broken_stream(self._session, exc) from exc

    async def close(self) -> None:
        """Close the channel; never raises."""
        with contextlib.suppress(asyncssh.Error, OSError):
            self._writer.close()


@dataclass(frozen=True, slots=True)
class _Step:
    """One connection on the way to the target."""

    endpoint: Endpoint
    where: str
    """How messages call it: a jump host is called one."""
    via: str | None = None
    """What it is reached through."""


class _Patient:
    """Asks the person, and stops the clock meanwhile: ConnectTimeout is for the machines."""

    def __init__(self, prompts: Prompts, seconds: float) -> None:
        self._prompts = prompts
        self._seconds = seconds
        self.timer: asyncio.Timeout | None = None
        self.nobody = isinstance(prompts, Nobody)
        self.unanswered = False
        """Something was asked, and nobody answered."""
        self.asked = 0

    async def secret(self, question: str) -> Secret[str] | None:
        """What the person typed, unseen."""
        with self._waiting():
            answer = await self._prompts.secret(question)
        self.unanswered |= answer is None
        return answer

    async def answer(self, question: str) -> str | None:
        """What the person typed."""
        with self._waiting():
            answer = await self._prompts.answer(question)
        self.unanswered |= answer is None
        return answer

    async def confirm(self, question: str) -> bool | None:
        """Yes or no."""
        with self._waiting():
            return await self._prompts.confirm(question)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self.asked += 1
        if self.timer is not None and not self.timer.expired():
            self.timer.reschedule(None)
        try:
            yield
        finally:
            if self.timer is not None and not self.timer.expired():
                self.timer.reschedule(asyncio.get_running_loop().time() + self._seconds)


class _Client(asyncssh.SSHClient):
    """asyncssh's questions about one connection: the host's key, the person's secrets, its end."""

    def __init__(self, endpoint: Endpoint, prompts: Prompts, accepted: asyncssh.SSHKey | None) -> None:
        self._where = endpoint.describe()
        self._prompts = prompts
        self._accepted = accepted
        self.shown_key: asyncssh.SSHKey | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._passwords_left = endpoint.password_prompts
        self._challenges_left = endpoint.password_prompts
        self.unlock_next: Callable[[], Awaitable[asyncssh.SSHKey | None]] | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        # Called for unknown and changed keys alike: the key is only noted, and judged by the caller.
        self.shown_key = key
        return key == self._accepted

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(str(exc) if exc else "closed")

    async def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        return await self.unlock_next() if self.unlock_next else None

    async def password_auth_requested(self) -> str | None:
        if self._passwords_left <= 0:
            return None
        self._passwords_left -= 1
        password = await self._prompts.secret(f"Password for {self._where}: ")
        return password.reveal() if password else None

    def kbdint_auth_requested(self) -> str | None:
        self._challenges_left -= 1
        return "" if self._challenges_left >= 0 else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        answers: list[str] = []
        intro = one_line(f"{name} {instructions}")
        for text, echo in prompts:
            question = f"({self._where}) {intro} {one_line(text)} ".replace("  ", " ")
            if echo:
                answer = await self._prompts.answer(question)
            else:
                hidden = await self._prompts.secret(question)
                answer = hidden.reveal() if hidden else None
            if answer is None:
                self._challenges_left = 0  # who does not answer once is not asked again
                return None
            answers.append(answer)
        return answers


@contextlib.asynccontextmanager
async def connect(
    endpoint: Endpoint, prompts: Prompts, tell: Callable[[str], None], company: Company | None = None
) -> AsyncIterator[SSHSession]:
    """Connect through the endpoint's jumps, and close all of it in the end.

    `tell` gets a sentence for the person where a host's key was added, or a key of theirs was not used; `company` is
    what other connections that are made at the same time share with this one. Raises SSHError and its kin (KT3xx) and
    HostNotFoundError (KT202); the message says which host on the way it is about.
    """
    unlocker = Unlocker(company.keys if company else None)
    async with contextlib.AsyncExitStack() as stack:
        tunnel: asyncssh.SSHClientConnection | None = None
        via = None
        for hop in endpoint.jumps:
            step = _Step(hop, f"the jump host {hop.describe()}", via)
            tunnel = (await _connect_one(step, tunnel, prompts, unlocker, tell, company)).connection
            stack.push_async_callback(_close, tunnel)
            via = step.where
        step = _Step(endpoint, endpoint.describe(), via)
        session = await _connect_one(step, tunnel, prompts, unlocker, tell, company)
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
    step: _Step,
    tunnel: asyncssh.SSHClientConnection | None,
    prompts: Prompts,
    unlocker: Unlocker,
    tell: Callable[[str], None],
    company: Company | None,
) -> SSHSession:
    endpoint = step.endpoint
    seconds = endpoint.connect_timeout_s or CONNECT_TIMEOUT_S
    patient = _Patient(Nobody() if endpoint.batch else prompts, seconds)
    known = await asyncio.to_thread(KnownHosts, endpoint)

    async def unlock(path: Path) -> asyncssh.SSHKey | None:
        return await unlocker.unlock(path, endpoint.describe(), patient)

    async with identities(endpoint, unlock) as found:
        for path in found.exposed:
            tell(f"{path} is not used: it can be read by others (`chmod 600 {path}`)")

        async def attempt(options: dict[str, Any], accepted: asyncssh.SSHKey | None = None) -> SSHSession:
            client = _Client(endpoint, patient, accepted)
            locked = list(found.locked)

            async def unlock_next() -> asyncssh.SSHKey | None:
                keys = [key for path in locked if (key := await unlock(path)) is not None]
                locked.clear()
                return keys or None  # type: ignore[return-value]  # asyncssh takes several, its stubs one

            client.unlock_next = unlock_next
            proxy: ProxyCommand | None = None
            if endpoint.proxy_command and not endpoint.jumps:
                questions = None if patient.nobody else Questions(step.where, patient, tell)
                proxy = ProxyCommand(endpoint.proxy_command, questions)
            with _translated(step, found, unlocker, patient, proxy):
                async with (
                    proxy.asking() if proxy else contextlib.nullcontext(),
                    asyncio.timeout(seconds) as patient.timer,
                ):
                    try:
                        connection = await asyncssh.connect(
                            endpoint.host,
                            endpoint.port,
                            tunnel=tunnel or proxy,
                            client_factory=lambda: client,
                            **options,
                        )
                    except asyncssh.HostKeyNotVerifiable as exc:
                        raise _HostKeyRefused(one_line(str(exc)), client.shown_key) from exc
                    finally:
                        patient.timer = None
            return SSHSession(connection, endpoint, client.lost)

        async def paced(options: dict[str, Any], accepted: asyncssh.SSHKey | None = None) -> SSHSession:
            if company is None:
                return await attempt(options, accepted)
            for pause in (*PAUSES_S, None):
                asked = patient.asked
                try:
                    async with company.door(f"{step.via} {endpoint.host} {endpoint.port}"):
                        return await attempt(options, accepted)
                except SSHError as exc:
                    if pause is None or patient.asked > asked or not _turned_away(exc):
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - it spreads, and keeps no secret
            raise AssertionError("unreachable")

        return await _with_host_key(step, known, found.pairs, patient, tell, paced, company)


async def _with_host_key(
    step: _Step,
    known: KnownHosts,
    pairs: Sequence[asyncssh.SSHKeyPair],
    prompts: Prompts,
    tell: Callable[[str], None],
    attempt: Callable[[dict[str, Any], asyncssh.SSHKey | None], Awaitable[SSHSession]],
    company: Company | None,
) -> SSHSession:
    """Connect; where the host's key is not known, judge it, and connect once more if it may be trusted."""
    endpoint = step.endpoint
    options = _connect_options(endpoint, known, pairs)
    try:
        return await attempt(options, None)
    except _HostKeyRefused as exc:
        refused = exc
    if refused.key is None and "CA key is not trusted" in refused.reason:
        # A certificate of somebody else's. The plain key behind it may be known (sshconnect.c does the same).
        options["server_host_key_algs"] = [n for n in options["server_host_key_algs"] if "-cert-v01" not in n]
        try:
            return await attempt(options, None)
        except _HostKeyRefused as exc:
            refused = exc
    if refused.key is None:
        kind = HostKeyChangedError if "revoked" in refused.reason else HostKeyUnknownError
        raise kind(f"{step.where} shows a host key that is not accepted: {refused.reason}") from refused
    async with company.judging(known.name) if company else contextlib.nullcontext():
        await _trust(step, known, refused.key, prompts, tell, company)
    try:
        return await attempt(options, refused.key)
    except _HostKeyRefused as again:
        raise HostKeyChangedError(f"{step.where} shows another host key than a moment ago") from again


async def _trust(
    step: _Step,
    known: KnownHosts,
    key: asyncssh.SSHKey,
    prompts: Prompts,
    tell: Callable[[str], None],
    company: Company | None,
) -> None:
    """Judge a host's key and write it down. Raises HostKeyChangedError or HostKeyUnknownError."""
    endpoint = step.endpoint
    answer = company.answer(known.name, key) if company else None
    if answer:
        return  # to another connection of this run, a moment ago
    try:
        if answer is not None:
            raise _unknown(known, key)
        await _judge_host_key(step, known, key, prompts)
    except HostKeyUnknownError:
        if company is not None:
            company.answered(known.name, key, trusted=False)
        raise
    if company is not None:
        company.answered(known.name, key, trusted=True)
    file = await asyncio.to_thread(remember, endpoint, key)
    tell(f"added the {_key_type(key)} key of {endpoint.key_name} {f'to {file}' if file else 'for this time only'}")


async def _judge_host_key(step: _Step, known: KnownHosts, key: asyncssh.SSHKey, prompts: Prompts) -> None:
    """Return if the key may be trusted. Raises HostKeyChangedError or HostKeyUnknownError."""
    endpoint = step.endpoint
    shown = f"{_key_type(key)} {key.get_fingerprint()}"
    standing = known.standing(key)
    name = known.name
    if standing is Standing.REVOKED:
        raise HostKeyChangedError(f"the host key of {name} ({shown}) is marked as revoked in known_hosts")
    if standing is Standing.CHANGED:
        hint = f"ask who runs the machine; if the change is right, remove the old key with `ssh-keygen -R '{name}'`"
        raise HostKeyChangedError(f"the host key of {name} has changed: it shows {shown} now", hint)
    if endpoint.strict_host_key_checking in {"accept-new", "no"}:
        return
    if endpoint.strict_host_key_checking == "yes":
        raise _unknown(known, key)
    question = f"The host key of {name} is not known. It shows {shown}\nConnect and remember this key?"
    if not await prompts.confirm(question):
        raise _unknown(known, key)


def _unknown(known: KnownHosts, key: asyncssh.SSHKey) -> HostKeyUnknownError:
    shown = f"{_key_type(key)} {key.get_fingerprint()}"
    return HostKeyUnknownError(f"the host key of {known.name} is not known: it shows {shown}")


def _key_type(key: asyncssh.SSHKey) -> str:
    return key.get_algorithm().removeprefix("ssh-").upper()


# --- options ---------------------------------------------------------------------------------------------------------


def _connect_options(endpoint: Endpoint, known: KnownHosts, pairs: Sequence[asyncssh.SSHKeyPair]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "config": None,  # `ssh -G` has read it; asyncssh's own reading would be a second truth
        "username": endpoint.user,
        "known_hosts": None if _is_trusted_localhost(endpoint) else (lambda _host, _addr, _port: known.match),
        "host_key_alias": endpoint.host_key_alias,
        "client_keys": list(pairs) or None,
        "agent_path": None,  # its keys are among ours
        "agent_forwarding": False,
        "x11_forwarding": False,
        "send_env": None,
        "connect_timeout": None,  # ours stops while a person is asked
        "login_timeout": LOGIN_TIMEOUT_S,
        "keepalive_interval": endpoint.alive_interval_s or KEEPALIVE_S,
        "keepalive_count_max": endpoint.alive_count,
        "family": {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(endpoint.address_family, socket.AF_UNSPEC),
        "local_addr": (endpoint.bind_address, 0) if endpoint.bind_address else None,
        "public_key_auth": "publickey" not in endpoint.refused_authentications,
        "password_auth": "password" not in endpoint.refused_authentications,
        "kbdint_auth": "keyboard-interactive" not in endpoint.refused_authentications,
    }
    if endpoint.preferred_authentications:
        options["preferred_auth"] = endpoint.preferred_authentications
    size, seconds = endpoint.rekey
    options |= {"rekey_bytes": size} if size else {}
    options |= {"rekey_seconds": seconds} if seconds else {}
    return options | _algorithms(endpoint, known)


def _is_trusted_localhost(endpoint: Endpoint) -> bool:
    """NoHostAuthenticationForLocalhost, and it is this very machine."""
    if not endpoint.trusts_localhost or endpoint.jumps or endpoint.proxy_command:
        return False
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return endpoint.host == "localhost"


def _algorithms(endpoint: Endpoint, known: KnownHosts) -> dict[str, list[str]]:
    """OpenSSH's lists without what asyncssh does not have: one unknown name would make it refuse the list."""
    here: dict[str, tuple[str, list[bytes]]] = {
        "hostkeyalgorithms": ("server_host_key_algs", [*get_certificate_algs(), *get_public_key_algs()]),
        "kexalgorithms": ("kex_algs", get_kex_algs()),
        "ciphers": ("encryption_algs", get_encryption_algs()),
        "macs": ("mac_algs", get_mac_algs()),
        "pubkeyacceptedalgorithms": ("signature_algs", get_public_key_algs()),
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
    chosen["server_host_key_algs"] = known.usable(chosen["server_host_key_algs"])
    return chosen


# --- errors ----------------------------------------------------------------------------------------------------------


class _HostKeyRefused(Exception):  # noqa: N818 - an intermediate step, never seen outside
    """asyncssh did not accept the host key; the caller finds out why."""

    def __init__(self, reason: str, key: asyncssh.SSHKey | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.key = key


@contextlib.contextmanager
def _translated(
    step: _Step, found: Identities, unlocker: Unlocker, patient: _Patient, proxy: ProxyCommand | None
) -> Iterator[None]:
    where, endpoint = step.where, step.endpoint
    try:
        yield
    except asyncssh.PermissionDenied as exc:
        hint = _key_hint(found, unlocker, patient)
        raise AuthenticationFailedError(f"{where} accepted none of the keys or answers", hint) from exc
    except asyncssh.ProtocolError as exc:
        if "authentication failures" in str(exc):
            hint = "the server stopped after too many keys: name the right one with -i and -o IdentitiesOnly=yes"
            raise AuthenticationFailedError(f"{where} refused after too many keys were offered", hint) from exc
        raise SSHError(f"{where} broke the SSH protocol: {one_line(str(exc))}") from exc
    except (TimeoutError, asyncssh.ConnectionLost) as exc:
        if isinstance(exc, TimeoutError) or "timeout" in str(exc).lower():
            raise ConnectTimedOutError(f"{where} did not answer in time") from exc
        if proxy is not None:
            raise _proxy_error(step, proxy) from exc
        raise SSHError(f"{where} closed the connection before it stood: {one_line(str(exc))}") from exc
    except asyncssh.ChannelOpenError as exc:
        if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            reason, hint = (
                "it forbids forwarding",
                f"ask who runs {step.via} to allow TCP forwarding (AllowTcpForwarding)",
            )
        elif _NO_SUCH_NAME.search(exc.reason):
            raise _no_address(step, f"{step.via} knows no address of {_its_host(step)}", exc.reason) from exc
        else:
            reason = f"nothing answers there ({one_line(exc.reason)})"
            hint = _up_hint(endpoint)
        raise SSHError(f"{step.via} cannot reach {where}: {reason}", hint) from exc
    except socket.gaierror as exc:
        raise _no_address(step, f"{_its_host(step)} has no address", str(exc.strerror or exc)) from exc
    except asyncssh.Error as exc:
        raise SSHError(f"cannot connect to {where}: {one_line(str(exc))}") from exc
    except OSError as exc:
        nobody = _errno(exc) in {errno.ECONNREFUSED, *_UNREACHABLE}
        raise SSHError(f"cannot connect to {where}: {_os_words(exc)}", _up_hint(endpoint) if nobody else None) from exc


def _proxy_error(step: _Step, proxy: ProxyCommand) -> SSHError:
    said = f" ({proxy.complaint})" if proxy.complaint else ""
    command = step.endpoint.proxy_command
    message = f"the ProxyCommand for {step.where} ended before the connection stood: {command}{said}"
    wanted = _WANTS_A_PERSON.search(said)
    if wanted is None or proxy.questions is None:
        return SSHError(message, _ASKS_IN_VAIN if wanted else _RUN_IT)
    if proxy.questions.asked == 0:
        return SSHError(message, _RUN_IT)
    if "host key" in wanted[0].lower():
        return HostKeyUnknownError(message)
    return AuthenticationFailedError(message, _ASKS_IN_VAIN if proxy.questions.unanswered else None)


def _no_address(step: _Step, said: str, reason: str) -> HostNotFoundError:
    error = HostNotFoundError(f"{said}: {one_line(reason)}")
    error.typed = step.endpoint.typed
    return error


def _up_hint(endpoint: Endpoint) -> str:
    return f"check that {endpoint.host} is up and takes SSH connections on port {endpoint.port}"


def _turned_away(error: SSHError) -> bool:
    """Whether the server closed the connection early, as one does that has too many which are not authenticated yet."""
    return isinstance(error.__cause__, (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)) and not (
        isinstance(error, ConnectTimedOutError)
    )


def _its_host(step: _Step) -> str:
    return step.endpoint.host if step.where == step.endpoint.describe() else f"the jump host {step.endpoint.host}"


def _os_words(exc: OSError) -> str:
    number = _errno(exc)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    if number in _UNREACHABLE:
        return "no route to the host"
    return one_line(exc.strerror or os.strerror(number) if number else str(exc))


def _errno(exc: OSError) -> int | None:
    """Of a host with several addresses asyncio gives only the text of all their errors: the most telling of these."""
    numbers = [exc.errno] if exc.errno else [int(found) for found in re.findall(r"\[Errno (\d+)\]", str(exc))]
    return errno.ECONNREFUSED if errno.ECONNREFUSED in numbers else next(reversed(numbers), None)


def _key_hint(found: Identities, unlocker: Unlocker, patient: _Patient) -> str | None:
    """What most likely was missing, of what was seen on the way."""
    if unlocker.in_vain:
        path = unlocker.in_vain[0]
        return f"{path} has a passphrase: add it to the agent with `ssh-add {path}`, or run on a terminal"
    if found.exposed:
        return f"{found.exposed[0]} was not used since others can read it: `chmod 600 {found.exposed[0]}`"
    if patient.unanswered:
        return "the server asks for a password or a code: run on a terminal, or set up a key that it accepts"
    if found.agent_trouble:
        return f"{found.agent_trouble}; start it and add the key with ssh-add, or name a key file with -i"
    return None
