"""What makes of bare namespaces a machine of its own: mounts, accounts, and a corner with nothing but BusyBox."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.requirements import find
from lab.users import CHROOT, User, account_files, file_commands

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STANDIN_DIRECTORY: Final = "/opt/standin"
REAL_CLIS: Final = "/opt/real_clis"
"""The command lines of others that the tests install, where they are installed."""
STANDIN_PYTHON: Final = f"{STANDIN_DIRECTORY}/kiro-cli"
"""A Python for the stand-in alone: it stays when python3 is hidden, and its process is called kiro-cli."""


def setup_script(people: Sequence[User]) -> str:
    """The shell script for it, which runs inside as root."""
    private = {"/run": 755, "/tmp": 1777, "/var/tmp": 1777, "/dev/shm": 1777, "/home": 755, "/root": 700}
    private |= {"/opt": 755, "/usr/local/bin": 755, "/var/log": 755}
    texts = account_files(people) | {
        "hosts": "127.0.0.1 localhost remote\n::1 localhost ip6-localhost\n",
        "resolv.conf": "",  # there is no other machine to find, and nobody shall wait for an answer
    }
    busybox = find("busybox") if {"ash", "busybox"} & {user.name for user in people} else None
    return "\n".join(
        [
            f"cd {shlex.quote(str(REPOSITORY / 'tests' / 'real_clis'))}",
            "hostname remote",
            *(f"mount -t tmpfs -o mode={mode} lab {path}" for path, mode in private.items()),
            "mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 lab /dev/pts",
            "mkdir -p /run/sshd /run/lock /run/lab/etc /run/lab/host_keys",
            *file_commands("/run/lab/etc", texts),
            "chmod 600 /run/lab/etc/shadow",
            *(f"mount --bind /run/lab/etc/{name} /etc/{name}" for name in texts),
            # By where we stand: what lies in /home or /tmp has no path any more.
            f"mkdir {REAL_CLIS}",
            f"mount --no-canonicalize --bind . {REAL_CLIS}",
            "cd /",
            # The tests' own source is no part of the remote. Where it lies in /home or /tmp it is hidden already.
            f"[ ! -d {shlex.quote(str(REPOSITORY))} ] || mount -t tmpfs lab {shlex.quote(str(REPOSITORY))}",
            f"mkdir -p {STANDIN_DIRECTORY}/log",
            f": >{STANDIN_PYTHON}",
            f"mount --bind {shlex.quote(os.path.realpath('/usr/bin/python3'))} {STANDIN_PYTHON}",
            *(_busybox_commands(busybox) if busybox else []),
            # All that users may write to is private by now. This is for root's mistakes, where the kernel allows it.
            "mount -o remount,bind,ro / 2>/dev/null || :",
        ]
    )


def _busybox_commands(busybox: str) -> list[str]:
    """BusyBox as one user's shell, and a root directory in which another user finds BusyBox and nothing else."""
    # The libraries are for the stand-in's Python; no program among them is on anybody's PATH.
    shared = ["/proc", "/dev", "/tmp", "/var/tmp", "/home", "/usr/lib", STANDIN_DIRECTORY]
    shared += [path for path in ("/usr/lib64",) if os.path.isdir(path)]
    links = [path for path in ("lib", "lib64") if os.path.isdir(f"/{path}")]
    return [
        "mkdir -p /opt/shells",
        f"ln -s {busybox} /opt/shells/ash",
        f"mkdir -p {CHROOT}/bin {CHROOT}/etc {CHROOT}/usr/local {CHROOT}/run",
        f"cp {busybox} {CHROOT}/bin/busybox",
        f"{CHROOT}/bin/busybox --install -s {CHROOT}/bin",
        # The links that --install makes are absolute, with the path by which it was called.
        f"for link in {CHROOT}/bin/*; do [ ! -L $link ] || ln -sf busybox $link; done",
        *(f"mkdir -p {CHROOT}{path} && mount --rbind {path} {CHROOT}{path}" for path in shared),
        f"ln -s ../bin {CHROOT}/usr/bin",
        *(f"ln -s usr/{path} {CHROOT}/{path}" for path in links),
        f"cp /run/lab/etc/passwd /run/lab/etc/group /run/lab/etc/hosts /run/lab/etc/shells {CHROOT}/etc",
    ]
