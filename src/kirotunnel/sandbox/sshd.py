"""A remote machine on this machine: an SSH server with a home, a loopback and a stand-in CLI, for `demo` and tests.

No root, no account, no system SSH server, and no port of this machine but one ephemeral port on 127.0.0.1:

    async with EmbeddedRemote({"KIRO_AUTH_PORTAL_URL": portal.url}) as remote:
        …  # ssh -F remote.ssh_config demo-host

It behaves as OpenSSH's sshd where a login can tell: commands run by the shell in the home directory with a clean
environment; a terminal is a real one; a lost client means SIGHUP, which detached processes survive; forwarded ports are
the remote's. Whatever ran there, and whatever it wrote, is gone when the block ends.
"""

from __future__ import annotations

import asyncio
import getpass
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

import asyncssh

from kirotunnel.sandbox.remote_command import Surroundings
from kirotunnel.sandbox.remote_disk import Disk
from kirotunnel.sandbox.remote_loopback import VirtualListener, VirtualLoopback
from kirotunnel.sandbox.remote_processes import end_strays
from kirotunnel.sandbox.remote_session import RemoteSession

_ADDRESS: Final = "127.0.0.1"
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
# sshd without GatewayPorts listens on the loopback too when it is asked for "any address".
_LISTEN_NAMES: Final = _LOOPBACK_NAMES | {""}
# The remote's CLI binds IPv4 alone: its ::1 is there, and nobody listens.
_EMPTY_LOOPBACK: Final = "::1"
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class EmbeddedRemote:
    """The remote machine, for as long as its `async with` block lasts."""

    def __init__(self, cli_env: Mapping[str, str], *, alias: str = "demo-host", allow_forwarding: bool = True) -> None:
        """`cli_env` is exported to the stand-in CLI. Without forwarding it is as under `AllowTcpForwarding no`."""
        self.host = _ADDRESS
        self.port = 0
        self.user = _user_name()
        self.alias = alias
        self.allow_forwarding = allow_forwarding
        self.disk: Disk
        self.loopback: VirtualLoopback
        self.dials: list[int] = []
        """The ports of the remote that clients asked to be connected to, in order, whether somebody listened or not."""
        self.connections_seen = 0
        self._cli_env = dict(cli_env)
        self._clients: set[asyncssh.SSHServerConnection] = set()
        self._client_key: bytes
        self._tasks: asyncio.TaskGroup
        self._sessions: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    @property
    def connections(self) -> int:
        """How many clients are connected now; `connections_seen` counts all that ever were."""
        return len(self._clients)

    @property
    def home(self) -> Path:
        """The home directory on the remote."""
        return self.disk.home

    @property
    def tmp(self) -> Path:
        """TMPDIR on the remote."""
        return self.disk.tmp

    @property
    def ssh_config(self) -> Path:
        """A configuration with which `ssh -F` knows the remote by its alias."""
        return self.disk.ssh_config

    @property
    def client_key(self) -> Path:
        """The one key that is let in."""
        return self.disk.client_key

    @property
    def known_hosts(self) -> Path:
        """The file that knows the remote's host key."""
        return self.disk.known_hosts

    def drop(self) -> None:
        """Cut every connection, without a word, as a network does; who connects afterwards is served again."""
        for client in list(self._clients):
            client.abort()

    # --- Life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            directory = _new_directory()
            stack.push_async_callback(asyncio.to_thread, shutil.rmtree, directory)
            self.disk = Disk.below(directory)
            self.loopback = VirtualLoopback(self.disk.loopback)
            stack.push_async_callback(end_strays, self.disk.home)
            host_key, client_key = await asyncio.to_thread(self.disk.prepare, self._cli_env, sys.executable)
            self._client_key = client_key.public_data
            self._tasks = await _open_group(stack)
            acceptor = await self._listen(host_key)
            stack.push_async_callback(self._shut_down, acceptor)
            self.port = acceptor.get_port()
            await asyncio.to_thread(
                self.disk.publish, alias=self.alias, port=self.port, user=self.user, host_key=host_key
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, exc, trace)

    async def _listen(self, host_key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            _ADDRESS,
            0,
            server_factory=lambda: _Connection(self),
            server_host_keys=[host_key],
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
        )

    async def _shut_down(self, acceptor: asyncssh.SSHAcceptor) -> None:
        """First the clients go, then their commands: each session ends its own."""
        acceptor.close()
        for client in list(self._clients):
            client.close()
            await client.wait_closed()
        if self._sessions:
            await asyncio.wait(self._sessions)
        await acceptor.wait_closed()

    # --- What a connection asks of the machine ---------------------------------------------------------------------

    def arrived(self, client: asyncssh.SSHServerConnection) -> None:
        """A client connected; it has shown no key yet."""
        self._clients.add(client)
        self.connections_seen += 1

    def left(self, client: asyncssh.SSHServerConnection) -> None:
        """A client is gone."""
        self._clients.discard(client)

    def lets_in(self, user: str, key: asyncssh.SSHKey) -> bool:
        """Whether that key is the client's, for the one user that there is."""
        return user == self.user and key.public_data == self._client_key

    def new_session(self) -> RemoteSession:
        """A session in the machine's home, with the machine's environment."""
        return RemoteSession(Surroundings(self.disk.environment(self.user), self.disk.home), self._start)

    def dialled(self, host: str, port: int) -> VirtualListener:
        """Who listens on the remote's `host:port`; ChannelOpenError, as sshd would say it, where nobody does."""
        if host not in _LOOPBACK_NAMES and host != _EMPTY_LOOPBACK:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "The sandbox has no network")
        self.dials.append(port)
        if not self.allow_forwarding:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "Port forwarding not permitted")
        listener = self.loopback.find(port) if host in _LOOPBACK_NAMES else None
        if listener is None:
            raise _refused()
        return listener

    def _start(self, session: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(session)
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)


