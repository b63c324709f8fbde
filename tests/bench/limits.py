"""What a login takes at most: memory with a remote that prints a gigabyte, the event loop, growth from login to login.

Growth is shown as the last twenty of the logins against the first twenty; what is absolute has its aim beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Final

from e2e.harness import Services
from lab.remote import RemoteMachine
from lab.servers import Server

LOGINS: Final = 200
USER: Final = "bash"
ALIAS: Final = "dev-box"
HOSTILE: Final = Path(__file__).parents[1] / "e2e" / "hostile_cli.py"
FLOODS: Final = {
    "short lines": "flood('x\\n')",
    "one endless line": "flood('x')",
    "noise": "flood(os.urandom(1 << 16))",
}


def main(directory: Path, logins: int) -> None:
    """Measure and print."""
    with RemoteMachine(directory) as remote:
        server: Server = remote.sshd()
        config = str(remote.ssh_config(directory / "ssh_config", server.entry(ALIAS, USER)))
        services = Services.start(remote)
        try:
            sys.stdout.write(f"{_growth(remote, services, config, logins)}\n{_memory(remote, services, config)}")
        finally:
            services.stop()


def _growth(remote: RemoteMachine, services: Services, config: str, logins: int) -> str:
    remote.install_cli(USER, env=services.cli_environment())
    trusted = [host for host in services.trust if not host.startswith("--")]
    command = [sys.executable, "-m", "bench.many_logins", config, ALIAS, str(logins), *trusted]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    first, last = rows[:20], rows[-20:]

    def compared(what: str, name: str) -> str:
        one, other = (median(row[name] for row in part) for part in (last, first))
        return f"{one / other:5.2f}  {what:48} {one:8.0f} / {other:8.0f}  (aim 1.0)"

    blocks = sorted(row["block_ms"] for row in rows)
    cpu = sorted(row["block_cpu_ms"] for row in rows)
    return "\n".join([
        f"{logins} logins in a row in one process, the last twenty / the first twenty:",
        compared("open descriptors", "files"),
        compared("tasks", "tasks"),
        compared("memory, KiB", "memory_kb"),
        "",
        "The longest time in each login for which the event loop had no turn for anything else (aim <= 100 ms):",
        f"median {median(blocks):.0f} ms, longest {blocks[-1]:.0f} ms by the clock; "
        f"{median(cpu):.0f} and {cpu[-1]:.0f} ms of the processor.",
        "",
    ])  # fmt: skip


def _memory(remote: RemoteMachine, services: Services, config: str) -> str:
    lines = ["The most memory of a login, MiB (aim < 100):"]
    login = ["login", ALIAS, "-F", config, "--json", "--no-browser", *services.trust]
    remote.install_cli(USER, env=services.cli_environment())
    lines.append(f"{_peak([*login, '--timeout', '3']):6.0f}  a remote that waits for its browser")
    for name, flood in FLOODS.items():
        remote.install_cli(USER, env={**services.cli_environment(), "HOSTILE": flood}, source=HOSTILE)
        lines.append(f"{_peak(login):6.0f}  a remote that prints a gigabyte: {name}")
    return "\n".join(lines) + "\n"


def _peak(arguments: list[str]) -> float:
    process = subprocess.Popen(
        [sys.executable, "-m", "kirotunnel", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024
