"""A command on the targets that it is given: which those are, then the one, or all of them side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from kirotunnel.cli.errand import Errand
from kirotunnel.cli.options import ec2_options_of, fill_from_settings, inside_of, settled
from kirotunnel.directories import own_directory
from kirotunnel.errors import TargetListError

if TYPE_CHECKING:
    from kirotunnel.cli.running import Ending
    from kirotunnel.cli.timeline import Timeline
    from kirotunnel.flows.environment import Conversation
    from kirotunnel.local.failed_targets import FailedTargets
    from kirotunnel.targets.selection import Word

T = TypeVar("T")
_OF_TARGETS: Final = ("ssh_port", "ssh_user", "identity_files", "jump", "ssh_config", "ssh_options", "cli")


def names_targets(chosen: dict[str, Any]) -> bool:
    """Whether the command is about targets, and not about this machine."""
    return (
        bool(chosen["targets"])
        or chosen["targets_file"] is not None
        or any(chosen.get(name) for name in ("ec2_tag", "retry_failed", "container", "pod"))
    )


def refuse_options_of_targets(ctx: click.Context) -> None:
    """For a command about this machine. Raises click.UsageError for an option that is about a TARGET."""
    for name in _OF_TARGETS:
        if name in ctx.params and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(param.opts[-1] for param in ctx.command.params if param.name == name)
            raise click.UsageError(f"{option} is about a TARGET, and none was given", ctx)


def run_on_targets(ctx: click.Context, errand: Errand[T]) -> int:
    """Do the errand on the targets that the command names, and report the end of it."""
    began = time.monotonic()
    from kirotunnel.cli.running import Ending, run_to_end
    from kirotunnel.cli.timeline import Timeline

    import_module("kirotunnel.flows.reach")  # 100 ms, which would hold up the event loop later
    chosen = ctx.params
    name = only_name(chosen)
    timeline = Timeline(chosen["timeline"]) if chosen.get("timeline") else None
    ending = Ending(name, conversation_about(name, chosen, timeline), timeline=timeline)

    async def flow() -> int:
        targets = [name] if name is not None else await chosen_targets(ctx, ending.conversation)
        if not targets:
            return 0
        if len(targets) == 1:
            ending.target, ending.conversation = targets[0], conversation_about(targets[0], chosen, timeline)
            return await _alone(ctx, errand, ending)
        return await _together(ctx, errand, ending, targets, began)

    return run_to_end(ending, flow, verbose=chosen["verbose"])


def only_name(chosen: dict[str, Any]) -> str | None:
    """The one target, where it is plain from the command line that there is one."""
    from kirotunnel.targets.selection import is_pattern

    several = chosen["targets_file"] is not None or chosen.get("ec2_tag") or chosen.get("retry_failed")
    if not several and not chosen["targets"]:
        return "localhost"  # only a container was named
    if several or len(chosen["targets"]) != 1 or is_pattern(chosen["targets"][0]):
        return None
    name: str = chosen["targets"][0]
    return name


def conversation_about(target: str | None, chosen: dict[str, Any], timeline: Timeline | None = None) -> Conversation:
    """Who is told of that target; None for this machine, or before it is known."""
    from kirotunnel.cli.running import make_conversation

    how = {"verbose": chosen["verbose"], "quiet": chosen["quiet"]}
    return make_conversation(target, as_json=chosen["as_json"], **how, timeline=timeline)


# --- which targets ---------------------------------------------------------------------------------------------------


async def chosen_targets(ctx: click.Context, conversation: Conversation) -> list[str]:
    """The targets that the command names; none where there is nothing to retry.

    Raises TargetError (KT2xx), and click.UsageError for what excludes each other.
    """
    from kirotunnel.ssh.config_text import host_names
    from kirotunnel.targets.selection import Word, is_pattern, select

    fill_from_settings(ctx, None)  # for the options that are about the whole run
    chosen = ctx.params
    if chosen.get("ec2_tag"):
        if chosen["targets"] or chosen["targets_file"] is not None:
            raise click.UsageError("give TARGET or --ec2-tag, not both", ctx)
        return await _tagged(chosen)
    words = [Word(text) for text in chosen["targets"]]
    if chosen["targets_file"] is not None:
        words += await _listed(chosen["targets_file"])
    aliases = host_names(chosen["ssh_config"]) if any(is_pattern(word.text) for word in words) else []
    selection = select(words, aliases)
    if selection.repeated:
        conversation.tell(f"named more than once, and counted once: {', '.join(selection.repeated)}")
    if chosen.get("retry_failed"):
        return _to_retry(selection.targets, conversation)
    return list(selection.targets)


async def _tagged(chosen: dict[str, Any]) -> list[str]:
    """The instances with these tags; where it is one, or none, what the tags themselves are called."""
    from kirotunnel.targets.locate import instances_with_tags

    found = await instances_with_tags(ec2_options_of(chosen))
    return list(found) if len(found) > 1 else [f"ec2:{','.join(chosen['ec2_tag'])}"]


async def _listed(file: str) -> list[Word]:
    from kirotunnel.local.terminal import InputLines
    from kirotunnel.targets.selection import MAX_LIST, read_list

    if file == "-":
        return read_list(await InputLines().everything(MAX_LIST + 1), "standard input")
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            data = await InputLines(descriptor).everything(MAX_LIST + 1)  # it may be a pipe
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise TargetListError(f"{file} cannot be read: {(exc.strerror or 'error').lower()}") from exc
    return read_list(data, file)


def _to_retry(named: Sequence[str], conversation: Conversation) -> list[str]:
    failed = _failed_targets().read()
    again = [target for target in failed if not named or target in named]
    if not again:
        of_these = " of these" if named and failed else ""
        conversation.tell(f"nothing to retry: none{of_these} failed in the last run")
    return again


def _failed_targets() -> FailedTargets:
    from kirotunnel.local.failed_targets import FailedTargets

    return FailedTargets(own_directory("state") / "failed-targets.json")


def parameters_of(ctx: click.Context, target: str) -> dict[str, Any]:
    """The command's parameters for one of its targets."""
    chosen = settled(ctx, target) | {"target": target}
    if not target.startswith("ec2:"):
        chosen["ec2_tag"] = ()  # it was found by them, and has its own name now
    return chosen | {"inside": inside_of(ctx, chosen)}


