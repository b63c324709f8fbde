"""Settings that were not given on the command line: the environment, and the file with its tables. No I/O but the file.

Order: built-in defaults < [defaults] of the file < [target."NAME"] < environment < command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kirotunnel.errors import SettingsError

PREFIX: Final = "KIROTUNNEL_"
# The plural is the documented name of the one list that people set for good.
_LIST_VARIABLES: Final = {"trust-url-host": "KIROTUNNEL_TRUST_URL_HOSTS"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that somebody set, and where; for messages."""

    value: Any
    """A string from the environment; a string, number, boolean or list from the file."""
    origin: str
    rank: int = field(default=0, compare=False)
    """The higher one counts: 0 for [defaults], 1 for a target's table, 2 for the environment."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What file and environment say."""

    file: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def find(self, option: str, target: str | None) -> Setting | None:
        """What is set for a long option name (without dashes), the strongest source first."""
        variables = (_LIST_VARIABLES.get(option), PREFIX + option.upper().replace("-", "_"))
        for variable in variables:
            if variable and (text := self.environment.get(variable)) is not None:
                return Setting(text, variable, 2)
        table = self.targets.get(target or "", {})
        if option in table:
            return Setting(table[option], f'{self.file}, [target."{target}"]', 1)
        if option in self.defaults:
            return Setting(self.defaults[option], f"{self.file}, [defaults]")
        return None


def read_settings(file: Path, environment: Mapping[str, str], options: Collection[str]) -> Settings:
    """Read the file, where there is one. Raises SettingsError for a file or a key that cannot be used."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        data = {}
    except OSError as exc:
        raise SettingsError(f"{file} cannot be read: {exc.strerror}", "make the file readable, or remove it") from exc
    except (ValueError, RecursionError) as exc:  # also a number of 5000 digits, and nesting
        raise SettingsError(f"{file} is no TOML: {exc}", "correct the file, or remove it") from exc
    defaults, targets = _table(data, "defaults", file), _table(data, "target", file)
    if unknown := set(data) - {"defaults", "target"}:
        raise SettingsError(f'{file} has an unknown table [{min(unknown)}]; it may have [defaults] and [target."NAME"]')
    _check_keys(defaults, options, f"{file}, [defaults]")
    for name, table in targets.items():
        where = f'{file}, [target."{name}"]'
        if not isinstance(table, dict):
            raise SettingsError(f"{where} is not a table")
        _check_keys(table, options, where)
    return Settings(file, defaults, targets, environment)


def _table(data: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: {name} is not a table")
    return table


def _check_keys(table: Mapping[str, Any], options: Collection[str], where: str) -> None:
    for key in table:
        if key not in options:
            raise SettingsError(f"{where} has an unknown key {key!r}")
