"""Every KT code with its words, of errors and of findings: what `explain` and docs/errors.md are made of."""

from __future__ import annotations

from dataclasses import dataclass

from kirotunnel.diagnose.findings import KINDS
from kirotunnel.errors import all_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of one code."""

    code: str
    title: str
    explanation: str
    hint: str
    exit_code: int | None
    """None for what only doctor says."""

    @property
    def standing(self) -> str:
        """Where one meets it."""
        return "a finding of doctor" if self.exit_code is None else f"exit code {self.exit_code}"


def catalogue() -> dict[str, Entry]:
    """All entries by code, in order."""
    entries = [
        Entry(
            code=code,
            title=error.title,
            explanation=error.explanation,
            hint=error.default_hint,
            exit_code=error.exit_code,
        )
        for code, error in all_errors().items()
    ]
    entries += [
        Entry(code=kind.code, title=kind.title, explanation=kind.explanation, hint=kind.hint, exit_code=None)
        for kind in KINDS.values()
    ]
    return {entry.code: entry for entry in sorted(entries, key=lambda entry: entry.code)}
