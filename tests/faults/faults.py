"""The faults: what each does to the scene, and to what. What must come of it is in `expectations`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from faults.scene import Scene

Kind = Literal["way", "remote", "browser", "process"]
"""What is hit: the connection, the other machine, the browser's side of this one, the `kirotunnel` process."""
BACK_AFTER_S: Final = 2.0
"""Seconds after which what was gone is there again."""
STALL_S: Final = 2.0
"""Seconds that nothing passes: less than it takes to notice a dead connection."""
ASLEEP_S: Final = 7.0
"""Seconds that a laptop sleeps: more than the server waits for a sign of life."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix."""

    key: str
    meaning: str
    kind: Kind
    strike: Callable[[Scene], None] = lambda _: None
    """Does it, at once."""
    aftermath: Callable[[Scene], Awaitable[None]] | None = None
    """What goes on by itself after that."""
    number: int | None = None
    """The signal, for a process that is sent one."""
    leaves_alone: bool = False
    """Whether nobody comes back to the other machine."""


# --- the way ----------------------------------------------------------------------------------------------------------


def _slow(scene: Scene) -> None:
    scene.way.weather.delay_s = 0.1


def _in_pieces(scene: Scene) -> None:
    scene.way.weather.piece = 61


def _outage(scene: Scene) -> None:
    scene.way.refuse(BACK_AFTER_S)
    scene.way.reset()


def _gone(scene: Scene) -> None:
    scene.way.refuse()
    scene.way.reset()


def _flapping(scene: Scene) -> None:
    scene.way.doom(2)
    scene.way.reset()


STALL: Final = Fault(
    "stall", f"nothing passes for {STALL_S:g} s, then all of it", "way", lambda scene: scene.way.stall(STALL_S)
)
SLOW: Final = Fault("slow", "from now on everything takes 100 ms longer", "way", _slow)
PIECES: Final = Fault("pieces", "from now on 61 bytes pass at a time", "way", _in_pieces)
RESET: Final = Fault("reset", "the connection is reset", "way", lambda scene: scene.way.reset())
CLOSED: Final = Fault("closed", "the connection is closed on both sides", "way", lambda scene: scene.way.close())
CORRUPT: Final = Fault("corrupt", "a bit is turned over", "way", lambda scene: scene.way.corrupt())
SILENT: Final = Fault(
    "silent", "packets vanish both ways; a new connection works", "way", lambda scene: scene.way.silence("up", "down")
)
SILENT_UP: Final = Fault("silent up", "what we send vanishes", "way", lambda scene: scene.way.silence("up"))
SILENT_DOWN: Final = Fault(
    "silent down", "what the server sends vanishes", "way", lambda scene: scene.way.silence("down")
)
OUTAGE: Final = Fault("outage", f"reset, and refused for {BACK_AFTER_S:g} s", "way", _outage)
FLAPPING: Final = Fault("flapping", "reset, and the next two connections as well", "way", _flapping)
GONE: Final = Fault("gone", "reset, and refused for good", "way", _gone, leaves_alone=True)


# --- the other machine ------------------------------------------------------------------------------------------------


def _restart(scene: Scene) -> None:
    scene.server.stop()


def _reboot(scene: Scene) -> None:
    scene.kill_everything()


async def _comes_back(scene: Scene) -> None:
    await asyncio.sleep(BACK_AFTER_S)
    await asyncio.to_thread(scene.server.restart, scene.machine)


SESSION_KILLED: Final = Fault(
    "session killed", "sshd's process of the connection is killed", "remote",
    lambda scene: scene.server.drop_connections(),
)  # fmt: skip
SSHD_RESTARTED: Final = Fault(
    "sshd restarted", "sshd and its connections end; it is back soon", "remote", _restart, _comes_back
)
REBOOT: Final = Fault("reboot", "all processes and /tmp are gone; sshd is back soon", "remote", _reboot, _comes_back)
CLI_KILLED: Final = Fault("CLI killed", "somebody kills the CLI", "remote", lambda scene: scene.kill_cli())
SHELL_KILLED: Final = Fault(
    "shell killed", "somebody kills our control shell", "remote", lambda scene: scene.kill_control_shell()
)
HOLDER_KILLED: Final = Fault(
    "holder killed", "somebody kills what holds the CLI there", "remote", lambda scene: scene.kill_holder()
)
DISK_FULL: Final = Fault("disk full", "no byte more fits in /tmp", "remote", lambda scene: scene.fill_disk())
DIRECTORY_GONE: Final = Fault(
    "directory gone", "somebody tidies /tmp up", "remote", lambda scene: scene.remove_directory()
)


# --- the browser's side -----------------------------------------------------------------------------------------------

PORT_TAKEN: Final = Fault(
    "port taken",
    "somebody binds the callback port here before we do",
    "browser",
    lambda scene: scene.take_callback_port(),
)
NO_BROWSER: Final = Fault(
    "no browser", "the browser's command hangs; the person opens the address by hand", "browser",
    lambda scene: scene.person.never_sees_the_browser(),
)  # fmt: skip
TWICE: Final = Fault(
    "twice", "the browser brings its callback twice at once", "browser", lambda scene: scene.person.calls_twice()
)
DENIED: Final = Fault("denied", "the person says no", "browser", lambda scene: scene.person.will_deny())
STORM: Final = Fault(
    "storm", "300 strays: silent ones, wrong states, noise", "browser", aftermath=lambda scene: scene.person.storms()
)


# --- the process ------------------------------------------------------------------------------------------------------

INTERRUPTED: Final = Fault("Ctrl-C", "SIGINT", "process", number=signal.SIGINT)
TERMINATED: Final = Fault("SIGTERM", "SIGTERM", "process", number=signal.SIGTERM)
HUNG_UP: Final = Fault(
    "terminal closed", "the window is closed: SIGHUP, and no terminal any more", "process", number=signal.SIGHUP
)
KILLED: Final = Fault("kill -9", "SIGKILL", "process", number=signal.SIGKILL, leaves_alone=True)
ASLEEP: Final = Fault("asleep", f"the laptop sleeps for {ASLEEP_S:g} s", "process", number=signal.SIGSTOP)

FAULTS: Final = (
    STALL, SLOW, PIECES, RESET, CLOSED, CORRUPT, SILENT, SILENT_UP, SILENT_DOWN, OUTAGE, FLAPPING, GONE,
    SESSION_KILLED, SSHD_RESTARTED, REBOOT, CLI_KILLED, SHELL_KILLED, HOLDER_KILLED, DISK_FULL, DIRECTORY_GONE,
    PORT_TAKEN, NO_BROWSER, TWICE, DENIED, STORM,
    INTERRUPTED, TERMINATED, HUNG_UP, KILLED, ASLEEP,
)  # fmt: skip
