"""ssh_config(5) without OpenSSH: what `ssh -G` would print, by paramiko's reader.

paramiko decides which Host and Match blocks apply. What it reads otherwise than OpenSSH never reaches it: Include,
quoting, comments, negation, repeated options, the second pass and the values themselves are handled here. Each setting
goes through it as a numbered marker under a Match line that means the same to both, and the markers that come back are
the settings that apply, in order. What remains different is said in a warning.
"""

from __future__ import annotations

import fnmatch
import getpass
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final

from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config_keywords import (
    ALIASES,
    DEFAULT_ALGORITHMS,
    DEFAULT_IDENTITIES,
    FILES,
    FLAGS,
    KEYWORDS,
    LISTS,
    NUMBERS,
    SECONDS,
    SEVERAL_WORDS,
    TIMES,
)
from kirotunnel.ssh.config_text import (
    LATER_CRITERIA,
    Block,
    Criterion,
    Line,
    home,
    parse_line,
    read_files,
    setting_words,
)
from kirotunnel.wire.terminal import one_line

NEVER: Final = (Criterion("originalhost", "*", negated=True),)


class Fallback:
    """The settings for one destination, as `ssh -G` would have them."""

    def __init__(self, host: str, config_file: str | None, first: Sequence[tuple[str, str]]) -> None:
        """`first` is what stands before every file: the command line's options, and what the destination says."""
        self._host = host
        self.warnings: list[str] = []
        given = [self._given(keyword, value) for keyword, value in first]
        self._lines = list(_known([*given, *read_files(config_file)]))
        criteria = {one.name for line in self._lines for block in line.blocks for one in block.criteria}
        self._two_passes = "final" in criteria
        self._text: list[str] = []

    def values(self) -> dict[str, list[str]]:
        """Options by lower-case name. Raises SSHConfigError for what ssh would refuse."""
        for number, line in enumerate(self._lines):
            self._text += self._emitted(line, number)
        found = self._lookup([])
        applied = [self._lines[int(key[2:])] for key in found if re.fullmatch(r"kt\d+", key)]
        values: dict[str, list[str]] = {}
        for line in applied:
            self._take(line, values)
        host = _expand_host(values["hostname"][0], self._host) if "hostname" in values else self._host
        values["hostname"] = [host if _is_address(host) else host.lower()]
        values.setdefault("identityfile", list(DEFAULT_IDENTITIES))
        for key, default in DEFAULT_ALGORITHMS.items():
            values[key] = [",".join(_assembled(values.get(key, [""])[0], default))]
        if values.get("canonicalizehostname", ["no"])[0].lower() not in {"no", "false"}:
            self._warn("CanonicalizeHostname is not followed without OpenSSH: the name is taken as it stands")
        return values

    # --- which lines apply -------------------------------------------------------------------------------------------

    def _given(self, keyword: str, value: str) -> Line:
        place = "command line"
        return Line(place, keyword, setting_words(keyword, value, place))

    def _emitted(self, line: Line, number: int) -> Iterator[str]:
        """The setting as lines for paramiko, under conditions that mean to it what they mean to OpenSSH."""
        marker = [f"kt{number} 1"]
        if line.keyword == "hostname":
            marker.append(f"hostname {_expand_host(line.words[0], self._host)}")  # Match host compares with it
        elif line.keyword == "user":
            marker.append(f"user {line.words[0]}")  # Match user, too
        conditions = self._conditions(line.blocks)
        if line.keyword == "hostname":
            del conditions[1:]  # the second pass finds the name settled
        for criteria in conditions:
            yield f"Match {_words(criteria)}" if criteria else "Host *"
            yield from marker

    def _conditions(self, blocks: Sequence[Block]) -> list[list[Criterion]]:
        """Alternatives under which the blocks hold, each a list that must hold as a whole."""
        # paramiko always makes a second pass; OpenSSH only where a `Match final` asks for it.
        first = [Criterion("final", negated=True)]
        alternatives = [first, [Criterion("final")]] if self._two_passes else [first]
        for second, criteria in enumerate(alternatives):
            for block in blocks:
                if block.patterns:
                    # In the second pass, `Host` is compared with what HostName has made of the name.
                    criteria += _host_criteria(block.patterns, "host" if second else "originalhost")
                else:
                    criteria += self._match_criteria(block, criteria, second=bool(second))
        return alternatives if blocks else [[]]

    def _match_criteria(self, block: Block, before: list[Criterion], *, second: bool) -> list[Criterion]:
        taken: list[Criterion] = []
        for one in block.criteria:
            if one.name == "all":
                taken += NEVER if one.negated else ()
            elif one.name in {"final", "canonical"}:
                taken += NEVER if second is one.negated else ()
            elif one.name == "exec":
                taken += () if self._runs_well(one, [*before, *taken]) else NEVER
            elif one.name in LATER_CRITERIA:
                self._warn(f"`Match {one.name}` is not understood without OpenSSH: its block is left out")
                taken += NEVER
            elif one.name in {"host", "originalhost"}:
                taken.append(Criterion(one.name, _any_case(one.argument), one.negated))
            else:
                taken.append(Criterion(one.name, _glob(one.argument), one.negated))
        return taken

    def _runs_well(self, one: Criterion, before: list[Criterion]) -> bool:
        """Run the command of a `Match exec`, where the rest of its line holds by what stands above it."""
        so_far = self._lookup([f"Match {_words(before)}", "probe 1"])
        if "probe" not in so_far:
            return False
        applied = [self._lines[int(key[2:])] for key in so_far if re.fullmatch(r"kt\d+", key)]
        values: dict[str, list[str]] = {}
        for line in applied:
            self._take(line, values)
        user = values.get("user", [getpass.getuser()])[0]
        host = _expand_host(values["hostname"][0], self._host) if "hostname" in values else self._host
        tokens = {
            "%": "%", "h": host, "n": self._host, "p": values.get("port", ["22"])[0], "r": user,
            "u": getpass.getuser(), "d": str(home()), "l": socket.gethostname(),
            "L": socket.gethostname().partition(".")[0], "i": str(os.getuid()) if hasattr(os, "getuid") else "",
            "k": values.get("hostkeyalias", [self._host])[0],
        }  # fmt: skip
        command = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), one.argument)
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            done = subprocess.run(
                [shell, "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SSHConfigError(f"`Match exec` cannot be decided: {one_line(str(exc))}") from exc
        return (done.returncode == 0) is not one.negated

    def _lookup(self, more: Sequence[str]) -> dict[str, str]:
        import paramiko.config

        text = "\n".join([*self._text, *more])
        try:
            return dict(paramiko.config.SSHConfig.from_text(text).lookup(self._host))
        except paramiko.ssh_exception.SSHException as exc:
            raise SSHConfigError(f"the SSH config cannot be read: {one_line(str(exc))}") from exc

    # --- what they say -----------------------------------------------------------------------------------------------

    def _take(self, line: Line, values: dict[str, list[str]]) -> None:
        """Add one setting: the first one counts, but for lists."""
        keyword = ALIASES.get(line.keyword, line.keyword)
        value = line.words[0]
        if keyword in LISTS:
            if value not in values.setdefault(keyword, []):
                values[keyword].append(value)
        elif keyword in {"proxyjump", "proxycommand"}:
            # The first of both counts; but `ProxyJump none` leaves room for a ProxyCommand.
            if "proxycommand" not in values and (
                "proxyjump" not in values or (keyword == "proxycommand" and values["proxyjump"] == ["none"])
            ):
                values[keyword] = [value]
        elif keyword == "hostkeyalias":
            values.setdefault(keyword, [value.lower()])
        elif keyword not in values:
            values[keyword] = list(line.words) if keyword in FILES else [_checked(line, keyword)]

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _known(lines: Sequence[Line]) -> Iterator[Line]:
    """The lines with their values verified, whether they apply or not, as ssh does; without those to be ignored."""
    ignored: list[str] = []
    for line in lines:
        if any(fnmatch.fnmatchcase(line.keyword, _glob(pattern)) for pattern in ignored):
            continue
        if line.keyword not in KEYWORDS:
            raise SSHConfigError(f"{line.place}: bad configuration option: {line.keyword}")
        keyword = ALIASES.get(line.keyword, line.keyword)
        if len(line.words) > 1 and keyword not in SEVERAL_WORDS:
            raise SSHConfigError(f"{line.place}: keyword {keyword} extra arguments at end of line")
        _checked(line, keyword)
        if keyword == "ignoreunknown" and not ignored:
            ignored = [pattern.lower() for word in line.words for pattern in word.split(",")]
        yield line


def _checked(line: Line, keyword: str) -> str:
    value = " ".join(line.words)
    if keyword == "port":
        return str(_port(line, value))
    if keyword in TIMES:
        return value if value.lower() == "none" else str(_seconds(line, value))
    if keyword in NUMBERS and not value.isdigit():
        raise SSHConfigError(f"{line.place}: integer value {value} invalid")
    if keyword in FLAGS and value.lower() not in {"yes", "no", "true", "false"}:
        raise SSHConfigError(f"{line.place}: unsupported option {value!r} for {keyword}")
    if keyword == "addressfamily" and value.lower() not in {"any", "inet", "inet6"}:
        raise SSHConfigError(f"{line.place}: unsupported address family {value!r}")
    return value


def _port(line: Line, value: str) -> int:
    if value.isdigit() and 0 < int(value) <= 65535:
        return int(value)
    try:
        return socket.getservbyname(value, "tcp")
    except OSError as exc:
        raise SSHConfigError(f"{line.place}: bad port {value!r}") from exc


def _seconds(line: Line, value: str) -> int:
    """`90`, `30s`, `1h30m` (misc.c, convtime)."""
    if not re.fullmatch(r"(?:\d+[smhdwSMHDW]?)+", value):
        raise SSHConfigError(f"{line.place}: invalid time value {value!r}")
    return sum(int(count) * SECONDS[unit.lower()] for count, unit in re.findall(r"(\d+)([smhdwSMHDW]?)", value))


def _assembled(value: str, default: Sequence[str]) -> list[str]:
    """A list of algorithms: by itself, or +added to, -taken from, or ^put before the default."""
    names = [name for name in value.lstrip("+-^").split(",") if name]
    if value.startswith("+"):
        return [*default, *(name for name in names if name not in default)]
    if value.startswith("-"):
        return [name for name in default if not any(fnmatch.fnmatchcase(name, _glob(pattern)) for pattern in names)]
    if value.startswith("^"):
        return [*names, *(name for name in default if name not in names)]
    return names or list(default)


def _host_criteria(patterns: Sequence[str], name: str) -> list[Criterion]:
    """`Host a b !c`: one of the first, and none of the others."""
    wanted = [_glob(pattern).replace(",", "?") for pattern in patterns if not pattern.startswith("!")]
    refused = [_glob(pattern[1:]).replace(",", "?") for pattern in patterns if pattern.startswith("!")]
    if not wanted:
        return list(NEVER)
    return [Criterion(name, ",".join(wanted)), *(Criterion(name, pattern, negated=True) for pattern in refused)]


def _glob(patterns: str) -> str:
    """OpenSSH's patterns know `*` and `?` alone; paramiko's have sets in brackets, too."""
    return patterns.replace("[", "[[]")


def _any_case(patterns: str) -> str:
    """The same, for names that are compared without regard to case."""
    return "".join(f"[{sign.lower()}{sign.upper()}]" if sign.isalpha() else _glob(sign) for sign in patterns)


def _words(criteria: Sequence[Criterion]) -> str:
    def words(one: Criterion) -> str:
        name = f"!{one.name}" if one.negated else one.name
        return f"{name} {shlex.quote(one.argument)}" if one.argument else name

    return " ".join(map(words, criteria)) or "all"


def _expand_host(text: str, host: str) -> str:
    return re.sub(r"%([h%])", lambda found: host if found[1] == "h" else "%", text)


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def option_pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    """`KEY=VALUE` or `KEY VALUE`, as after -o. Raises SSHConfigError."""
    found = [parse_line(option, "command line") for option in options]
    return [pair for pair in found if pair is not None]
