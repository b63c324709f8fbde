"""From what the person typed to an SSH connection that stands; the beginning of every flow with a target."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from kirotunnel import events as ev
from kirotunnel.flows.environment import Environment
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import SSHSession, connect
from kirotunnel.targets.target import parse_target


@contextlib.asynccontextmanager
async def reach(target: str, ssh: SSHOptions, environment: Environment) -> AsyncIterator[SSHSession]:
    """Resolve and connect, and report both. Raises TargetError (KT2xx) and SSHError (KT3xx)."""
    conversation = environment.conversation
    endpoint = await resolve_endpoint(parse_target(target).destination, ssh)
    for warning in endpoint.warnings:
        conversation.warn(warning)
    via = tuple(hop.describe() for hop in endpoint.jumps) or (("ProxyCommand",) if endpoint.proxy_command else ())
    conversation.event(ev.Connecting(host=endpoint.host, port=endpoint.port, user=endpoint.user, via=via))
    async with connect(endpoint, environment.prompts, conversation.tell) as session:
        conversation.event(ev.Connected(host_key=session.host_key, server=session.server))
        yield session
