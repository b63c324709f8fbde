"""`kirotunnel run` with programs of the test on the remote, and a person who says yes to every sign-in page."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.harness import Run
from lab.remote import RemoteMachine
from lab.servers import Server
from lab.setup_script import STANDIN_PYTHON

BROWSER = Path(__file__).with_name("consenting_browser.py")
IDP = "idp.example"
"""Nobody's host; the browser of these tests knows what its page would answer."""


@dataclass
class Desk:
    """A remote, a way to it, and what the browser saw."""

    remote: RemoteMachine
    config: Path
    visits_file: Path
    alias: str = "dev-box"
    user: str = "bash"
    environment: Mapping[str, str] = field(default_factory=dict)

    def program(self, name: str, text: str) -> str:
        """Install a Python program in the user's PATH; its name."""
        path = f"{self.remote.users[self.user].home}/.local/bin/{name}"
        self.remote.write(path, f"#!{STANDIN_PYTHON}\n{textwrap.dedent(text)}", mode=0o755, owner=self.user)
        return name

    @property
    def browser(self) -> list[str]:
        return ["--browser", shlex.join([sys.executable, str(BROWSER), str(self.visits_file)])]

    def arguments(self, *words: str, options: tuple[str, ...] = ("--trust-url-host", IDP)) -> list[str]:
        return ["run", "-F", str(self.config), *self.browser, *options, self.alias, "--", *words]

    def start(
        self, *words: str, stdin: int = subprocess.PIPE, options: tuple[str, ...] | None = None
    ) -> subprocess.Popen[str]:
        more = {} if options is None else {"options": options}
        return subprocess.Popen(
            [sys.executable, "-m", "kirotunnel", *self.arguments(*words, **more)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip

    def run(self, *words: str, stdin: str = "", timeout: float = 60, options: tuple[str, ...] | None = None) -> Run:
        process = self.start(*words, options=options)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"kirotunnel hangs\nstdout: {out}\nstderr: {err}") from None
        return Run(process.returncode, out, err)

    def visits(self) -> list[Any]:
        """[URL, status, body] of each request of the browser to this machine."""
        text = self.visits_file.read_text() if self.visits_file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def desk(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Desk:
    config = remote.ssh_config(tmp_path / "ssh_config", sshd.entry("dev-box", "bash"))
    return Desk(remote, config, tmp_path / "visits")
