"""The relay in a process of its own, as in a login: `bench.relay_end CONFIG ALIAS REMOTE_PORT LOCAL_PORT STATE`.

One line on stdin asks for a fresh leg; `ready` on stdout says that it listens. The next line closes it first.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.relay import Route
from kirotunnel.redaction import Secret
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import connect
from kirotunnel.ssh.prompts import Nobody
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.redirect import UrlPolicy


class _NobodyWatches:
    def stray(self, reason: RefusalReason) -> None:
        raise RuntimeError(f"refused: {reason}")

    def callback(self, outcome: Outcome) -> None:
        pass

    def delivered(self, error: KirotunnelError | None) -> None:
        if error is not None:
            raise error


async def main(config: str, alias: str, remote_port: int, local_port: int, state: str) -> None:
    endpoint = await resolve_endpoint(alias, SSHOptions(config_file=config))
    async with connect(endpoint, Nobody(), lambda _: None) as session:
        # A login keeps its control shell open, and a connection without any session is slower (Nagle, delayed ACK).
        held = await session.start("exec cat")
        ports, lease = CallbackPorts(), None
        while await asyncio.to_thread(sys.stdin.readline):
            if lease is not None:
                await lease.close()
            route = Route(
                rule=LegRule(leg=1, paths=frozenset({"/oauth/callback"}), state=Secret(state)),
                port=local_port,
                dial=partial(session.dial, remote_port),
                observer=_NobodyWatches(),
                cli="kiro-cli",
                host=alias,
                policy=UrlPolicy(),
            )
            lease = await ports.lease(route)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        held.close()
        if lease is not None:
            await lease.close()


if __name__ == "__main__":
    _, file, host, there, here, secret = sys.argv
    asyncio.run(main(file, host, int(there), int(here), secret))
