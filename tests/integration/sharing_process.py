"""A process that leases a port for legs, told so on stdin: `python -m integration.sharing_process PORT`.

    lease STATE [page] [hold]   a leg with that state (`-`: without); its remote sends the browser to /index.html, or
                                keeps its answer back
    free STATE                  its remote answers
    close STATE                 the leg is over
    busy                        whether the port could be had
    end                         all legs are over

Each line on stdout is JSON: what was done, or what a leg saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from integration.relay_ends import Remote, Witness, answer, route_to
from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.callback_ports import CallbackPorts, Lease


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Teller(Witness):
    """Says what a leg's observer is told."""

    def __init__(self, state: str, remote: Remote) -> None:
        super().__init__()
        self._state = state
        self._remote = remote

    def stray(self, reason: RefusalReason) -> None:
        say(saw="stray", state=self._state, reason=reason)

    def callback(self, outcome: Outcome) -> None:
        say(saw="callback", state=self._state)

    def delivered(self, error: KirotunnelError | None) -> None:
        say(saw="delivered", state=self._state, error=error and error.code, targets=self._remote.targets)


class Process:
    def __init__(self, port: int) -> None:
        self._port = port
        self._owner = CallbackPorts()
        self._legs: dict[str, tuple[Lease, Remote]] = {}

    async def lease(self, state: str, *options: str) -> None:
        says = [answer("200 OK", "Content-Type: text/html", body=f"<h1>Done on {state}</h1>")]
        if "page" in options:
            says.insert(0, answer("302 Found", f"Location: http://127.0.0.1:{self._port}/index.html"))
        remote = Remote(says)
        if "hold" in options:
            remote.free.clear()
        route = route_to(
            remote, Teller(state, remote), self._port, state=None if state == "-" else state, host=f"box-{state}"
        )
        try:
            lease = await self._owner.lease(route)
        except KirotunnelError as error:
            say(did="lease", state=state, error=error.code, message=error.message, hint=error.hint)
        else:
            self._legs[state] = lease, remote
            say(did="lease", state=state, listen=lease.listen)

    async def free(self, state: str) -> None:
        self._legs[state][1].free.set()

    async def close(self, state: str) -> None:
        await self._legs.pop(state)[0].close()
        say(did="close", state=state)

    async def busy(self) -> None:
        say(did="busy", ports=await self._owner.busy([self._port]))

    async def end(self) -> None:
        for state in list(self._legs):
            await self.close(state)


async def main(port: int) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    process = Process(port)
    tasks = set()
    while line := (await reader.readline()).decode():
        verb, *arguments = line.split()
        task = asyncio.ensure_future(getattr(process, verb)(*arguments))
        tasks.add(task)
        if verb == "end":
            break
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
