"""The answers of our shell scripts on the target: records framed by a nonce, and the facts that they state.

A login shell may print anything before, after and between (a noisy .bashrc, a banner without a newline), so a record is
a line `NONCE key value`, looked for wherever the nonce stands in a line.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kirotunnel.events import Account
from kirotunnel.wire.listeners import ListeningPort, parse_lsof, parse_proc, parse_ss
from kirotunnel.wire.terminal import one_line
from kirotunnel.wire.whoami import WhoamiPatterns, parse_whoami

MAX_RECORD: Final = 64 * 1024
"""Bytes of one line; a longer one is cut."""

_VERSION: Final = re.compile(r"(?<![0-9.])([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?\b")


@dataclass(frozen=True, slots=True)
class Record:
    """One `key value` of the remote script."""

    key: str
    value: str


class RecordReader:
    """Find the records in a stream of bytes, in bounded memory."""

    def __init__(self, nonce: str) -> None:
        self._mark = f"{nonce} ".encode()
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Record]:
        """The records that these bytes complete."""
        records: list[Record] = []
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep(line)
            if record := self._record(bytes(self._buffer)):
                records.append(record)
            self._buffer.clear()
        self._keep(rest)
        return records

    def _keep(self, piece: bytes) -> None:
        self._buffer += piece[: MAX_RECORD - len(self._buffer)]

    def _record(self, line: bytes) -> Record | None:
        _, mark, content = line.partition(self._mark)
        if not mark:
            return None
        key, _, value = content.decode("utf-8", "replace").rstrip("\r").partition(" ")
        return Record(key, value)


def decoded(key: str, text: str) -> bytes:
    """The bytes of a record that holds some: its key ends in how they are written, base64 or hexadecimal."""
    try:
        return base64.b64decode(text) if key.endswith("64") else bytes.fromhex(text)
    except ValueError:
        return b""  # none of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFacts:
    """What the look around on the target found."""

    system: str
    """`Linux`, `Darwin`, … as uname says."""
    wsl: bool
    user: str
    home: str
    cli: str | None
    """Absolute path of the CLI; None where it was not found."""
    version: tuple[int, ...] | None
    account: Account | None
    """Who is signed in; None for nobody."""
    directory: str | None
    """The private directory with the opener, when one could be made where programs may run."""

    @property
    def version_text(self) -> str | None:
        """`2.10.0`, for people."""
        return ".".join(map(str, self.version)) if self.version else None


def read_facts(records: Iterable[Record], patterns: WhoamiPatterns | None = None) -> RemoteFacts:
    """The facts that the records of the preflight script state; `patterns` read a whoami that is not kiro-cli's."""
    records = list(records)
    values: dict[str, str] = {}
    version: tuple[int, ...] | None = None
    for record in records:
        if record.key == "version":
            version = version or parse_version(record.value)
        values.setdefault(record.key, record.value)
    kernel = values.get("kernel", "").lower()
    return RemoteFacts(
        system=one_line(values.get("os", ""), 40),
        wsl="microsoft" in kernel or "wsl" in kernel,
        user=one_line(values.get("user", ""), 80),
        home=values.get("home", ""),
        cli=one_line(values.get("cli", "")) or None,
        version=version,
        account=read_account(records, patterns),
        directory=values.get("dir") or None,
    )


def read_account(records: Iterable[Record], patterns: WhoamiPatterns | None = None) -> Account | None:
    """Who is signed in, from the records of the CLI's whoami; its exit code is the reliable part of its answer."""
    values = [(record.key, record.value) for record in records]
    if dict(values).get("whoami-exit") != "0":
        return None
    output = "\n".join(value for key, value in values if key == "whoami")
    if patterns is not None:
        return patterns.read(output)
    return parse_whoami(output) or Account(type=None)


def parse_version(text: str) -> tuple[int, ...] | None:
    """`kiro-cli 2.10.0` → (2, 10, 0)."""
    found = _VERSION.search(text)
    return tuple(int(part) for part in found.groups(default="0")) if found else None


def read_listeners(records: Iterable[Record]) -> list[ListeningPort] | None:
    """The listening ports that the records show; None where the target has no means to tell."""
    rows: dict[str, list[str]] = {"ss": [], "proc": [], "socket": [], "lsof": []}
    tool = ""
    for record in records:
        if record.key == "listeners-by":
            tool = record.value
        elif record.key in rows:
            rows[record.key].append(record.value)
    parsers = {
        "ss": lambda: parse_ss(rows["ss"]),
        "proc": lambda: parse_proc(rows["proc"], rows["socket"]),
        "lsof": lambda: parse_lsof(rows["lsof"]),
    }
    return list(parsers[tool]()) if tool in parsers else None
