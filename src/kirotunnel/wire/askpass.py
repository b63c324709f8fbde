"""The question with which ssh calls its SSH_ASKPASS: what it wants, and how it may be shown. Pure.

The question is the only argument, and SSH_ASKPASS_PROMPT in the environment says `confirm` or `none` where no line is
wanted (ssh(1); OpenSSH's readpass.c). Whether a line may be seen while it is typed is told by the words alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from kirotunnel.wire.terminal import one_line

_MAX_SHOWN: Final = 1000
"""Characters: an unknown host key's question names up to eight files that have the same key."""
# sshconnect.c (confirm) and clientloop.c (update_known_hosts): the questions that ssh asks with RP_ECHO.
_MAY_BE_SEEN: Final = re.compile(r"\(yes/no(?:/\[fingerprint\])?\)[?:]\s*$|^Please type 'yes'")


class Wanted(Enum):
    """What answers a question."""

    SECRET = auto()
    """A line that nobody may see."""
    LINE = auto()
    CONSENT = auto()
    """Yes or no, by the exit status."""
    NOTHING = auto()
    """It is a notice, such as to touch a security key."""


@dataclass(frozen=True, slots=True)
class Question:
    """What ssh, or through it a server, asks."""

    words: str
    """One line, safe to show."""
    wanted: Wanted


def read_question(hint: bytes, words: bytes) -> Question:
    """The question from SSH_ASKPASS_PROMPT and the argument; whatever they are, there is one."""
    text = words.decode("utf-8", "replace")
    if hint == b"confirm":
        wanted = Wanted.CONSENT
    elif hint == b"none":
        wanted = Wanted.NOTHING
    else:
        wanted = Wanted.LINE if _MAY_BE_SEEN.search(text) else Wanted.SECRET
    return Question(one_line(text, _MAX_SHOWN), wanted)
