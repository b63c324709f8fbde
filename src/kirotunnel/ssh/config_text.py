"""Read the text of ssh_config(5) as OpenSSH's readconf.c does: lines to words, Includes followed. Decides nothing.

What applies to a host is for `config_fallback` to say; completion wants the names in `Host` lines only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kirotunnel.errors import SSHConfigError

MAX_DEPTH: Final = 16
"""Includes within Includes, as OpenSSH has it (READCONF_MAX_DEPTH)."""
SYSTEM_CONFIG: Final = Path("/etc/ssh/ssh_config")

_BLANKS: Final = " \t\r\n\f"
# Their value is the rest of the line as it stands, quotes and all: a shell reads it (readconf.c, parse_command).
_RAW: Final = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand", "proxyjump"})
_WITHOUT_ARGUMENT: Final = frozenset({"all", "canonical", "final"})
CRITERIA: Final = frozenset({*_WITHOUT_ARGUMENT, "host", "originalhost", "user", "localuser", "exec"})
LATER_CRITERIA: Final = frozenset({"localnetwork", "tagged", "version", "sessiontype", "command"})
"""Criteria that came with OpenSSH 9.4 and later."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of a Match line."""

    name: str
    argument: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A Host or Match line."""

    patterns: tuple[str, ...] = ()
    """The patterns of `Host`; empty for `Match`."""
    criteria: tuple[Criterion, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One setting, and the Host and Match lines that it stands under: outer ones first where files include files."""

    place: str
    """`FILE: line N`, for messages."""
    keyword: str
    """In lower case."""
    words: tuple[str, ...]
    blocks: tuple[Block, ...] = ()


def home() -> Path:
    """The home directory as ssh knows it: of the account, whatever HOME says."""
    try:
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (ImportError, KeyError):  # Windows; a container whose user has no account
        return Path.home()


def expand_home(text: str) -> str:
    """`~` and `~user` at the beginning, as ssh expands them."""
    if not text.startswith("~"):
        return text
    name, slash, rest = text[1:].partition("/")
    if not name:
        return f"{home()}{slash}{rest}"
    return os.path.expanduser(text)  # noqa: PTH111 - Path would drop what a token may be expanded in later


def config_files(chosen: str | None) -> list[tuple[Path, bool]]:
    """The files that ssh reads, in order, and whether each is the system's. -F replaces both."""
    if chosen is None:
        return [(home() / ".ssh" / "config", False), (SYSTEM_CONFIG, True)]
    return [] if chosen.lower() == "none" else [(Path(chosen), False)]


def read_files(chosen: str | None) -> list[Line]:
    """Every setting in the files that ssh would read. Raises SSHConfigError with the place."""
    return [line for line in _read_all(chosen) if line.keyword != "host"]


def host_names(chosen: str | None) -> list[str]:
    """The names that have a `Host` line of their own, without patterns; as far as the files can be read."""
    names: dict[str, None] = {}
    with contextlib.suppress(SSHConfigError):
        for line in _read_all(chosen):
            if line.keyword == "host":
                names |= {word: None for word in line.words if not set(word) & set("*?!")}
    return list(names)


def _read_all(chosen: str | None) -> Iterator[Line]:
    for file, of_system in config_files(chosen):
        if chosen is not None or file.is_file():
            yield from _read_file(file, (), of_system=of_system, depth=0, check=chosen is None and not of_system)


def _read_file(file: Path, outer: tuple[Block, ...], *, of_system: bool, depth: int, check: bool) -> Iterator[Line]:
    if depth > MAX_DEPTH:
        raise SSHConfigError(
            f"{file}: too many recursive configuration includes",
            "an Include leads back to its own file; remove it, or name the files that are meant",
        )
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="\n") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read()
    except OSError as exc:
        raise SSHConfigError(f"{file} cannot be read: {exc.strerror}") from exc
    if (
        check
        and hasattr(os, "getuid")
        and (status.st_uid not in {0, os.getuid()} or stat.S_IMODE(status.st_mode) & 0o22)
    ):
        raise SSHConfigError(
            f"bad owner or permissions on {file}", f"`chmod go-w {file}`; it must belong to you or root"
        )
    current: Block | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        place = f"{file}: line {number}"
        found = parse_line(raw, place)
        if found is None:
            continue
        keyword, rest = found
        if keyword == "host":
            current = Block(patterns=tuple(split_words(rest, place)))
            yield Line(place, keyword, current.patterns)
            continue
        if keyword == "match":
            current = Block(criteria=tuple(_criteria(rest, place)))
            continue
        blocks = outer if current is None else (*outer, current)
        if keyword == "include":
            for pattern in split_words(rest, place):
                for included in _included(pattern, of_system=of_system):
                    yield from _read_file(included, blocks, of_system=of_system, depth=depth + 1, check=not of_system)
            continue
        yield Line(place, keyword, setting_words(keyword, rest, place), blocks)


