"""`oidc-provider` (npm, certified) as a process: stands for Entra ID, Okta and every other provider."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lab.requirements import find, require, unmet

FOLDER: Final = Path(__file__).parent.parent / "oidc_provider"


@contextmanager
def running_provider(**options: Any) -> Iterator[str]:
    """The provider as a process; gives its issuer."""
    require("node", "chromium")
    if not (FOLDER / "node_modules").is_dir():
        unmet("tests/oidc_provider/node_modules is not there (scripts/test installs it)")
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [find("node") or "node", str(FOLDER / "server.mjs")],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OIDC_OPTIONS": json.dumps(options)},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield json.loads(process.stdout.readline())["issuer"]
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
