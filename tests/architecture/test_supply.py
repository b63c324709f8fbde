"""What the scripts install is locked, from no particular index; an audit that saw nothing does not call it clean."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS: Final = ("build", "check", "test")
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def wanted(group: str) -> list[Requirement]:
    """What pyproject.toml says that a group, with the package itself, needs on this machine."""
    lines = list(PROJECT["project"]["dependencies"])
    left = [group]
    while left:
        for each in PROJECT["dependency-groups"][left.pop()]:
            if isinstance(each, str):
                lines.append(each)
            else:
                left.append(each["include-group"])
    return [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()]


def locked(group: str) -> dict[str, list[Requirement]]:
    """What requirements/GROUP.txt installs; one name may stand twice, for two Pythons."""
    found: dict[str, list[Requirement]] = {}
    text = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8")
    for line in re.findall(r"^[a-zA-Z][^\n\\]*", text, re.MULTILINE):
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_everything_that_is_wanted_is_locked(group: str) -> None:
    here = {name: [r for r in each if r.marker is None or r.marker.evaluate()] for name, each in locked(group).items()}
    for requirement in wanted(group):
        (pinned,) = here.get(canonicalize_name(requirement.name)) or pytest.fail(f"{requirement}: run scripts/lock")
        (version,) = pinned.specifier
        assert version.operator == "=="
        assert requirement.specifier.contains(version.version), f"{requirement}: run scripts/lock"


@pytest.mark.parametrize("group", GROUPS)
def test_every_package_has_its_hashes_and_comes_from_no_particular_place(group: str) -> None:
    text = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-zA-Z])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert [entry for entry in entries if not HASH.search(entry)] == []
    assert re.findall(r"https?:|file:|//|-index|find-links", text) == []


def test_one_environment_can_hold_all_groups() -> None:
    versions: dict[str, set[str]] = {}
    for group in GROUPS:
        for name, requirements in locked(group).items():
            here = [each for each in requirements if each.marker is None or each.marker.evaluate()]
            versions.setdefault(name, set()).update(str(each.specifier) for each in here)
    assert {name: each for name, each in versions.items() if len(each) > 1} == {}


# --- the audit -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audit() -> Iterator[ModuleType]:
    loader = SourceFileLoader("audit", str(ROOT / "scripts" / "audit"))
    module = module_from_spec(spec_from_loader("audit", loader) or pytest.fail("no such script"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "audit", module)  # dataclasses look their module up
        loader.exec_module(module)
        yield module


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN: Final[dict[str, Any]] = {"name": "h11", "version": "0.16.0", "vulns": []}
FLAW: Final = {"id": "PYSEC-2026-3808", "fix_versions": ["2.23.1"], "aliases": [], "description": ""}
FLAWED: Final[dict[str, Any]] = {"name": "asyncssh", "version": "2.22.0", "vulns": [FLAW]}
UNKNOWN: Final[dict[str, Any]] = {"name": "click", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("said", "passed", "words"),
    [
        ("", True, "NOT audited"),
        ("no JSON", True, "NOT audited"),
        (report(UNKNOWN), True, "NOT audited"),
        (report(), True, "NOT audited"),
        (report(CLEAN), True, "the 1 packages"),
        (report(CLEAN, UNKNOWN), True, "1 not known to it: click"),
        (report(CLEAN, FLAWED), False, "asyncssh 2.22.0: PYSEC-2026-3808, fixed in 2.23.1"),
    ],
)
def test_an_audit_says_what_it_saw(audit: ModuleType, said: str, passed: bool, words: str) -> None:
    judged = audit.verdict(said)
    assert judged.passed is passed
    assert any(words in line for line in judged.lines)


def test_an_advisory_is_a_failure_even_where_the_other_packages_are_not_known(audit: ModuleType) -> None:
    assert not audit.verdict(report(UNKNOWN, FLAWED)).passed
