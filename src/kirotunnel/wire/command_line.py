"""Command lines of other programs: shown to a person without their secrets, and read where the program is ssh."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kirotunnel.redaction import MASK, redacted
from kirotunnel.wire.terminal import one_line

SHOWN: Final = 100
"""Characters of a command line that are shown."""
_PRIVATE_NAME: Final = (
    r"[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|credentials?|auth(?:orization)?)"
)
_SECRET_OPTION: Final = re.compile(rf"-{{1,2}}{_PRIVATE_NAME}", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(rf"((?:-{{0,2}}){_PRIVATE_NAME}\s*[=:]\s*).+", re.IGNORECASE | re.DOTALL)
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@]+@")
# Programs whose -p is a password rather than a port.
_SHORT_PASSWORD: Final = re.compile(r"(?:^|/)(?:sshpass|mysql\w*|mariadb\w*)$")


def shown_command(words: Sequence[str], limit: int = SHOWN) -> str:
    """A command line for a person: the program without its directories, secrets masked, shortened."""
    if not words:
        return ""
    program = words[0].rpartition("/")[2] or words[0]
    return one_line(redacted(" ".join([program, *_without_secrets(words)])), limit)


def _without_secrets(words: Sequence[str]) -> Iterator[str]:
    short = _SHORT_PASSWORD.search(words[0]) is not None
    secret_follows = False
    for word in words[1:]:
        if secret_follows:
            yield MASK
            secret_follows = False
        elif short and word.startswith("-p"):
            secret_follows = word == "-p"
            yield word if secret_follows else f"-p{MASK}"
        else:
            secret_follows = _SECRET_OPTION.fullmatch(word) is not None
            yield _USER_INFO.sub(f"{MASK}@", _SECRET_VALUE.sub(rf"\g<1>{MASK}", word))


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCommand:
    """What a running ssh was told to do."""

    host: str | None
    """Where it goes, as it was typed; None where the command line does not say."""
    forwards: tuple[str, ...] = ()
    """The values of its -L and -D."""
    tunnel_only: bool = False
    """-N: there is no shell in it that somebody might be using."""
    is_master: bool = False
    """A connection that other ssh commands share (ControlMaster)."""

    def forwards_port(self, port: int) -> bool:
        """Whether one of its -L or -D listens on that port here."""
        return any(_listening_port(forward) == port for forward in self.forwards)


# The letters of ssh(1) that take a value.
_WITH_VALUE: Final = frozenset("BbcDEeFIiJLlmOoPpQRSWw")


def parse_ssh(words: Sequence[str]) -> SshCommand | None:
    """What an ssh command line says; None where it is none. A master calls itself `ssh: PATH [mux]`."""
    if not words:
        return None
    if words[0].startswith("ssh: ") and words[0].endswith("[mux]"):
        return SshCommand(host=None, is_master=True)
    if words[0].rpartition("/")[2] not in {"ssh", "ssh.exe"}:
        return None
    options: list[tuple[str, str]] = []
    rest = iter(words[1:])
    host: str | None = None
    for word in rest:
        if not word.startswith("-") or word == "-":
            if host is not None:
                break  # the remote command
            host = word
        elif word != "--":
            options += _options(word[1:], rest)
    listening = tuple(value for letter, value in options if letter in {"L", "D"})
    forwards = listening + tuple(
        value.partition("=")[2] or value.partition(" ")[2]
        for letter, value in options
        if letter == "o" and value.lower().startswith(("localforward", "dynamicforward"))
    )
    return SshCommand(
        host=one_line(host, 80) if host else None,
        forwards=forwards,
        tunnel_only=any(letter == "N" for letter, _ in options),
        is_master=any(letter == "M" for letter, _ in options),
    )


def _options(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    for at, letter in enumerate(letters):
        if letter in _WITH_VALUE:
            yield letter, letters[at + 1 :] or next(rest, "")
            return
        yield letter, ""


def _listening_port(forward: str) -> int | None:
    """The port here of `[ADDRESS:]PORT[:HOST:PORT]`; with -o also `[ADDRESS:]PORT HOST:PORT`."""
    words = forward.split()
    parts = re.sub(r"\[[^\]]*\]", "x", words[0] if words else "").split(":")
    port = parts[0] if len(parts) in {1, 3} else parts[1]
    return int(port) if port.isdecimal() else None
