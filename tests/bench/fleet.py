"""Many hosts at once: kirotunnel against what a person would start by hand, and how both grow from one host to fifty.

By hand is, for each host, `ssh -N -L` for the callback and an `ssh` that runs the CLI's login; measured is the time
until every login has called for its browser. kirotunnel does that in one process, and its time is until it has opened
every page. Memory is what the processes on this side have for themselves (PSS), at that moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from e2e.hosts import Hosts, Machines
from kirotunnel.sandbox.robot import sign_in
from lab.keys import ClientKeys

SIZES: Final = (1, 10, 25, 50)
PATIENCE_S: Final = 180
HANDS: Final = 4
_FIRST_PORT: Final = 33000
# The CLI's browser flow over a bare ssh, with an opener that does nothing: what kirotunnel arranges by itself.
_BY_HAND: Final = (
    "mkdir -p shim && printf '#!/bin/sh\\n' >shim/xdg-open && chmod +x shim/xdg-open "
    "&& unset SSH_CLIENT SSH_CONNECTION SSH_TTY && PATH=$HOME/shim:$PATH exec .local/bin/kiro-cli login"
)


class Fleet:
    """The hosts, and one measure after the other on them."""

    def __init__(self, machines: Machines, directory: Path) -> None:
        self._machines = machines
        self._directory = directory

    def ours(self, count: int) -> dict[str, Any]:
        """One login of so many hosts, all of which wait at once; then all are clicked through."""
        hosts = self._hosts(count)
        fifo, report = self._directory / f"opened-{count}", self._directory / f"report-{count}"
        os.mkfifo(fifo)
        browser = ["--browser", shlex.join(["sh", "-c", f'echo "$1" >{shlex.quote(str(fifo))}', "sh"])]
        many = ["--tabs", str(count), "--max-parallel", str(count)]
        names = hosts.names if count > 1 else hosts.names[:1]
        arguments = ["login", *names, "-F", str(hosts.config), "-q", *many, *browser, *hosts.services.trust]
        descriptor = os.open(fifo, os.O_RDWR)
        began = time.perf_counter()
        with _running([sys.executable, "-m", "bench.watched", str(report), *arguments]) as process:
            pages = list(_lines(descriptor, count))
            opened = time.perf_counter() - began
            memory = _pss(process.pid)
            asyncio.run(_approve(pages))
            code = process.wait(PATIENCE_S)
            ended = time.perf_counter() - began
        os.close(descriptor)
        if code != 0:
            raise RuntimeError(f"the login of {count} hosts ended with {code}")
        seen: dict[str, Any] = json.loads(report.read_text())
        return {
            "opened": opened,
            "ended": ended,
            "memory": memory,
            "peak": seen["peak_kib"] / 1024,
            "block": seen["cpu_s"] * 1000,
            "block wall": seen["wall_s"] * 1000,
            "cpu": seen["cpu_total_s"],
            "slowest": seen["slowest"],
        }

    def by_hand(self, count: int) -> dict[str, Any]:
        """So many `ssh -N -L` and as many logins by `ssh`, all started at once."""
        hosts = self._hosts(count)
        ssh = ["ssh", "-F", str(hosts.config), "-oExitOnForwardFailure=yes"]
        with ExitStack() as stack:
            began = time.perf_counter()
            running: list[subprocess.Popen[str]] = []
            for number, name in enumerate(hosts.names):
                forward = f"{_FIRST_PORT + number}:127.0.0.1:3128"
                running.append(stack.enter_context(_running([*ssh, "-N", "-L", forward, name])))
                running.append(stack.enter_context(_running([*ssh, name, _BY_HAND])))
            while not all(any(event["event"] == "opener" for event in log) for log in hosts.logs()):
                if time.perf_counter() - began > PATIENCE_S:
                    raise RuntimeError("a login by hand never called for its browser")
                time.sleep(0.05)
            return {
                "opened": time.perf_counter() - began,
                "memory": sum(_pss(process.pid) for process in running),
                "tunnels": sum(_pss(process.pid) for process in running[::2]),
            }

    def _hosts(self, count: int) -> Hosts:
        services = self._machines.services()
        return Hosts.furnish(self._machines.first(count), services, self._directory)


async def _approve(pages: list[str]) -> None:
    hands = asyncio.Semaphore(HANDS)

    async def one(page: str) -> None:
        async with hands:
            report = await sign_in(page, method="google")
            if not report.ok:
                raise RuntimeError(f"a page could not be clicked through: {report}")

    await asyncio.gather(*map(one, pages))


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _lines(descriptor: int, count: int) -> Iterator[str]:
    rest = b""
    for _ in range(count):
        while b"\n" not in rest:
            rest += os.read(descriptor, 65536)
        line, _, rest = rest.partition(b"\n")
        yield line.decode()


def _pss(pid: int) -> float:
    """MiB that a process and what it started have for themselves: shared pages count by their share."""
    total = 0
    for one in (pid, *_children(pid)):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue  # it ended
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def _children(pid: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []
    return [one for child in found for one in (child, *_children(child))]


def report(ours: dict[int, dict[str, Any]], hand: dict[int, dict[str, Any]]) -> str:
    """The growth as a table, and the ratios at the largest size."""
    lines = ["hosts   pages open: kirotunnel / by hand     memory: kirotunnel / by hand (tunnels)   all signed in"]
    for count, mine in ours.items():
        other = hand[count]
        opened = f"{mine['opened']:6.1f} s / {other['opened']:5.1f} s = {mine['opened'] / other['opened']:5.2f}"
        memory = f"{mine['memory']:6.1f} / {other['memory']:6.1f} MiB = {mine['memory'] / other['memory']:5.2f}"
        lines.append(f"{count:5}   {opened:37}{memory} ({other['tunnels']:.1f})   {mine['ended']:6.1f} s")
    most, least = max(ours), min(ours)
    last = ours[most]
    a_host = (last["peak"] - ours[least]["peak"]) / (most - least) if most > least else 0.0
    wall = f"by the wall clock {last['block wall']:.1f} ms"
    lines += [
        "",
        f"{last['peak']:6.1f} MiB  peak memory of kirotunnel with {most} hosts (aim < 80), {a_host:.2f} MiB a host",
        f"{last['block']:6.1f} ms   longest work of one callback in its event loop (aim <= 100), {wall}",
        f"            {last['slowest']}",
        f"{last['cpu']:6.1f} s    processor time of kirotunnel, {last['cpu'] / most * 1000:.0f} ms a host",
        "",
        "By hand: for each host `ssh -N -L`, and an ssh that runs the login. Both wait for the CLIs' own start-ups.",
    ]
    return "\n".join(lines) + "\n"


def main(directory: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Measure, and print."""
    machines = Machines(directory, ClientKeys.make(directory))
    try:
        fleet = Fleet(machines, directory)
        machines.first(max(sizes))
        fleet.ours(1)  # compiles and caches what only a first time has to
        (directory / "opened-1").unlink()
        ours, hand = {}, {}
        for count in sizes:
            hand[count] = fleet.by_hand(count)
            ours[count] = fleet.ours(count)
        sys.stdout.write(report(ours, hand))
    finally:
        machines.stop()
