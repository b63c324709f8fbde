"""The scene of the matrix: a remote machine, the way to it, the sign-in services; and what a fault can do to each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

from e2e.harness import Services
from faults.person import Person
from faults.proxy import Proxy
from faults.states import State
from lab.namespace import children_of, kill_all
from lab.remote import RemoteMachine
from lab.servers import HostEntry, Server
from lab.setup_script import STANDIN_DIRECTORY

USER: Final = "bash"
ALIAS: Final = "dev-box"
CONNECT_TIMEOUT_S: Final = 6
ALIVE_INTERVAL_S: Final = 1
ALIVE_COUNT: Final = 4
"""Signs of life that may be missing, on both sides of the connection."""
_GATES: Final = f"{STANDIN_DIRECTORY}/gates"
POLL_S: Final = 0.01
# What the CLI's start script does first: it waits as long as there is a gate for this command.
_AT_THE_GATE: Final = f"""\
gate={_GATES}/$1
if [ -e "$gate" ]; then
    : >"$gate.reached"
    while [ -e "$gate" ]; do sleep 0.02; done
fi
"""


class Scene:
    """What one login after another goes through."""

    def __init__(self, machine: RemoteMachine, server: Server, services: Services, way: Proxy, directory: Path) -> None:
        self.machine = machine
        self.server = server
        self.services = services
        self.way = way
        self.directory = directory
        self.person = Person("", None, lambda _: None)
        self._taken: list[socket.socket] = []
        self._taking = False

    @classmethod
    @contextlib.asynccontextmanager
    async def set(cls, directory: Path) -> AsyncIterator[Self]:
        """Set it up in a network that is this process's own."""
        with contextlib.ExitStack() as stack:
            machine = stack.enter_context(RemoteMachine(directory))
            server = machine.sshd(
                [
                    "PasswordAuthentication yes",
                    f"ClientAliveInterval {ALIVE_INTERVAL_S}",
                    f"ClientAliveCountMax {ALIVE_COUNT}",
                ]
            )
            machine.keep(server)
            services = Services.start(machine)
            stack.callback(services.stop)
            async with Proxy((server.host, server.port)) as way:
                yield cls(machine, server, services, way, directory)

    # --- before a login ----------------------------------------------------------------------------------------------

    async def prepare(self, state: State, person: Person) -> None:
        """Make it as it was in the beginning, and as the state wants it."""
        await self.way.calm()
        self.person = person
        self._taking = False
        if not self.server.running:
            self.server.restart(self.machine)
        self.machine.reset()
        path = self.machine.install_cli(USER, env=self.services.cli_environment(**state.cli))
        start = self.machine.path(path)
        first, _, rest = start.read_text().partition("\n")
        start.write_text(f"{first}\n{_AT_THE_GATE}{rest}")
        gates = self.machine.path(_GATES)
        shutil.rmtree(gates, ignore_errors=True)
        gates.mkdir()
        gates.chmod(0o777)
        for port in state.busy_ports:
            self._take(port)

    def ssh_config(self, state: State) -> Path:
        """The person's SSH config: the way to the server, with a short patience."""
        options = {
            "HostName": "127.0.0.1",
            "Port": str(self.way.port),
            "HostKeyAlias": self.server.host,
            "ConnectTimeout": str(CONNECT_TIMEOUT_S),
            "ServerAliveInterval": str(ALIVE_INTERVAL_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
        }
        if state.password:
            options |= {"PubkeyAuthentication": "no", "PreferredAuthentications": "password"}
        entry = self.server.entry(ALIAS, USER)
        return self.machine.ssh_config(self.directory / "ssh_config", HostEntry(ALIAS, {**entry.options, **options}))

    # --- the gate of the CLI -----------------------------------------------------------------------------------------

    def close_gate(self, command: str) -> None:
        """Let no run of that command go on from now on."""
        self.machine.path(f"{_GATES}/{command}").touch()

    def open_gate(self, command: str) -> None:
        """Let it go on."""
        self.machine.path(f"{_GATES}/{command}").unlink(missing_ok=True)

    async def reached(self, command: str) -> None:
        """Wait until somebody stands at the gate."""
        reached = self.machine.path(f"{_GATES}/{command}.reached")
        while not reached.exists():
            await asyncio.sleep(POLL_S)

    # --- the CLI -----------------------------------------------------------------------------------------------------

    def cli_pids(self) -> list[int]:
        """The processes of the CLI's login."""
        return self._pids(lambda line: "kiro-cli" in line and " login" in line)

    def signal_cli(self, number: int) -> None:
        """Send the CLI's login a signal."""
        for pid in self.cli_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def callback_there(self) -> None:
        """Wait until a request lies unread in a connection to the CLI's port."""
        wanted = f":{self.person.port:04X}"
        table = Path(f"/proc/{self.machine.namespace.init_pid}/net/tcp")
        while True:
            rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
            if any(row[1].endswith(wanted) and row[3] == "01" and int(row[4].split(":")[1], 16) for row in rows):
                return
            await asyncio.sleep(POLL_S)

    def log(self) -> list[dict[str, Any]]:
        """What the CLI has recorded."""
        return self.machine.standin_log(USER)

    def descriptors(self) -> set[int]:
        """The scene's own, of those that this process has open."""
        return self.way.descriptors() | self.server.descriptors() | {sock.fileno() for sock in self._taken}

    # --- what faults do ----------------------------------------------------------------------------------------------

    def kill_cli(self) -> None:
        """Kill the CLI's login."""
        kill_all(self.cli_pids())

    def kill_control_shell(self) -> None:
        """Kill every shell that reads our script: `/bin/sh` without an argument."""
        kill_all(self._pids(lambda line: line == "/bin/sh"))

    def kill_holder(self) -> None:
        """Kill what keeps the CLI's login beyond its connection, but for what watches over that."""
        found = self._pids(lambda line: "/holder " in line)
        # By descent: what it has started may have the lower number, where these have just come round.
        kill_all(set(found).difference(*map(children_of, found)))

    def kill_everything(self) -> None:
        """What a reboot does: no process, nothing in /tmp."""
        for _ in range(5):  # what is being killed may still have been forking
            kill_all(self.machine.namespace.pids())
        self.server.stop()
        for path in self.machine.path("/tmp").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def fill_disk(self) -> None:
        """Leave no room in /tmp."""
        self.machine.run("mount -o remount,size=$(($(du -sk /tmp | cut -f1) + 4))k /tmp")

    def empty_disk(self) -> None:
        """Have room again."""
        self.machine.run("mount -o remount,size=50% /tmp")

    def remove_directory(self) -> None:
        """Remove what a login has made in /tmp."""
        for path in self.machine.path("/tmp").iterdir():
            shutil.rmtree(path, ignore_errors=True)

    def take_callback_port(self) -> None:
        """Take the next port that the CLI wants, as soon as it is known."""
        self._taking = True

    def page_asked(self, port: int) -> None:
        """The CLI wants the browser to come back to that port."""
        self.person.port = port
        if self._taking:
            self._taking = False
            self._take(port)

    def _take(self, port: int) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        self._taken.append(sock)

    def give_ports_back(self) -> None:
        """Close what was taken."""
        for sock in self._taken:
            sock.close()
        self._taken.clear()

    def _pids(self, wanted: Callable[[str], bool]) -> list[int]:
        def line(pid: int) -> str:
            with contextlib.suppress(OSError):
                return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return ""

        return [pid for pid in self.machine.namespace.pids() if wanted(line(pid))]
