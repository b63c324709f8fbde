"""One table of codes: classes, findings, `explain`, docs/errors.md and the exit codes agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kirotunnel import errors
from kirotunnel.cli.explain import command as explain
from kirotunnel.diagnose.catalogue import Entry, catalogue
from kirotunnel.diagnose.findings import KINDS
from kirotunnel.errors import KirotunnelError, all_errors

ROOT = Path(__file__).parents[2]
ENTRIES = catalogue()


def test_the_page_is_what_its_script_writes() -> None:
    run = subprocess.run([sys.executable, "scripts/errors", "--check"], cwd=ROOT)
    assert run.returncode == 0, "run scripts/errors"


def test_the_page_has_each_code_once() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (KT\d+)$", text, re.MULTILINE) == list(ENTRIES)


def test_the_table_has_every_class_and_every_kind_of_finding() -> None:
    assert list(ENTRIES) == sorted([*all_errors(), *KINDS])
    assert set(all_errors()).isdisjoint(KINDS)


def test_no_two_classes_have_the_same_code() -> None:
    own = [cls.code for cls in _classes(KirotunnelError) if "code" in vars(cls) and cls is not KirotunnelError]
    assert sorted(own) == sorted(set(own))


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_each_code_is_said_in_full(entry: Entry) -> None:
    assert re.fullmatch(r"KT[1-9][0-9]{2}", entry.code)
    assert re.fullmatch(r"[A-Za-z].*[^.!]", entry.title)
    assert len(entry.explanation) > 40
    assert entry.explanation.endswith(".")
    assert entry.hint
    assert not entry.hint.endswith(".")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_explain_says_what_the_table_says(entry: Entry) -> None:
    run = CliRunner().invoke(explain, [entry.code.lower()])
    said = " ".join(run.output.split())
    assert run.exit_code == 0
    for part in (entry.code, entry.title, entry.explanation, entry.hint):
        assert " ".join(part.split()) in said


def test_explain_names_the_codes_where_there_is_none_of_that_name() -> None:
    run = CliRunner().invoke(explain, ["KT999"])
    assert run.exit_code == 2
    assert all(code in run.output.replace("\n", " ") for code in ("KT101", "KT801", "KT900"))


def test_exit_codes_are_those_of_the_branch() -> None:
    rows = re.findall(r"(\w+Error)\s+KT(\d)[x0-9]{2}\s+(\d+) ", errors.__doc__ or "")
    by_branch = {branch: int(exit_code) for _, branch, exit_code in rows}
    assert len(by_branch) == 8
    for entry in ENTRIES.values():
        if entry.exit_code is not None:
            assert entry.exit_code == by_branch[entry.code[2]], entry.code


def _classes(cls: type[KirotunnelError]) -> list[type[KirotunnelError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _classes(child))]
