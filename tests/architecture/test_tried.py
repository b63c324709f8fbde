"""docs/tried.md names the versions that the tests install."""

from __future__ import annotations

import json
import re

from lab.setup_script import REPOSITORY
from real_clis.catalogue import CLIS, FOLDER

PAGE = (REPOSITORY / "docs" / "tried.md").read_text(encoding="utf-8")
TESTED = PAGE.partition("## Signed in")[2].partition("## Tried once")[0]


def test_each_command_line_of_the_tests_is_in_the_table_and_no_other() -> None:
    rows = [line for line in TESTED.splitlines() if re.match(r"\| .* \| \d", line)]
    assert len(rows) == len(CLIS)
    for cli in CLIS:
        assert any(cli.name.split("-sdk")[0] in row for row in rows), cli.name


def test_its_versions_are_those_that_are_installed() -> None:
    pinned = dict(line.split("==") for line in (FOLDER / "requirements.txt").read_text().splitlines() if "==" in line)
    pinned |= json.loads((FOLDER / "package.json").read_text())["dependencies"]
    for name in ("google-auth-oauthlib", "msal", "databricks-sdk", "sigstore", "wrangler"):
        assert re.search(rf"\| .*{name}.* \| {re.escape(pinned[name])} \|", TESTED), name
