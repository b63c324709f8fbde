"""Counting strays: each is reported while there are few, then their sum, each time that it has doubled.

Any program of this machine can knock at a callback port ten thousand times a second; neither a terminal nor whoever
reads the JSON lines should be flooded by it, and no stray should go uncounted.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from kirotunnel.events import RefusalReason, RequestRefused

SINGLY: Final = 100
"""Strays of one leg and reason that are reported one by one."""

_WORDS: Final[dict[RefusalReason, str]] = {
    "path": "for another path",
    "state": "with another state",
    "host": "for another host name or port",
    "method": "by another method, or not as a page",
    "malformed": "that were no request of a browser",
    "idle": "that asked nothing",
}


class Strays:
    """The strays of one login."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[int, RefusalReason]] = Counter()
        self._reported: Counter[tuple[int, RefusalReason]] = Counter()

    def refused(self, leg: int, reason: RefusalReason) -> list[RequestRefused]:
        """One more; what is to be reported now."""
        self._counted[leg, reason] += 1
        due = self._counted[leg, reason]
        return self._report(leg, reason) if due <= SINGLY or due >= 2 * self._reported[leg, reason] else []

    def rest(self, leg: int) -> list[RequestRefused]:
        """What was counted on this leg and is not reported yet: its end."""
        return [event for of, reason in self._counted if of == leg for event in self._report(leg, reason)]

    def _report(self, leg: int, reason: RefusalReason) -> list[RequestRefused]:
        new = self._counted[leg, reason] - self._reported[leg, reason]
        self._reported[leg, reason] += new
        return [RequestRefused(leg=leg, reason=reason, count=new)] if new else []

    def describe(self) -> str:
        """`3 other requests were refused (2 for another path, 1 that asked nothing)`; empty for none."""
        by_reason: Counter[RefusalReason] = Counter()
        for (_, reason), count in self._counted.items():
            by_reason[reason] += count
        each = ", ".join(f"{count} {_WORDS[reason]}" for reason, count in by_reason.most_common())
        return f"{by_reason.total()} other requests were refused ({each})" if each else ""
