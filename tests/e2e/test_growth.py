"""Login after login in one process leaves nothing behind in it; `scripts/bench` goes on to two hundred."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.conftest import MakeBox
from lab.servers import Server

TESTS = Path(__file__).parents[1]


@pytest.mark.timeout(300)
def test_descriptors_and_tasks_are_the_same_after_five_logins_and_after_twenty(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    trusted = [box.services.trust[i] for i in (1, 3)]
    run = subprocess.run(
        [sys.executable, "-m", "bench.many_logins", str(box.config), box.alias, "20", *trusted],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rows) == 20
    assert [(row["files"], row["tasks"]) for row in rows[5:]] == [(rows[4]["files"], rows[4]["tasks"])] * 15