class _Connection(asyncssh.SSHServer):
    """One client's connection."""

    def __init__(self, remote: EmbeddedRemote) -> None:
        self._remote = remote
        self._client: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._client = conn
        self._remote.arrived(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._remote.left(self._client)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._remote.lets_in(username, key)

    def session_requested(self) -> RemoteSession:
        return self._remote.new_session()

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        return self._dial(self._remote.dialled(dest_host, dest_port))

    async def _dial(self, listener: VirtualListener) -> asyncssh.SSHTCPSession[bytes]:
        try:
            forwarder = await self._client.forward_connection(_ADDRESS, listener.real_port)
        except asyncssh.ChannelOpenError:
            raise _refused() from None
        # asyncssh gives its forwarder the methods of a session, not the type.
        return cast("asyncssh.SSHTCPSession[bytes]", forwarder)

    def server_requested(self, listen_host: str, listen_port: int) -> bool | Awaitable[asyncssh.SSHListener]:
        if not self._remote.allow_forwarding or listen_host not in _LISTEN_NAMES:
            return False
        return self._listen(listen_host, listen_port)

    async def _listen(self, host: str, port: int) -> asyncssh.SSHListener:
        """Take a port of the remote for the client (`-R`); OSError where it is taken, and asyncssh then says no."""
        door = await self._client.forward_local_port(_ADDRESS, 0, host, port)
        try:
            claimed = self._remote.loopback.claim(port or door.get_port(), door.get_port())
        except OSError:
            door.close()
            raise
        held = _HeldPort(self._remote.loopback, claimed, door)
        if self._client.is_closed():
            # The client left while the door was being opened: asyncssh has closed its listeners and knows not this one.
            held.close()
        return held


class _HeldPort(asyncssh.SSHListener):
    """A port of the remote that a client holds: the name in the virtual loopback, and the real listener behind it."""

    def __init__(self, loopback: VirtualLoopback, claimed: VirtualListener, door: asyncssh.SSHListener) -> None:
        super().__init__()
        self._loopback = loopback
        self._claimed = claimed
        self._door = door

    def get_port(self) -> int:
        return self._claimed.port

    def close(self) -> None:
        self._loopback.release(self._claimed)
        self._door.close()

    async def wait_closed(self) -> None:
        await self._door.wait_closed()


def _refused() -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")


async def _open_group(stack: AsyncExitStack) -> asyncio.TaskGroup:
    """A task group that hears nothing of an error in the caller's block: it would wrap that into an ExceptionGroup."""
    group = await asyncio.TaskGroup().__aenter__()
    stack.push_async_callback(group.__aexit__, None, None, None)
    return group


def _new_directory() -> Path:
    # Resolved, since macOS has its temporary directories behind a link and commands would see two names.
    return Path(tempfile.mkdtemp(prefix="kirotunnel-remote-")).resolve()


def _user_name() -> str:
    """The current user's name; `demo` where the system knows none, or one that ssh_config would need quotes for."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return "demo"
    return name if _PLAIN_NAME.fullmatch(name) else "demo"
