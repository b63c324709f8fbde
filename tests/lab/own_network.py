"""A network of its own for the test process: no ports of the developer's on its loopback, and no way outside."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000


def enter_own_network() -> bool:
    """Move this process, and what it starts, to a new network namespace; False where that is not allowed.

    Two test workers would otherwise meet at the ten fixed callback ports, and so would a proxy on 3128 of the machine.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Some of the ten lie in the range from which outgoing connections take theirs.
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 32000", encoding="ascii")
    return True
