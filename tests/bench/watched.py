"""kirotunnel with a clock at its event loop: `bench.watched REPORT ARGUMENTS…` runs it and writes what was seen.

Each callback is timed twice. Its own work is the thread's CPU time; the wall clock counts as well what other processes
took of the machine meanwhile, and what it waited for without awaiting.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from kirotunnel.cli.main import run


def main() -> int:
    report, arguments = Path(sys.argv[1]), sys.argv[2:]
    longest = {"cpu_s": 0.0, "wall_s": 0.0}
    slowest = ""
    plain: Any = asyncio.events.Handle._run

    def timed(handle: Any) -> None:
        nonlocal slowest
        cpu, wall, modules = time.thread_time(), time.perf_counter(), len(sys.modules)
        plain(handle)
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        if cpu > longest["cpu_s"]:
            longest["cpu_s"], slowest = cpu, f"a step that loaded {len(sys.modules) - modules} modules"
        longest["wall_s"] = max(longest["wall_s"], wall)

    asyncio.events.Handle._run = timed
    try:
        return run(arguments)
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seen = {**longest, "slowest": slowest, "peak_kib": used.ru_maxrss, "cpu_total_s": used.ru_utime + used.ru_stime}
        report.write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
