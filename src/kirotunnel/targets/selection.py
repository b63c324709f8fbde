"""Which targets a command is about: what was typed, what a file lists, and what a pattern means. No I/O."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kirotunnel.errors import PatternUnmatchedError, TargetError, TargetListError
from kirotunnel.targets.target import parse_target

MAX_LIST: Final = 1024 * 1024
"""Bytes of a file of targets; ten thousand long names are less."""
_WILDCARDS: Final = frozenset("*?")


@dataclass(frozen=True, slots=True)
class Word:
    """A target or a pattern, and where it stands; for messages."""

    text: str
    place: str = ""
    """`FILE, line N`; empty for the command line."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The targets, each once, in the order in which they were first named."""

    targets: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    """Those that were named more than once."""


def read_list(data: bytes, file: str) -> list[Word]:
    """The words of a file: one target or pattern a line, `#` begins a comment. Raises TargetListError."""
    if len(data) > MAX_LIST:
        raise TargetListError(f"{file} is too long for a list of targets: more than {MAX_LIST} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = data.count(b"\n", 0, exc.start) + 1
        raise TargetListError(f"{file}, line {number} is no text in UTF-8") from exc
    words: list[Word] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.sub(r"(^|\s)#.*", "", line).strip()
        if content:
            words.append(Word(content, f"{file}, line {number}"))
    if not words:
        raise TargetListError(f"{file} lists no target")
    return words


def is_pattern(text: str) -> bool:
    """Whether it stands for several names, as in ssh_config(5): `*` is any text, `?` any character."""
    return not _WILDCARDS.isdisjoint(text)


def select(words: Sequence[Word], aliases: Sequence[str]) -> Selection:
    """The targets that the words mean. `aliases` are the names of the SSH config, in its order.

    Nothing is selected unless all of it can be: raises TargetError (KT201) for a word that is no target, and
    PatternUnmatchedError for a pattern that no alias matches.
    """
    named: Counter[str] = Counter()
    first: dict[str, str] = {}
    for word in words:
        for target in _expanded(word, aliases) if is_pattern(word.text) else [word.text]:
            key = _destination(target, word.place)
            first.setdefault(key, target)
            named[key] += 1
    return Selection(tuple(first.values()), tuple(first[key] for key, count in named.items() if count > 1))


def _destination(target: str, place: str) -> str:
    try:
        return parse_target(target).destination
    except TargetError as exc:
        if place:
            raise TargetError(f"{place}: {exc.message}", exc.hint) from exc
        raise


def _expanded(word: Word, aliases: Sequence[str]) -> list[str]:
    """The aliases that a pattern list means: as in a `Host` line, those with a `!` take away."""
    user, at, rest = word.text.rpartition("@")
    patterns = [part for part in rest.split(",") if part]
    wanted = [_regex(part) for part in patterns if not part.startswith("!")]
    unwanted = [_regex(part[1:]) for part in patterns if part.startswith("!")]
    found = [
        alias
        for alias in aliases
        if any(one.fullmatch(alias) for one in wanted) and not any(one.fullmatch(alias) for one in unwanted)
    ]
    if not found:
        place = f"{word.place}: " if word.place else ""
        raise PatternUnmatchedError(f"{place}no host of the SSH config matches {word.text!r}", _hint(rest, aliases))
    return [f"{user}{at}{alias}" for alias in found]


def _regex(pattern: str) -> re.Pattern[str]:
    special = {"*": ".*", "?": "."}
    return re.compile("".join(special.get(char) or re.escape(char) for char in pattern), re.DOTALL)


def _hint(pattern: str, aliases: Sequence[str]) -> str | None:
    """Names that the pattern may have been meant for; None where none is near."""
    bare = "".join(char for char in pattern.lower() if char not in "*?!")
    near = difflib.get_close_matches(bare, [alias.lower() for alias in aliases], n=3, cutoff=0.6)
    meant = [alias for alias in aliases if alias.lower() in near]
    return f"did you mean {' or '.join(meant)}? A pattern matches the whole name of a Host line" if meant else None
