"""From what the person typed to a session that stands; the beginning of every flow with a target."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import AuthenticationFailedError, HostNotFoundError
from kirotunnel.flows.environment import Environment, Silence
from kirotunnel.ssh.connection import SSHSession, connect
from kirotunnel.ssh.container import enter
from kirotunnel.ssh.names import similar
from kirotunnel.ssh.session import Host, Session
from kirotunnel.ssh.this_machine import this_machine
from kirotunnel.targets.locate import is_this_machine, locate
from kirotunnel.targets.options import TargetOptions

RECONNECT_TIMEOUT_S: Final = 10.0
"""Seconds for one try at a new connection: while packets vanish, many short ones find the network back sooner."""


@contextlib.asynccontextmanager
async def reach(options: TargetOptions, environment: Environment, *, again: bool = False) -> AsyncIterator[Session]:
    """Find and connect, enter the container where one is given, and report it all.

    `again`: the connection was lost, and this is a try at a new one. All is done anew (the address may be another, a
    one-time key is spent), in less time, and without telling it all again; a person may be asked again.

    Raises TargetError (KT2xx) and SSHError (KT3xx).
    """
    if again:
        environment = replace(environment, conversation=Silence())
    async with contextlib.AsyncExitStack() as stack:
        if options.inside is None:
            yield await stack.enter_async_context(_connected(options, environment, again=again))
            return
        on_this_machine = is_this_machine(options.target, options.ssh, options.ec2)
        reaching: contextlib.AbstractAsyncContextManager[Host]
        reaching = this_machine() if on_this_machine else _connected(options, environment, again=again)
        session = await stack.enter_async_context(enter(await stack.enter_async_context(reaching), options.inside))
        environment.conversation.event(ev.Container(engine=session.entry.engine, container=session.entry.name))
        yield session


@contextlib.asynccontextmanager
async def _connected(options: TargetOptions, environment: Environment, *, again: bool) -> AsyncIterator[SSHSession]:
    conversation = environment.conversation
    located = await locate(options.target, options.ssh, options.ec2)
    for note in located.notes:
        conversation.tell(note)
    endpoint = await located.push() if located.push and located.push_first else located.endpoint
    if again:
        seconds = min(endpoint.connect_timeout_s or RECONNECT_TIMEOUT_S, RECONNECT_TIMEOUT_S)
        endpoint = replace(endpoint, connect_timeout_s=seconds)
    for warning in endpoint.warnings:
        conversation.warn(warning)
    via = tuple(hop.describe() for hop in endpoint.jumps) or (("ProxyCommand",) if endpoint.proxy_command else ())
    conversation.event(ev.Connecting(host=endpoint.host, port=endpoint.port, user=endpoint.user, via=via))
    async with contextlib.AsyncExitStack() as stack:
        connecting = partial(connect, prompts=environment.prompts, tell=conversation.tell, company=environment.company)
        try:
            session = await stack.enter_async_context(connecting(endpoint))
        except AuthenticationFailedError:
            if located.push is None or located.push_first:
                raise
            conversation.tell(f"none of your keys is accepted: giving {endpoint.describe()} a one-time key")
            session = await stack.enter_async_context(connecting(await located.push()))
        except HostNotFoundError as exc:
            near = await asyncio.to_thread(similar, exc.typed or endpoint.typed, options.ssh.config_file)
            if near:
                exc.hint = f"did you mean {' or '.join(near)}? {exc.hint}"
            raise
        conversation.event(ev.Connected(host_key=session.host_key, server=session.server))
        yield session
