"""The README's help texts and the picture are what the code makes of them now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_help_texts_in_the_readme_are_those_of_the_commands() -> None:
    run = subprocess.run([sys.executable, "scripts/readme", "--check"], cwd=ROOT)
    assert run.returncode == 0, "run scripts/readme"


def test_the_picture_is_the_one_that_its_script_draws(tmp_path: Path) -> None:
    before = (ROOT / "docs" / "how-it-works.svg").read_text(encoding="utf-8")
    copy = tmp_path / "scripts" / "picture"
    copy.parent.mkdir()
    (tmp_path / "docs").mkdir()
    copy.write_text((ROOT / "scripts" / "picture").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, str(copy)], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "docs" / "how-it-works.svg").read_text(encoding="utf-8") == before


def test_the_table_of_the_four_documented_failures_has_the_promised_codes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = {
        "Authentication timed out": "KT701",
        "Failed to bind callback port": "KT402",
        "Address already in use": "KT501",
        "Tunnel disconnects mid-auth": "KT305",
    }
    for words, code in rows.items():
        assert f"| {words} | {code} |" in readme


def test_no_two_decisions_have_the_same_number() -> None:
    numbers = sorted(int(page.name[:4]) for page in (ROOT / "docs" / "decisions").iterdir())
    assert numbers == list(range(1, len(numbers) + 1))
