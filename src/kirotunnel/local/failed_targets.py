"""Which targets could not be signed in by the last run of several: names only, in a file that only the owner reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

from kirotunnel.local.whole_file import replace_file

_VERSION: Final = 1
_MOST: Final = 1024 * 1024
_log: Final = logging.getLogger(__name__)


class FailedTargets:
    """The list, kept in a file. It only helps: what cannot be read counts as empty, what cannot be written is lost."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[str]:
        """The targets, in the order in which they were given."""
        try:
            with self._file.open("rb") as opened:
                data: Any = json.loads(opened.read(_MOST))
        except (OSError, ValueError, RecursionError):
            return []
        if not isinstance(data, dict) or data.get("v") != _VERSION or not isinstance(data.get("failed"), list):
            return []
        return [target for target in data["failed"] if isinstance(target, str)]

    def replace(self, failed: Iterable[str]) -> None:
        """A run of several is over: these failed."""
        self._write(list(failed))

    def update(self, tried: Collection[str], failed: Collection[str]) -> None:
        """Some of the list were tried anew, and these of them failed again; the others stay as they are."""
        before = self.read()
        after = [target for target in before if target not in tried or target in failed]
        if after != before:
            self._write(after)

    def _write(self, targets: list[str]) -> None:
        try:
            if not targets:
                self._file.unlink(missing_ok=True)
                return
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._file, json.dumps({"v": _VERSION, "failed": targets}))
        except OSError as exc:
            _log.debug("what failed cannot be remembered in %s: %s", self._file, exc.strerror)
