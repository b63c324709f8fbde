"""In every order of legs that come, callbacks that arrive and legs that end, a callback is at its own remote, once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from integration.relay_ends import Remote, Witness, answer, ask, free_port, route_to
from kirotunnel.local.callback_ports import CallbackPorts, Lease

LEGS: Final = 5
Verb = Literal["lease", "callback", "page", "stray", "close"]
STEPS: Final = st.lists(
    st.tuples(st.sampled_from(("lease", "lease", "callback", "callback", "page", "stray", "close")), st.integers(0, 4)),
    max_size=30,
)


@dataclass
class World:
    """What happens, and what must come of it, told in another way than the port's."""

    number: int
    owner: CallbackPorts = field(default_factory=CallbackPorts)
    leases: dict[int, Lease] = field(default_factory=dict)
    remotes: dict[int, Remote] = field(default_factory=dict)
    pages: dict[int, str] = field(default_factory=dict)
    expected: dict[int, list[str]] = field(default_factory=dict)

    async def step(self, verb: Verb, leg: int) -> None:
        await getattr(self, verb)(leg)
        assert {leg: remote.targets for leg, remote in self.remotes.items()} == self.expected

    async def lease(self, leg: int) -> None:
        if leg in self.remotes:
            return
        page = f"<h1>Page {leg}</h1>"
        says = [
            answer("302 Found", f"Location: http://127.0.0.1:{self.number}/index.html"),
            answer("200 OK", body=page),
        ]
        self.remotes[leg], self.expected[leg] = Remote(says), []
        self.leases[leg] = await self.owner.lease(route_to(self.remotes[leg], Witness(), self.number, state=f"s{leg}"))

    async def callback(self, leg: int) -> None:
        if not self.leases:
            return
        target = f"/oauth/callback?code=c&state=s{leg}"
        reply = await ask(self.number, target)
        if leg not in self.leases:
            assert reply.status == 403
            return
        if not self.expected[leg]:
            self.expected[leg].append(target)
        self.pages.setdefault(leg, reply.headers["location"].removeprefix(f"http://127.0.0.1:{self.number}"))

    async def page(self, leg: int) -> None:
        if leg not in self.pages or not self.leases:
            return
        reply = await ask(self.number, self.pages[leg])
        if leg not in self.leases:
            # Without a mark a page may be that of another leg by now, never one of the remote that is gone.
            assert f"Page {leg}" not in reply.body
            if self.pages[leg] == "/index.html" and reply.status == 200:
                (whose,) = (other for other in self.leases if self.pages.get(other) == "/index.html")
                self._page_of(whose, reply.title)
            return
        self._page_of(leg, reply.title)

    def _page_of(self, leg: int, title: str) -> None:
        if len(self.expected[leg]) == 1:
            self.expected[leg].append("/index.html")
            assert title == f"Page {leg}"
        else:
            assert title == "Handed over to kiro-cli"

    async def stray(self, leg: int) -> None:
        if self.leases:
            assert (await ask(self.number, f"/oauth/callback?code=c&state=other{leg}")).status == 403

    async def close(self, leg: int) -> None:
        if leg in self.leases:
            await self.leases.pop(leg).close()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_interleaving(steps: list[tuple[Verb, int]]) -> None:
    async def run() -> None:
        world = World(free_port())
        try:
            for verb, leg in steps:
                await world.step(verb, leg)
        finally:
            for leg in range(LEGS):
                await world.close(leg)

    asyncio.run(run())
