"""Read a table of TOML into a dataclass, and say of every mistake in it which file, line and key it is in. No I/O."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from kirotunnel.errors import ProfileError

T = TypeVar("T")
Check = Callable[[Any], str | None]
"""Says what is wrong with a value of the right type; None where nothing is."""

_HEADER: Final = re.compile(r"^\s*\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?$")
_MOST: Final = 2**53
"""A whole number up to which a float holds each."""
_WORDS: Final[dict[object, str]] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple[str, ...]: "a list of texts",
    tuple[int, ...]: "a list of whole numbers",
}


class TomlFile:
    """One file: its text, what it says, and where in it each key stands."""

    def __init__(self, name: str, text: str) -> None:
        """Raises ProfileError where it is no TOML."""
        self.name = name
        self._lines = text.splitlines()
        try:
            self.data = tomllib.loads(text)
        except (ValueError, RecursionError) as exc:  # a number of 5000 digits is no TOMLDecodeError, nor is nesting
            raise ProfileError(f"{name} is no TOML: {_shown(str(exc))}", "correct that line") from exc

    def read(self, cls: type[T], checks: Mapping[str, Check], **given: Any) -> T:
        """The dataclass with what the file says; fields in `given` are not the file's to say.

        `checks` are by dotted key: `*` stands for each value of a table of free keys, `?` for each of its keys. Raises
        ProfileError for unknown and missing keys, wrong types and refused values.
        """
        return self._table(cls, self.data, (), checks, given)

    def error(self, key: Sequence[str], problem: str, hint: str | None = None) -> ProfileError:
        """The error about that key."""
        line = self._line(key)
        where = f"{self.name}, line {line}" if line else self.name
        return ProfileError(f"{where}: {_shown('.'.join(key))} {_shown(problem)}", hint)

    # --- values ------------------------------------------------------------------------------------------------------

    def _table(
        self,
        cls: type[T],
        data: Mapping[str, Any],
        path: tuple[str, ...],
        checks: Mapping[str, Check],
        given: Mapping[str, Any],
    ) -> T:
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in given}  # type: ignore[arg-type]  # it is one
        for key in data:
            if key not in fields:
                raise self.error((*path, key), "is not known here", _did_you_mean(key, fields))
        values = dict(given)
        for name, field in fields.items():
            if name in data:
                values[name] = self._value(hints[name], data[name], (*path, name), checks)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                where = f"{self.name}: {'.'.join(path)}" if path else self.name
                raise ProfileError(f"{where} has no {name}")
        return cls(**values)

    def _value(self, kind: Any, value: Any, path: tuple[str, ...], checks: Mapping[str, Check]) -> Any:
        if typing.get_origin(kind) in {types.UnionType, typing.Union}:  # "or None": the key may be left out
            kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise self.error(path, "is not a table")
            return self._table(typing.cast("type[Any]", kind), value, path, checks, {})
        if typing.get_origin(kind) is dict:
            if not isinstance(value, dict):
                raise self.error(path, "is not a table")
            inner = typing.get_args(kind)[1]
            named = checks.get(".".join((*path, "?")))
            for key in value if named is not None else ():
                if named is not None and (problem := named(key)) is not None:
                    raise self.error((*path, key), problem)
            return {key: self._value(inner, item, (*path, key), checks) for key, item in value.items()}
        if not _is(kind, value):
            raise self.error(path, f"takes {_WORDS[kind]}")
        read = tuple(value) if isinstance(value, list) else float(value) if kind is float else value
        check = checks.get(".".join(path)) or checks.get(".".join((*path[:-1], "*")))
        if check is not None and (problem := check(read)) is not None:
            raise self.error(path, problem)
        return read

    # --- where -------------------------------------------------------------------------------------------------------

    def _line(self, key: Sequence[str]) -> int | None:
        """The line on which a key is said, as `key = `, as a table's header, or within an inline table."""
        for depth in range(len(key), 0, -1):
            if (line := self._exact_line(tuple(key[:depth]))) is not None:
                return line
        return None

    def _exact_line(self, key: tuple[str, ...]) -> int | None:
        table: tuple[str, ...] = ()
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                table = _parts(header["name"])
                if table == key:
                    return number
                continue
            name, equals, _ = line.partition("=")
            if equals and (*table, *_parts(name)) == key:
                return number
        return None


def _shown(text: str) -> str:
    """For a message: TOML can write any character, and whoever is sent a profile may try it before reading it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:300])


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in name.strip().split("."))


def _is(kind: Any, value: Any) -> bool:
    match kind:
        case _ if kind is bool:
            return isinstance(value, bool)
        case _ if kind is int:
            return isinstance(value, int) and not isinstance(value, bool)
        case _ if kind is float:
            return isinstance(value, float) or (_is(int, value) and abs(value) <= _MOST)
        case _ if kind is str:
            return isinstance(value, str)
    inner = typing.get_args(kind)[0]
    return isinstance(value, list) and all(_is(inner, item) for item in value)


def _did_you_mean(key: str, known: Mapping[str, object]) -> str | None:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}? docs/profiles.md has all keys" if near else "docs/profiles.md has all keys"
