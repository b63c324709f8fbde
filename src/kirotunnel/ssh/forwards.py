"""What a server forwards, found by trying: its configuration cannot be asked, and only a real channel tells."""

from __future__ import annotations

from typing import Final, NoReturn

import asyncssh

from kirotunnel.ssh.connection import SSHSession
from kirotunnel.ssh.session import Session, connection_lost

UNUSED_PORT: Final = 1
"""tcpmux (RFC 1078), which nobody runs: no login is disturbed by being asked for."""


async def forwards_to_target(session: Session) -> bool:
    """Whether we may reach ports of its loopback. Raises ConnectionLostError."""
    if not isinstance(session, SSHSession):
        return False
    try:
        _, writer = await session.connection.open_connection("127.0.0.1", UNUSED_PORT)
    except asyncssh.ChannelOpenError as exc:
        return bool(exc.code != asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED)
    except (asyncssh.Error, OSError) as exc:
        raise connection_lost(session.where, exc) from exc
    writer.close()
    return True


async def forwards_to_here(session: Session) -> bool:
    """Whether it listens for us, on a port that it chooses. Raises ConnectionLostError."""
    if not isinstance(session, SSHSession):
        return False
    try:
        listener = await session.connection.create_server(_refuse, "127.0.0.1", 0)
    except asyncssh.ChannelListenError:
        return False
    except (asyncssh.Error, OSError) as exc:
        raise connection_lost(session.where, exc) from exc
    listener.close()
    return True


def _refuse(host: str, port: int) -> NoReturn:
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody is here")
