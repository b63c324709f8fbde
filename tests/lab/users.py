"""The people of the remote machine: one per login shell, none of whom exists on this side."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lab.requirements import find

PASSWORD: Final = "the laboratory's password"
"""Every user's password, for servers that are told to ask for one."""
# openssl passwd -6 -salt laboratory "$PASSWORD"
_PASSWORD_HASH: Final = (
    "$6$laboratory$wH6NbtiR6LRf7PEUv2yjZmAZGz9aiGANnaGfqnOkBCwME33N7iFqH1laolozaxqLW8nEWFC5vq5mwricwt.q31"
)
_FIRST_UID: Final = 20001
CHROOT: Final = "/opt/busybox"
"""The root directory of the user `busybox`."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can log in."""

    name: str
    uid: int
    """The group has the same number."""
    shell: str
    dotfiles: Mapping[str, str] = field(default_factory=dict)
    root: str = "/"
    """Another directory for a user who sees only part of the machine."""

    @property
    def home(self) -> str:
        """The home directory, as everybody on the machine sees it."""
        return f"/home/{self.name}"


# Noise as it is met: on both streams, and a last line without its end, to which the first word of a command sticks.
_NOISY_BASHRC: Final = """\
echo '*** This machine is for authorised use only ***'
echo 'bashrc: warning: something is deprecated' >&2
printf 'nvm is not loaded> '
"""


def users() -> dict[str, User]:
    """The users whose shell is installed, by name."""
    bash, busybox = find("bash"), find("busybox")
    wanted: list[tuple[str, str | None, dict[str, str]]] = [
        ("bash", bash, {}),
        ("dash", find("dash"), {}),
        ("ash", busybox and "/opt/shells/ash", {}),
        ("fish", find("fish"), {}),
        ("tcsh", find("tcsh"), {}),
        # Without this file zsh greets an interactive login with a questionnaire.
        ("zsh", find("zsh"), {".zshrc": "# nothing\n"}),
        ("noisy", bash, {".bashrc": _NOISY_BASHRC}),
        ("busybox", busybox and "/bin/ash", {}),
    ]
    return {
        name: User(name, uid, shell, dotfiles, CHROOT if name == "busybox" else "/")
        for uid, (name, shell, dotfiles) in enumerate(wanted, _FIRST_UID)
        if shell
    }


def account_files(people: Sequence[User]) -> dict[str, str]:
    """The texts of the files under /etc that know of users, for a machine with these people and the system's few."""
    return {
        "passwd": "root:x:0:0:root:/root:/bin/sh\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        + "".join(f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:{user.shell}\n" for user in people),
        "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n" + "".join(f"{user.name}:x:{user.uid}:\n" for user in people),
        "shadow": "root:*:19000::::::\n" + "".join(f"{user.name}:{_PASSWORD_HASH}:19000::::::\n" for user in people),
        "shells": "".join(sorted({f"{shell}\n" for shell in ("/bin/sh", *(user.shell for user in people))})),
    }


def file_commands(directory: str, texts: Mapping[str, str]) -> list[str]:
    """Shell commands that write these texts as files of that directory."""
    return [f"printf %s {shlex.quote(text)} >{directory}/{name}" for name, text in texts.items()]
