"""What was found once holds for good, and a bounded run of the fuzzer finds nothing new. `scripts/fuzz` runs longer."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fuzz.targets import TARGETS
from lab.requirements import unmet

CORPUS: Final = Path(__file__).with_name("corpus")
TESTS: Final = Path(__file__).parents[1]
SOURCE: Final = TESTS.parent / "src" / "kirotunnel"
ENTRIES: Final = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
RUNS: Final = 2000
LENGTH: Final = 300
"""Bytes: beside a fuzzer of a few thousand runs a longer input is only slower."""


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds(name: str) -> None:
    entries = [path for path in ENTRIES if path.parent.name == name]
    assert entries, "a target begins with some inputs that are right"
    for path in entries:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as exc:
            exc.add_note(str(path))
            raise


def test_every_entry_of_the_corpus_belongs_to_a_target_and_is_small() -> None:
    assert {path.parent.name for path in ENTRIES} == set(TARGETS)
    assert [path for path in ENTRIES if path.stat().st_size > 4096] == []


def test_every_reader_of_a_strangers_bytes_is_fuzzed() -> None:
    readers = {path.stem for path in (SOURCE / "wire").glob("*.py")} - {"__init__"}
    fuzzed = set(re.findall(r"^from kirotunnel\.wire\.(\w+) import", (TESTS / "fuzz" / "targets.py").read_text(), re.M))
    assert readers == fuzzed


@pytest.mark.parametrize("name", TARGETS)
def test_a_bounded_run_finds_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        unmet(f"atheris is not installed (there is none for {sys.platform} on {platform.machine()})")
    found = tmp_path / "found"
    found.mkdir()
    run = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "fuzz", name, f"-runs={RUNS}", f"-max_len={LENGTH}", "-seed=1",
            "-timeout=20", "-rss_limit_mb=1024", f"-artifact_prefix={found}/", str(tmp_path), str(CORPUS / name),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        timeout=110,
        check=False,
    )  # fmt: skip
    said = run.stderr.decode("utf-8", "backslashreplace")
    assert run.returncode == 0, f"{said[-4000:]}\n{[path.read_bytes() for path in found.iterdir()]}"
    assert f"Done {RUNS} runs" in said or "DONE" in said
