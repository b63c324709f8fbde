"""The remote's own loopback, as files in a directory: which of its ports are listened on, by whom, and where in truth.

Remote and local machine are one machine here, so `127.0.0.1:3128` of the remote's CLI and of the tunnel would collide.
Therefore no program of the sandbox binds the number it says. It binds an ephemeral port E and creates the file
`127.0.0.1:3128` with `E PID\\n` in it, exclusively: a taken number fails as `bind` fails. The SSH server looks there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ADDRESS: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class VirtualListener:
    """Who listens on a port of the remote."""

    port: int
    """The number on the remote's 127.0.0.1."""
    real_port: int
    """Where that program listens in truth, on this machine's 127.0.0.1."""
    pid: int


class VirtualLoopback:
    """The table of the remote's listeners. Every read and every claim is one small file: nothing here blocks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, port: int) -> Path:
        """The file that stands for a listener on that port."""
        return self.directory / f"{_ADDRESS}:{port}"

    def claim(self, port: int, real_port: int, pid: int | None = None) -> VirtualListener:
        """Listen on `port`; OSError with EADDRINUSE where a living process has it already."""
        claimed = VirtualListener(port, real_port, os.getpid() if pid is None else pid)
        if self._stale(port):
            self.path(port).unlink(missing_ok=True)
        # Written aside, then linked: whoever sees the name sees the whole line, and link() refuses a taken name as
        # O_EXCL does.
        descriptor, draft = tempfile.mkstemp(dir=self.directory, prefix=".claim-")
        try:
            os.write(descriptor, _line(claimed))
            os.link(draft, self.path(port))
        except FileExistsError:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), f"{_ADDRESS}:{port}") from None
        finally:
            os.close(descriptor)
            Path(draft).unlink()
        return claimed

    def release(self, claimed: VirtualListener) -> None:
        """Stop listening; what somebody else has claimed since stays theirs."""
        if self._read(claimed.port) == claimed:
            self.path(claimed.port).unlink(missing_ok=True)

    def find(self, port: int) -> VirtualListener | None:
        """Who listens on that port now; a process that is gone listens no more."""
        found = self._read(port)
        return found if found is not None and _lives(found.pid) else None

    def listeners(self) -> list[VirtualListener]:
        """Everything that is listened on now, by port."""
        ports = sorted(int(path.name.rpartition(":")[2]) for path in self.directory.glob(f"{_ADDRESS}:*"))
        return [found for found in map(self.find, ports) if found is not None]

    def _read(self, port: int) -> VirtualListener | None:
        with contextlib.suppress(OSError, ValueError):
            real_port, pid = self.path(port).read_text("ascii").split()
            return VirtualListener(port, int(real_port), int(pid))
        return None

    def _stale(self, port: int) -> bool:
        # An empty file is no stale one: its owner is between open() and write().
        found = self._read(port)
        return found is not None and not _lives(found.pid)


def _line(listener: VirtualListener) -> bytes:
    return f"{listener.real_port} {listener.pid}\n".encode("ascii")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


SS_SCRIPT: Final = r"""#!/bin/sh
# A stand-in for ss(8) of iproute2, for the sandbox's remote alone: lists the virtual listeners as `ss -ltnpH` would.
# It takes any flags and heeds none. Shell builtins only, where /proc exists: it runs in a few milliseconds.
cd @DIRECTORY@ || exit 0
for entry in 127.0.0.1:*; do
  real= pid=
  read -r real pid 2>/dev/null <"$entry" || continue
  case $pid in '' | *[!0-9]*) continue ;; esac
  kill -0 "$pid" 2>/dev/null || continue
  line= name=
  if [ -r "/proc/$pid/comm" ]; then
    read -r name 2>/dev/null <"/proc/$pid/comm"
    # The arguments end in NUL, not in a newline: `read` fills the variable and yet says no.
    read -r line 2>/dev/null <"/proc/$pid/cmdline"
  else
    name=$(ps -o comm= -p "$pid" 2>/dev/null)
    name=${name##*/}
    line=$(ps -o args= -p "$pid" 2>/dev/null)
  fi
  case $line in *kiro_cli.py*) name=kiro-cli ;; esac
  [ "$pid" = @SERVER@ ] && name=sshd
  printf 'LISTEN 0 128 %s 0.0.0.0:* users:(("%s",pid=%s,fd=7))\n' "$entry" "${name:-unknown}" "$pid"
done
exit 0
"""
"""`ss` for the remote's PATH; to be filled in: @DIRECTORY@, quoted for a shell, and @SERVER@, our own process id."""
