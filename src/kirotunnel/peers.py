"""Who is at the other side of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys


def same_user(sock: socket.socket) -> bool:
    """Whether the other side of a Unix socket runs in this user's name."""
    try:
        if sys.platform == "darwin":
            local_peercred, xucred = 0x001, struct.Struct("=II68x")  # sys/un.h, sys/ucred.h
            _, user = xucred.unpack(sock.getsockopt(0, local_peercred, xucred.size))
        elif sys.platform.startswith("linux"):
            ucred = struct.Struct("=iII")
            _, user, _ = ucred.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size))
        else:
            return False
    except OSError:
        return False
    return bool(user == os.geteuid())


def peer(sock: socket.socket) -> int | None:
    """The process at the other side of a Unix socket, where the system tells."""
    if not sys.platform.startswith("linux"):
        return None
    ucred = struct.Struct("=iII")
    try:
        pid, _, _ = ucred.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size))
    except OSError:
        return None
    return int(pid)