# --- one -------------------------------------------------------------------------------------------------------------


async def _alone(ctx: click.Context, errand: Errand[T], ending: Ending) -> int:
    target, conversation = str(ending.target), ending.conversation
    chosen = parameters_of(ctx, target)
    options = errand.prepare(chosen)
    environment = errand.environment(chosen, conversation)
    if errand.plan is not None and chosen["dry_run"]:
        click.echo(await errand.plan(options), err=chosen["as_json"])
        return 0
    done = await errand.perform(options, environment)
    if errand.remembers and done.ok:
        _failed_targets().update([target], [])
    if done.answer is not None and not chosen["as_json"]:
        click.echo(done.answer)
    else:
        conversation.tell(f"{done.words} on {done.where or target}")
    return 0 if done.ok else 1


# --- several ---------------------------------------------------------------------------------------------------------


async def _together(ctx: click.Context, errand: Errand[T], ending: Ending, targets: list[str], began: float) -> int:
    from kirotunnel.cli.together import Together, show_plans

    chosen = ctx.params
    if chosen.get("paste"):
        raise click.UsageError("--paste is for one TARGET: an address does not say which one it belongs to", ctx)
    each = {target: parameters_of(ctx, target) for target in targets}
    prepared = {target: errand.prepare(of_target) for target, of_target in each.items()}
    if errand.plan is not None and chosen["dry_run"]:
        return await show_plans(errand.plan, prepared, ending, as_json=chosen["as_json"])
    together = Together(errand, chosen, each, prepared)
    try:
        return await together.run(ending, began)
    finally:
        if errand.remembers and chosen.get("retry_failed"):
            _failed_targets().update(targets, together.failed)
        elif errand.remembers:
            _failed_targets().replace(together.failed)
