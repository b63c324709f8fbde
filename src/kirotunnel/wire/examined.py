"""What the target said to the doctor's questions, as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.records import Record, RemoteFacts, read_facts, read_listeners
from kirotunnel.wire.terminal import one_line

Reached = Literal["yes", "no", "name", "tls", "unknown"]
_REACHED: Final[dict[str, Reached]] = {"yes": "yes", "no": "no", "name": "name", "tls": "tls"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The target, as far as it could be asked."""

    facts: RemoteFacts
    seconds: int | None
    """Its clock, in seconds since 1970."""
    on_path: bool | None
    """Whether a plain command finds the CLI; None where a path was given."""
    home_writable: bool
    data_writable: bool
    disk_free_kib: int | None
    places: tuple[str, ...]
    """Directories that could be written to for a while."""
    left: tuple[str, ...]
    """Private directories of logins that are over."""
    keychain: Literal["open", "locked"] | None
    proxy: bool
    """Whether it goes out by a proxy of its environment."""
    listeners: list[ListeningPort] | None
    carrier: str | None
    """The program that would carry the callback where forwarding is forbidden; None where there is none."""
    reached: dict[str, Reached]
    """Each service, and whether it answered."""


def read_examined(records: Iterable[Record]) -> Examined:
    """What the records of doctor.sh state."""
    records = list(records)
    values: dict[str, list[str]] = {}
    for record in records:
        values.setdefault(record.key, []).append(record.value)

    def one(key: str) -> str:
        return values.get(key, [""])[0].strip()

    writable = dict(row.partition(" ")[::2] for row in values.get("writable", []))
    left = [row.partition(" ")[::2] for row in values.get("left", [])]
    reached = [row.partition(" ")[::2] for row in values.get("reach", [])]
    return Examined(
        facts=read_facts(records),
        seconds=int(one("date")) if one("date").isdecimal() and len(one("date")) < 12 else None,
        on_path={"yes": True, "no": False}.get(one("on-path")),
        home_writable=writable.get("home") != "no",
        data_writable=writable.get("data") != "no",
        disk_free_kib=_free(one("disk")),
        places=tuple(dict.fromkeys(one_line(place, 120) for place in values.get("place", []))),
        left=tuple(dict.fromkeys(one_line(path, 120) for alive, path in left if alive == "no")),
        keychain="open" if one("keychain") == "open" else "locked" if one("keychain") == "locked" else None,
        proxy=bool(one("proxy")),
        listeners=read_listeners(records),
        carrier=one_line(one("carrier"), 40) or None,
        reached={one_line(url, 120): _REACHED.get(word, "unknown") for word, url in reached},
    )


def _free(row: str) -> int | None:
    """Kibibytes that `df -Pk` calls available: the fourth number of its row, whatever the device is called."""
    fields = row.split()
    numbers = [field for field in fields[1:] if field.isdecimal() and len(field) < 20]
    return int(numbers[2]) if len(numbers) >= 3 else None
