"""From what the person typed to an Endpoint: by the SSH config alone, or for an EC2 instance with AWS's help."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from kirotunnel.errors import TargetError
from kirotunnel.redaction import Secret
from kirotunnel.ssh.config import Endpoint, SSHOptions, resolve_endpoint
from kirotunnel.ssh.identities import any_at_hand, one_time_key
from kirotunnel.targets.ec2 import EC2Options, Instance, choose_instance, choose_route, guess_user
from kirotunnel.targets.ec2_lookup import Account, tools
from kirotunnel.targets.target import SSHTarget, parse_target

THIS_MACHINE: Final = "localhost"
"""The TARGET whose containers need no SSH server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where the target is."""

    endpoint: Endpoint
    destination: str
    """What `ssh` would get."""
    arguments: tuple[str, ...]
    """And its options."""
    notes: tuple[str, ...] = ()
    """What was found out and decided on the way, as sentences for the person."""
    push: Callable[[], Awaitable[Endpoint]] | None = None
    """Have the target accept a one-time key: gives the endpoint with that key."""
    push_first: bool = False
    """No key is at hand; otherwise it is for when none is accepted."""


async def locate(target: str, ssh: SSHOptions, ec2: EC2Options | None = None) -> Located:
    """Find the target. Raises TargetError (KT2xx)."""
    ec2 = ec2 or EC2Options()
    if ec2.tags:
        return await _locate_instance(None, ssh, ec2)
    parsed = parse_target(target)
    if parsed.instance is None:
        if ec2.connect != "auto":
            raise TargetError(
                f"--ec2-connect is for EC2 instances, and {target} is none", "give an i-… ID, or --ec2-tag"
            )
        return _plainly(await resolve_endpoint(parsed.destination, ssh), ssh)
    by_config = await resolve_endpoint(parsed.destination, ssh)
    if ec2.connect == "auto" and (by_config.proxy_command or by_config.host != parsed.instance):
        return _plainly(by_config, ssh)  # the SSH config knows the way, as AWS's own manual has it: `Host i-*`
    return await _locate_instance(parsed, ssh, ec2)


def is_this_machine(target: str, ssh: SSHOptions, ec2: EC2Options | None = None) -> bool:
    """Whether a container is meant to be on this very machine: `localhost`, with nothing said of how to log in."""
    by_aws = ec2 is not None and (ec2.tags or ec2.connect != "auto")
    return target == THIS_MACHINE and ssh == SSHOptions(config_file=ssh.config_file) and not by_aws


async def instances_with_tags(ec2: EC2Options) -> tuple[str, ...]:
    """The IDs of the running instances that have all of these tags. Raises TargetError (KT2xx)."""
    account = await asyncio.to_thread(Account, ec2)
    found = await asyncio.gather(
        *(asyncio.to_thread(account.find, None, ec2.tags, region) for region in account.regions)
    )
    return tuple(one.id for group in found for one in group if one.state == "running")


def _plainly(endpoint: Endpoint, ssh: SSHOptions) -> Located:
    return Located(endpoint=endpoint, destination=endpoint.name, arguments=tuple(ssh.arguments()))


async def _locate_instance(parsed: SSHTarget | None, ssh: SSHOptions, ec2: EC2Options) -> Located:
    account = await asyncio.to_thread(Account, ec2)
    wanted_id = parsed.instance if parsed else None
    asked = wanted_id or "with " + ", ".join(f"{key}={value}" for key, value in ec2.tags)
    found = await asyncio.gather(
        *(asyncio.to_thread(account.find, wanted_id, ec2.tags, region) for region in account.regions)
    )
    instance = choose_instance([one for group in found for one in group], asked, account.regions)
    destination = parsed.destination if parsed else instance.id
    by_config = await resolve_endpoint(destination, ssh)
    # ssh falls back to the local user's name: that of nobody on an instance.
    user_is_given = bool((parsed and parsed.user) or ssh.user or by_config.user != getpass.getuser())
    instance = await _look_closer(account, instance, ec2, user_is_given=user_is_given)
    programs = await asyncio.to_thread(tools, for_endpoint=bool(instance.endpoints))
    route = choose_route(instance, ec2, programs, through_jump=bool(by_config.jumps))
    notes = [f"{instance.describe()} in {instance.region} is reached by {route.why}"]
    more = [f"HostName={route.address}"]
    if not by_config.host_key_alias:
        more.append(f"HostKeyAlias={instance.id}")  # addresses go from one instance to another
    if route.proxy_command:
        more.append(f"ProxyCommand={route.proxy_command}")
    elif not by_config.jumps:
        more.append("ProxyCommand=none")
    if not user_is_given:
        user, why = guess_user(instance)
        more.append(f"User={user}")
        notes.append(f"logging in as {user}: {why}; another user is given with -l")
    # What stands first counts: the way that was chosen goes before the person's own options.
    with_them = replace(ssh, options=(*more, *ssh.options))
    endpoint = await resolve_endpoint(destination, with_them)

    async def push() -> Endpoint:
        private, public = await asyncio.to_thread(one_time_key)
        await asyncio.to_thread(account.push_key, instance, endpoint.user, public)
        return replace(endpoint, one_time_key=Secret(private))

    return Located(
        endpoint=endpoint,
        destination=destination,
        arguments=tuple(with_them.arguments()),
        notes=tuple(notes),
        push=push,
        push_first=not await any_at_hand(endpoint),
    )


async def _look_closer(account: Account, instance: Instance, ec2: EC2Options, *, user_is_given: bool) -> Instance:
    """Ask for what the decision needs, and no more."""
    by_address = ec2.connect == "direct" or (ec2.connect == "auto" and instance.public_address is not None)
    if instance.state != "running":
        return instance

    async def image() -> str:
        return "" if user_is_given else await asyncio.to_thread(account.image_name, instance)

    async def online() -> bool | None:
        return None if by_address or ec2.connect == "eice" else await asyncio.to_thread(account.ssm_online, instance)

    async def endpoints() -> tuple[str, ...]:
        return () if by_address or ec2.connect == "ssm" else await asyncio.to_thread(account.endpoints, instance)

    name, reached, doors = await asyncio.gather(image(), online(), endpoints())
    return replace(instance, image=name, ssm_online=reached, endpoints=doors)
