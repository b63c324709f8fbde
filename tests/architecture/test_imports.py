"""Who imports whom, and what the command line loads before it is asked to do anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from lab.requirements import find, unmet

ROOT: Final = Path(__file__).parents[2]
HEAVY: Final = {
    "asyncssh",
    "paramiko",
    "httpx",
    "h11",
    "psutil",
    "cryptography",
    "tomllib",
    "platformdirs",
    "asyncio",
    "rich",
    "ssl",
}
ASKS: Final = """
import json, sys
from kirotunnel.cli.main import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-h"]], ids=lambda arguments: arguments[0])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    run = subprocess.run([sys.executable, "-c", ASKS, *arguments], capture_output=True, text=True, check=True)
    code, modules = json.loads(run.stderr.splitlines()[-1])
    assert code == 0
    assert run.stdout
    assert HEAVY & set(modules) == set()
    assert [module for module in modules if module.startswith("kirotunnel.")] == [
        "kirotunnel.cli",
        "kirotunnel.cli.main",
        "kirotunnel.errors",
        "kirotunnel.version",
    ]


def test_what_completion_reads_of_the_commands_is_light() -> None:
    program = "import sys; from kirotunnel.cli.options import option_names; option_names(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"asyncssh", "paramiko", "httpx", "h11", "psutil", "cryptography", "asyncio", "rich"} & set(
        run.stdout.split()
    ) == set()


def test_importing_the_package_loads_nothing_of_it() -> None:
    program = "import sys, kirotunnel; print(*[name for name in sys.modules if name.startswith('kirotunnel.')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["kirotunnel.version"]


def test_a_room_looks_only_down() -> None:
    checker = Path(sys.executable).parent / "lint-imports"
    if not checker.exists() and find("lint-imports") is None:
        unmet("import-linter is not installed (scripts/check installs it)")
    run = subprocess.run([str(checker), "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
