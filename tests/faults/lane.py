"""One lane of the matrix: a process with a network of its own, which runs one combination after the other.

Reads `{"fault": …, "state": …}` lines, and answers each with the outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from faults.by_command import CommandTrial
from faults.faults import FAULTS
from faults.in_process import InProcessTrial
from faults.scene import Scene
from faults.states import STATES
from lab.own_network import enter_own_network


async def main(directory: Path) -> None:
    faults = {fault.key: fault for fault in FAULTS}
    states = {state.key: state for state in STATES}
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
    async with Scene.set(directory) as scene:
        await asyncio.to_thread(int)  # the executor's threads are there from now on
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            fault, state = faults[asked["fault"]], states[asked["state"]]
            trial = (CommandTrial if fault.kind == "process" else InProcessTrial)(scene, fault, state)
            outcome = await trial.run()
            sys.stdout.write(json.dumps(outcome.as_dict()) + "\n")
            sys.stdout.flush()


def show_tasks() -> None:
    """For whoever wonders what a lane waits for: `kill -USR1`, then see its `stderr`."""
    for task in asyncio.all_tasks():
        waits, at = task.get_coro(), []
        while (frame := getattr(waits, "cr_frame", None)) is not None:
            at.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
            waits = getattr(waits, "cr_await", None)
        sys.stderr.write(" > ".join(at) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for name in [name for name in os.environ if name.startswith(("KIRO", "SSH_", "XDG_", "AWS_"))]:
        del os.environ[name]
    os.environ["HOME"] = str(place)
    enter_own_network()
    asyncio.run(main(place))
