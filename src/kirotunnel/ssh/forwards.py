"""What a server forwards, found by trying: its configuration cannot be asked, and only a real channel tells."""

from __future__ import annotations

from typing import NoReturn

import asyncssh

from kirotunnel.ssh.connection import SSHSession
from kirotunnel.ssh.session import Session, connection_lost


async def forwards_to_target(session: Session) -> bool:
    """Whether we may reach ports of its loopback. Raises ConnectionLostError."""
    if not isinstance(session, SSHSession):
        return False
    try:
        return await session.forwards()
    except (asyncssh.Error, OSError) as exc:
        raise connection_lost(session.where, exc) from exc


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
