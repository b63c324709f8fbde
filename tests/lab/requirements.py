"""What a test needs of this machine: where it is missing the test is skipped, or fails where everything is required."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import Final, NoReturn

import pytest

ADMIN_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where servers and mount tools are, also for a person whose own PATH leaves /usr/sbin out."""

# Read once, at import: the tests' environment is scrubbed of everything that starts with KIRO.
EVERYTHING_REQUIRED: Final = os.environ.get("KIROTUNNEL_REQUIRE_ALL") == "1" or os.environ.get("CI") == "true"


def unmet(reason: str) -> NoReturn:
    """End the running test: something that it needs is missing. A skip on a desk, a failure where all must run."""
    if EVERYTHING_REQUIRED:
        pytest.fail(f"required here, but {reason}", pytrace=False)
    pytest.skip(reason)


def require(*programs: str) -> None:
    """Go on only if these programs are installed."""
    missing = [program for program in programs if find(program) is None]
    if missing:
        unmet(f"not installed: {', '.join(missing)} (scripts/test installs what is missing)")


def require_laboratory() -> None:
    """Go on only if a remote machine can be made here."""
    if problem := laboratory_problem():
        unmet(problem)


def find(program: str, *, path: str = ADMIN_PATH) -> str | None:
    """The path of a program of this system: never one of the virtual environment, which the remote has not."""
    return shutil.which(program, path=path)


@cache
def laboratory_problem() -> str | None:
    """Why no remote machine can be made here; None where it can."""
    if os.geteuid() != 0:
        return "the laboratory needs root, for namespaces and users of its own"
    needed = ("ip", "unshare", "nsenter", "setpriv", "mount", "bash", "sshd", "ssh", "ssh-keygen")
    missing = [program for program in needed if find(program) is None]
    if missing:
        return f"the laboratory needs {', '.join(missing)} (scripts/test installs what is missing)"
    if find("python3", path="/usr/bin") is None:
        return "the laboratory needs /usr/bin/python3: the remote's users may read no other"
    # Containers may run as root and still be forbidden to make namespaces: only trying tells.
    trial = subprocess.run(
        [find("unshare") or "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return None if trial.returncode == 0 else f"no namespaces can be made here: {trial.stderr.strip()}"
