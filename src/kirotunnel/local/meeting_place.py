"""Where processes of one user meet that want the same port: an owner-only directory with a lock and a socket for each.

Whoever has the lock accepts the browsers and listens on the socket. The system lets go of a lock when its process ends,
however it ends. Two network namespaces have two loopbacks, so what is here is named by namespace and port.
The directory is made by who comes first, and removed by who leaves it empty.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

_MAX_PATH: Final = 100
"""Bytes that every system takes as the path of a socket."""
_BACKLOG: Final = 64
RUNTIME_DIRECTORIES: Final = "/run/user"
"""Where systemd has a user's XDG_RUNTIME_DIR, for processes that were not told of it (cron, `env -i`)."""
_MAX_REMOVALS: Final = 1000
"""Times that others may remove what we are just taking."""


class NoMeetingPlaceError(Exception):
    """This machine has none, so ports are not shared."""


class MeetingPlace:
    """The directory, held open: what is done in it cannot be led elsewhere."""

    def __init__(self, directory: Path) -> None:
        """Raises NoMeetingPlaceError where it is not ours alone, or this system cannot pass sockets on."""
        if sys.platform == "win32" or not hasattr(socket, "send_fds"):
            raise NoMeetingPlaceError("this system passes no sockets on")
        self._directory = directory
        self._descriptor = _open_own_directory(directory)
        self._namespace = _network_namespace()

    @classmethod
    def of_this_user(cls) -> MeetingPlace:
        """The usual one. Raises NoMeetingPlaceError."""
        return cls(_usual_directory())

    def close(self) -> None:
        """Let go of the directory."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._directory.rmdir()  # somebody is still there where it is not empty

    def lock(self, port: int) -> PortLock | None:
        """Be the one who has that port; None where somebody else is. Raises NoMeetingPlaceError."""
        name = self._name(port)
        for _ in range(_MAX_REMOVALS):
            found = self._is_there(f"{name}.lock")
            try:
                lock = self._try_lock(f"{name}.lock")
            except FileNotFoundError:  # whoever was there has left it empty, and removed it
                self._open_again()
                continue
            if lock is None:
                return None
            if self._is_there(f"{name}.lock", lock):
                return PortLock(self, name, lock, found=found)
            os.close(lock)  # whoever had it has removed it while we waited for it: ours is a file without a name
        raise NoMeetingPlaceError("it is removed again and again")

    def listen(self, lock: PortLock) -> socket.socket:
        """The socket of a port that we have. Raises OSError."""
        name = f"{lock.name}.sock"
        self.remove(name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.bind(self._address(name))
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    def address(self, port: int) -> str:
        """Where the one who has that port can be reached."""
        return self._address(f"{self._name(port)}.sock")

    def is_left(self, port: int) -> bool:
        """Whether somebody has that port, or had it and did not clean up: there may be others who take it over."""
        return self._is_there(f"{self._name(port)}.lock")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def sweep(self) -> None:
        """Remove what processes left that were killed."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._descriptor):  # noqa: PTH208 - of the directory that was checked
                if not name.endswith(".lock"):
                    continue
                lock = self._try_lock(name, create=False)
                if lock is not None:
                    self.remove(f"{name.removesuffix('.lock')}.sock")
                    self.remove(name)
                    os.close(lock)

    # ---

    def _open_again(self) -> None:
        descriptor = _open_own_directory(self._directory)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _name(self, port: int) -> str:
        return f"{port}-{self._namespace:x}"

    def _address(self, name: str) -> str:
        if sys.platform.startswith("linux") and Path("/proc/self/fd").is_dir():
            return f"/proc/self/fd/{self._descriptor}/{name}"  # of any length, and no other directory than ours
        path = str(self._directory / name)
        if len(os.fsencode(path)) > _MAX_PATH:
            raise NoMeetingPlaceError("the path is too long for a socket")
        return path

    def _try_lock(self, name: str, *, create: bool = True) -> int | None:
        import fcntl

        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=self._descriptor)
        except FileNotFoundError:
            if not create:
                return None
            raise
        except OSError as exc:
            raise NoMeetingPlaceError(f"no lock file can be made: {exc.strerror}") from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _is_there(self, name: str, descriptor: int | None = None) -> bool:
        """Whether there is a file of that name; with a descriptor, whether it is that one."""
        try:
            there = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return descriptor is None or os.path.samestat(there, os.fstat(descriptor))


class PortLock:
    """The lock of a port, until it is released or the process ends."""

    def __init__(self, place: MeetingPlace, name: str, descriptor: int, *, found: bool) -> None:
        self.name = name
        self.found = found
        """Somebody had it before, and did not clean up: there were others who wanted it, or it was killed."""
        self._place = place
        self._descriptor: int | None = descriptor

    def release(self, *, for_others: bool) -> None:
        """Let somebody else have it; where nobody is left, nothing stays."""
        if self._descriptor is None:
            return
        self._place.remove(f"{self.name}.sock")
        if not for_others:
            self._place.remove(f"{self.name}.lock")
        os.close(self._descriptor)
        self._descriptor = None


def _usual_directory() -> Path:
    """In this user's runtime directory; where there is none, beside temporary files, under a name that is only ours."""
    # platformdirs would make a `runtime-UID` there, which others use as well, so that nobody may remove it.
    user = os.geteuid()
    for runtime in (Path(os.environ.get("XDG_RUNTIME_DIR") or "."), Path(RUNTIME_DIRECTORIES) / str(user)):
        if runtime.is_absolute() and _is_own(runtime):
            return runtime / "kirotunnel"
    return Path(tempfile.gettempdir()) / f"kirotunnel-{user}"


def _is_own(directory: Path) -> bool:
    """Whether it is a directory, and this user's alone, as the XDG Base Directory Specification has it."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _open_own_directory(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise NoMeetingPlaceError(f"{directory} cannot be had: {exc.strerror}") from exc
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(descriptor)
        raise NoMeetingPlaceError(f"{directory} is not this user's alone")
    return descriptor


def _network_namespace() -> int:
    try:
        return Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return 0  # no Linux: there is one