def parse_line(raw: str, place: str) -> tuple[str, str] | None:
    """Keyword and the rest of a line; None for an empty one. One `=` may stand between them."""
    found = re.match(
        r'[ \t\f]*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^ \t\f\r=]+))[ \t\f\r]*(?:=[ \t\f]*)?(?P<rest>.*)$', raw
    )
    if found is None:
        return None
    keyword = found["quoted"] if found["quoted"] is not None else found["plain"]
    if not keyword or keyword.startswith("#"):
        return None
    rest = found["rest"].rstrip(_BLANKS)
    if not rest:
        raise SSHConfigError(f'{place}: no argument after keyword "{keyword.lower()}"')
    return keyword.lower(), rest


def setting_words(keyword: str, rest: str, place: str) -> tuple[str, ...]:
    """The values of a setting: one as it stands for commands, else words."""
    if keyword in _RAW:
        value = rest.lstrip(_BLANKS + "=")
        if keyword == "proxyjump":
            value = value.partition("#")[0].rstrip(_BLANKS)
        if not value:
            raise SSHConfigError(f"{place}: missing argument")
        return (value,)
    words = tuple(split_words(rest, place))
    if not words or "" in words:
        raise SSHConfigError(f"{place}: missing argument")
    return words


def split_words(text: str, place: str) -> list[str]:
    """Words with quotes and backslashes, up to a comment (misc.c, argv_split)."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t":
            at += 1
        if at >= len(text) or text[at] == "#":
            return words
        word: list[str] = []
        quote = ""
        while at < len(text):
            sign, following = text[at], text[at + 1 : at + 2]
            if sign == "\\" and following and (following in "'\"\\" or (not quote and following == " ")):
                word.append(following)
                at += 1
            elif not quote and sign in " \t":
                break
            elif not quote and sign in "'\"":
                quote = sign
            elif quote and sign == quote:
                quote = ""
            else:
                word.append(sign)
            at += 1
        if quote:
            raise SSHConfigError(f"{place}: invalid quotes")
        words.append("".join(word))


def _criteria(text: str, place: str) -> Iterator[Criterion]:
    """The conditions of a Match line, which OpenSSH splits in its older way: `"…"`, blanks, one `=`."""
    words = list(_old_words(text))
    names: list[str] = []
    while words:
        attribute = words.pop(0)
        negated = attribute.startswith("!")
        name = attribute.removeprefix("!").lower()
        names.append(name)
        if name in _WITHOUT_ARGUMENT:
            yield Criterion(name, negated=negated)
            continue
        if name not in CRITERIA | LATER_CRITERIA:
            raise SSHConfigError(f"{place}: unsupported Match attribute {attribute}")
        if not words:
            raise SSHConfigError(f"{place}: missing Match criteria for {name}")
        yield Criterion(name, words.pop(0), negated)
    if not names or ("all" in names and not set(names[:-1]) <= {"canonical", "final"}):
        raise SSHConfigError(f"{place}: bad Match condition")


def _old_words(text: str) -> Iterator[str]:
    at = 0
    word = re.compile(r'[ \t\r\n\f]*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^ \t\r\n\f="]+))(?:[ \t\r\n\f]*=)?')
    while found := word.match(text, at):
        plain = found["plain"]
        if plain is not None and plain.startswith("#"):
            return
        yield plain if plain is not None else found["quoted"]
        at = found.end()


def _included(pattern: str, *, of_system: bool) -> list[Path]:
    path = expand_home(pattern)
    if not path.startswith("/"):
        path = str((SYSTEM_CONFIG.parent if of_system else home() / ".ssh") / path)
    return [Path(name) for name in sorted(glob.glob(path)) if not Path(name).is_dir()]  # noqa: PTH207 - a shell's globs
