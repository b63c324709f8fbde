"""Frames and descriptors between two processes of one user, over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from kirotunnel.peers import same_user
from kirotunnel.wire.sharing import Frame, FrameError, Frames, Ping, Pong, Visit, Welcome, encode

MAX_UNSENT: Final = 1024 * 1024
"""Bytes that wait for the other side to read; with more it counts as gone."""
_CHUNK: Final = 64 * 1024
_MAX_DESCRIPTORS: Final = 8
_CARRY: Final[dict[type[Frame], tuple[int, int]]] = {Visit: (1, 1), Welcome: (0, 2)}
"""How many descriptors come with which frames, at least and at most."""


class ChannelEndedError(Exception):
    """The other side is gone."""


class Channel:
    """One connection: each frame that comes is given to `on_frame` with its sockets, the end to `on_end`, once."""

    def __init__(
        self,
        sock: socket.socket,
        on_frame: Callable[[Channel, Frame, list[socket.socket]], None],
        on_end: Callable[[Channel], None],
    ) -> None:
        self._sock = sock
        self._on_frame = on_frame
        self._on_end = on_end
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._unsent_bytes = 0
        self._loop = asyncio.get_running_loop()
        self.ended = False
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, frame: Frame, descriptors: list[int] | None = None) -> None:
        """Send it as soon as the other side has room. The descriptors may be closed then. Raises ChannelEndedError."""
        if self.ended:
            raise ChannelEndedError
        data = encode(frame)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT:
            self.close()
            raise ChannelEndedError
        self._unsent.append((data, [os.dup(each) for each in descriptors or ()]))
        self._writable()
        if self.ended:
            raise ChannelEndedError

    @property
    def hung_up(self) -> bool:
        """Whether the other side is gone, also where we have not read that far."""
        if self.ended:
            return True
        poll = select.poll()
        poll.register(self._sock, 0)  # an end is told without being asked for
        return bool(poll.poll(0))

    def close(self) -> None:
        """End it; `on_end` is called if it was not ended yet."""
        if self.ended:
            return
        self.ended = True
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        while self._unsent:
            _close(self._unsent.popleft()[1])
        _close(self._descriptors)
        self._on_end(self)

    def _writable(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                sent = socket.send_fds(self._sock, [data], descriptors)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._sock.fileno(), self._writable)
                return
            except OSError:
                self.close()
                return
            _close(descriptors)
            self._unsent_bytes -= sent
            if sent < len(data):
                self._unsent[0] = (data[sent:], [])
            else:
                self._unsent.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, descriptors = receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._descriptors += descriptors
        if not data or len(self._descriptors) > _MAX_DESCRIPTORS:
            self.close()
            return
        try:
            for frame in self._frames.feed(data):
                sockets = self._sockets_of(frame)
                if self.ended:
                    for sock in sockets:
                        sock.close()
                    return
                self._on_frame(self, frame, sockets)
        except FrameError:
            self.close()

    def _sockets_of(self, frame: Frame) -> list[socket.socket]:
        least, most = _CARRY.get(type(frame), (0, 0))
        # Whatever came with these bytes belongs to the first frame that may carry any: one is sent at a time.
        count = min(most, len(self._descriptors))
        if count < least:
            raise FrameError("a socket is missing")
        sockets = []
        for _ in range(count):
            descriptor = self._descriptors.popleft()
            try:
                sockets.append(socket.socket(fileno=descriptor))
            except OSError as exc:
                os.close(descriptor)
                for sock in sockets:
                    sock.close()
                raise FrameError("no socket") from exc
        return sockets


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes with the descriptors that came along, which no program that we start inherits. Raises OSError."""
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    data, descriptors, _, _ = socket.recv_fds(sock, _CHUNK, _MAX_DESCRIPTORS, flags)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return data, descriptors


def answers(address: str, patience_s: float) -> bool | None:
    """Whether somebody of this user's shares a port there, and is awake; None where nobody is there, or just goes.

    Blocks: call it from a thread.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(patience_s)
        try:
            sock.connect(address)
            if not same_user(sock):
                return False
            sock.sendall(encode(Ping()))
            data = sock.recv(1024)
            return any(isinstance(frame, Pong) for frame in Frames().feed(data)) if data else None
        except (FileNotFoundError, ConnectionError):
            return None
        except (OSError, FrameError):
            return False


def _close(descriptors: list[int] | deque[int]) -> None:
    while descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptors.pop())
