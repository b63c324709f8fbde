"""One combination: a login is brought to a state, the fault hits, and what comes of it is looked at from all sides."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections import Counter
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from faults.faults import Fault
from faults.person import Person
from faults.remains import local_listeners
from faults.scene import POLL_S, Scene
from faults.states import CLEANING, State
from kirotunnel.flows.remote_login import LEASE_SPARE_S

PATIENCE_S: Final = 60.0
"""Seconds after which a login hangs, whatever was to be expected."""
LEFT_S: Final = 15.0
"""Seconds for the remote to be clean."""
TIMEOUT_S: Final = 30
"""Seconds for the sign-in (`--timeout`)."""
SHORT_TIMEOUT_S: Final = 16
"""The same, where the other machine is left alone and tidies up when this time and a little more is over."""


@dataclass(kw_only=True)
class Outcome:
    """What came of it."""

    fault: str
    state: str
    end: str = "never hit"
    """`saved`, a KT code, or the exit code of a process that was ended; otherwise what went wrong with the trial."""
    exit_code: int | None = None
    seconds: float = 0.0
    """From the fault to the end."""
    words: str = ""
    """What the error said."""
    heard: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was left behind, or happened and must not."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Trial:
    """What both ways to run a login have in common: moments are heard here, and the fault is let loose."""

    def __init__(self, scene: Scene, fault: Fault, state: State) -> None:
        self.scene = scene
        self.fault = fault
        self.state = state
        self.person = Person(state.method, state.hesitates, self.hear)
        self.outcome = Outcome(fault=fault.key, state=state.key)
        self.struck_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.left_alone = fault.leaves_alone
        """Whether the remote tidies up by itself, since nobody can tell it any more; the person is told so."""
        self.timeout_s = SHORT_TIMEOUT_S if fault.leaves_alone or state is CLEANING else TIMEOUT_S
        self.said = ""
        """Every event, and what else a program or a log may get to see."""
        self._aftermath: asyncio.Task[None] | None = None
        self._broken: list[str] = []

    async def run(self) -> Outcome:
        """Go through it, and look at what is left."""
        scene, outcome = self.scene, self.outcome
        await scene.prepare(self.state, self.person)
        scene.way.on_accepted = lambda: self.hear("way accepted")
        scene.way.on_answer = lambda: self.hear("way answered")
        if self.state.gate:
            if self.state.gate_from is None:
                scene.close_gate(self.state.gate)
            self._spawn(self._watch_gate(self.state.gate))
        before = local_listeners()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.login()
        except TimeoutError:
            outcome.end = "hangs"
        if self.struck_at is None:
            outcome.end = f"never hit ({outcome.end})"
        await self._end()
        outcome.wrong += self._broken
        outcome.wrong += [f"still listened on here: {port}" for port in sorted(local_listeners() - before)]
        # A server whose client has fallen silent learns it from its own TCP, after a quarter of an hour; here at once.
        await scene.way.calm()
        patience = LEFT_S + (self.timeout_s + LEASE_SPARE_S if self.left_alone else 0)
        left = await asyncio.to_thread(scene.machine.leftovers_after, patience)
        outcome.wrong += [f"left on the remote: {what}" for what in left]
        outcome.wrong += self._delivered_too_often()
        outcome.wrong += [f"a secret was said: {secret[:6]}…" for secret in self._secrets() if secret in self.said]
        return outcome

    async def login(self) -> None:
        """Run the login to its end, and note how it ended."""
        raise NotImplementedError

    def ended(self) -> None:
        """The login has ended just now."""
        if self.struck_at is not None:
            self.outcome.seconds = round(asyncio.get_running_loop().time() - self.struck_at, 2)

    async def aftermath(self) -> None:
        """Wait for what the fault does by itself after it has hit."""
        if self._aftermath is not None:
            await asyncio.wait([self._aftermath])

    # --- moments -----------------------------------------------------------------------------------------------------

    def hear(self, moment: str) -> None:
        """Something happened; if it is what was waited for, the fault hits before anything else happens."""
        try:
            self.outcome.heard.append(moment)
            if moment == self.state.gate_from and self.state.gate:
                self.scene.close_gate(self.state.gate)
            if self.state.cli_pauses and moment == "tunnel_opened 1":
                self._pause_cli()
            if moment in {self.state.moment, self.state.at_latest} and self.struck_at is None:
                self.strike()
        except Exception:
            self._broken.append(traceback.format_exc())

    def told(self, sentence: str) -> None:
        """The person is told something."""
        self.left_alone |= "cannot be told" in sentence

    def strike(self) -> None:
        """Let the fault loose, then let everybody go on."""
        self.struck_at = asyncio.get_running_loop().time()
        self.fault.strike(self.scene)
        if self.fault.aftermath is not None:
            self._aftermath = self._spawn(self.fault.aftermath(self.scene))
        self.let_go_on()

    def let_go_on(self) -> None:
        """What waited for the fault goes on."""
        self.let_the_remote_go_on()
        self.person.go_on()

    def let_the_remote_go_on(self) -> None:
        """What waited for the fault on the remote goes on."""
        if self.state.gate:
            self.scene.open_gate(self.state.gate)
        if self.state.cli_pauses:
            self.scene.signal_cli(signal.SIGCONT)

    def _pause_cli(self) -> None:
        self.scene.signal_cli(signal.SIGSTOP)
        self._spawn(self._watch_callback())

    async def _watch_callback(self) -> None:
        await self.scene.callback_there()
        self.hear("callback there")

    async def _watch_gate(self, command: str) -> None:
        await self.scene.reached(command)
        # The CLI may stand there before its shell's word that it was started is here; until then it is begun anew.
        while command == "login" and "login_started" not in self.outcome.heard:
            await asyncio.sleep(POLL_S)
        self.hear(f"gate {command}")

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                self._broken.append(traceback.format_exc())

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- afterwards --------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End what the trial itself has under way; what the fault has still to do is waited for."""
        await self.person.leave()
        await self.aftermath()
        scene = self.scene
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.let_the_remote_go_on()
        scene.give_ports_back()
        scene.empty_disk()

    def _secrets(self) -> set[str]:
        """The codes and states that came to the CLI's listeners."""
        queries = [parse_qs(str(event["query"])) for event in self.scene.log() if event["event"] == "request"]
        return {value for query in queries for name in ("code", "state") for value in query.get(name, ())}

    def _delivered_too_often(self) -> list[str]:
        asked = Counter(
            event["leg"]
            for event in self.scene.log()
            if event["event"] == "request" and "code=" in (event.get("query") or "")
        )
        return [f"the callback of {leg} came {count} times" for leg, count in asked.items() if count > 1]
