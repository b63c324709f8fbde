"""The options that commands share, and how those that were not given are found in the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

import click
from click.core import ParameterSource

from kirotunnel.cli.completion import complete_container, complete_target
from kirotunnel.directories import own_directory
from kirotunnel.errors import SettingsError
from kirotunnel.oauth.session import METHODS as METHODS
from kirotunnel.settings import Setting, read_settings

if TYPE_CHECKING:
    from kirotunnel.ssh.config import SSHOptions
    from kirotunnel.targets.ec2 import EC2Options
    from kirotunnel.wire.containers import Inside
    from kirotunnel.wire.redirect import TrustedHost

F = TypeVar("F", bound=Callable[..., Any])

# A file that said them would make a command without TARGET, which is about this machine, one about others.
_OF_THE_MOMENT: Final = frozenset({"timeline", "targets-file", "retry-failed"})
_GIVEN: Final = "ssh_given"
"""The parameter that has ssh's own options as they were typed: `(("-p", "22"), ("-o", "User=ada"))`."""
# Two ways to say the same thing: where the stronger source says one, it settles both.
_RIVALS: Final = {"browser": "no_browser", "no_browser": "browser", "container": "pod", "pod": "container"}


def ssh_options(function: F) -> F:
    """-p -l -i -J -F -o, as ssh has them."""
    for option in reversed(
        [
            click.option(
                "-p",
                "ssh_port",
                cls=_InOrder,
                type=click.IntRange(1, 65535),
                metavar="PORT",
                help="SSH port of the host.",
            ),
            click.option("-l", "ssh_user", cls=_InOrder, metavar="USER", help="User to log in as."),
            click.option(
                "-i",
                "identity_files",
                cls=_InOrder,
                multiple=True,
                type=click.Path(),
                metavar="FILE",
                help="Private key; repeatable.",
            ),
            click.option("-J", "jump", cls=_InOrder, metavar="JUMP", help="Jump hosts, as for ssh."),
            click.option("-F", "ssh_config", cls=_InOrder, type=click.Path(), metavar="FILE", help="SSH config file."),
            click.option(
                "-o", "ssh_options", cls=_InOrder, multiple=True, metavar="KEY=VALUE", help="SSH option; repeatable."
            ),
        ]
    ):
        function = option(function)
    return function


class _InOrder(click.Option):
    """An option of ssh's. click keeps the values of each one together, but with ssh it matters which came first."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Have it noted when it is given."""
        super().add_to_parser(parser, ctx)
        (name,) = self.opts
        option = parser._short_opt[name]
        process = option.process

        def note(value: str, state: Any) -> None:
            ctx.meta.setdefault(_GIVEN, []).append((name, value))
            process(value, state)

        option.process = note

    def handle_parse_result(self, ctx: click.Context, opts: Any, args: list[str]) -> tuple[Any, list[str]]:
        """Put all of them among the parameters, as they were typed."""
        ctx.params[_GIVEN] = tuple(ctx.meta.get(_GIVEN, ()))
        return super().handle_parse_result(ctx, opts, args)


def ec2_options(function: F) -> F:
    """--ec2-connect, --ec2-tag, --ec2-region, --ec2-profile."""
    for option in reversed(
        [
            click.option(
                "--ec2-connect",
                type=click.Choice(("auto", "direct", "ssm", "eice")),
                default="auto",
                show_default=True,
                help="For an i-… TARGET: its address, Session Manager, or an Instance Connect Endpoint.",
            ),
            click.option(
                "--ec2-tag", multiple=True, metavar="KEY=VALUE", help="The EC2 instance with this tag; repeatable."
            ),
            click.option("--ec2-region", multiple=True, metavar="REGION", help="Where to look for it; repeatable."),
            click.option("--ec2-profile", metavar="NAME", help="AWS profile to ask with [default: $AWS_PROFILE]."),
        ]
    ):
        function = option(function)
    return function


def target_name(ctx: click.Context, target: str | None) -> str | None:
    """TARGET, or what an instance that is given by its tags is called. Both at once are a mistake.

    A container without a TARGET is one on this machine.
    """
    tags = ctx.params["ec2_tag"]
    if target is not None and tags:
        raise click.UsageError("give TARGET or --ec2-tag, not both", ctx)
    if tags:
        return f"ec2:{','.join(tags)}"
    return "localhost" if target is None and (ctx.params["container"] or ctx.params["pod"]) else target


def targets_options(function: F) -> F:
    """TARGET..., --targets-file, --max-parallel."""
    for option in reversed(
        [
            click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_target),
            click.option(
                "--targets-file", metavar="FILE", help="More targets, one a line, # for comments; - for stdin."
            ),
            click.option(
                "--max-parallel",
                type=click.IntRange(1, 256),
                default=32,
                show_default=True,
                metavar="N",
                help="Targets at once.",
            ),
        ]
    ):
        function = option(function)
    return function


def cli_option(function: F) -> F:
    """--cli."""
    return click.option(
        "--cli", default="kiro-cli", show_default=True, metavar="COMMAND", help="The remote CLI: name or path."
    )(function)


def trust_option(text: str) -> Callable[[F], F]:
    """--trust-url-host."""
    return click.option("--trust-url-host", multiple=True, metavar="HOST[:PORT]", help=text)


def timeout_option(text: str, seconds: float | None = 600) -> Callable[[F], F]:
    """--timeout."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=seconds,
        show_default=seconds is not None,
        metavar="SECONDS",
        help=text,
    )


class OfTarget(TypedDict):
    """What every flow with a target is told of it."""

    target: str
    ssh: SSHOptions
    ec2: EC2Options
    inside: Inside | None


def of_target(chosen: dict[str, Any]) -> OfTarget:
    """Target, SSH, EC2 and container among a command's parameters; `target` and `inside` are among them."""
    from kirotunnel.ssh.config import SSHOptions

    return OfTarget(
        target=chosen["target"],
        ssh=SSHOptions.from_command_line(chosen[_GIVEN]),
        ec2=ec2_options_of(chosen),
        inside=chosen["inside"],
    )


def trusted_hosts_of(chosen: dict[str, Any]) -> tuple[TrustedHost, ...]:
    """What --trust-url-host names. Raises SettingsError for what is no host."""
    from kirotunnel.wire.redirect import TrustedHost

    return tuple(TrustedHost.parse(text) for text in chosen["trust_url_host"])


def ec2_options_of(chosen: dict[str, Any]) -> EC2Options:
    """The EC2 options among a command's parameters."""
    from kirotunnel.targets.ec2 import EC2Options, parse_tag

    return EC2Options(
        connect=chosen["ec2_connect"],
        tags=tuple(parse_tag(text) for text in chosen["ec2_tag"]),
        regions=tuple(chosen["ec2_region"]),
        profile=chosen["ec2_profile"],
    )


def container_options(function: F) -> F:
    """--container, --container-engine, --pod."""
    for option in reversed(
        [
            click.option(
                "--container",
                metavar="NAME",
                callback=_not_empty,
                shell_complete=complete_container,
                help="In this container on TARGET (localhost: on this machine).",
            ),
            click.option(
                "--container-engine",
                metavar="ENGINE",
                help="docker, podman, nerdctl, a path of one, or 'sudo docker' [default: the first that has it].",
            ),
            click.option(
                "--pod",
                metavar="[NS/]NAME[/CONTAINER]",
                callback=_not_empty,
                help="In this pod, by the kubectl of TARGET.",
            ),
        ]
    ):
        function = option(function)
    return function


def reaching_options(function: F) -> F:
    """How a TARGET is reached, and inside of what: the options of ssh, of EC2 and of containers."""
    return ssh_options(ec2_options(container_options(function)))


def _not_empty(ctx: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """`--container "$NAME"` without a NAME would sign in on the host itself. Where that is meant, it is left out."""
    if text == "":
        raise click.BadParameter("it is empty", ctx, option)
    return text


def inside_of(ctx: click.Context, chosen: dict[str, Any] | None = None) -> Inside | None:
    """The container among a command's parameters, if any. Raises TargetError, and click.UsageError for two."""
    from kirotunnel.wire.containers import parse_container, parse_pod

    container, engine, pod = ((chosen or ctx.params)[name] for name in ("container", "container_engine", "pod"))
    if container and pod:
        raise click.UsageError("give --container or --pod, not both", ctx)
    if pod:
        return parse_pod(pod)
    if container:
        return parse_container(container, engine)
    if engine and ctx.get_parameter_source("container_engine") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--container-engine goes with --container", ctx)
    return None


def output_options(function: F) -> F:
    """--json, -v, -q."""
    for option in reversed(
        [
            click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout."),
            click.option("-v", "--verbose", count=True, help="More on stderr; -vv for all."),
            click.option("-q", "--quiet", is_flag=True, help="Only errors, and the address to open, on stderr."),
        ]
    ):
        function = option(function)
    return function


def timeline_option(function: F) -> F:
    """--timeline."""
    return click.option(
        "--timeline",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_picture_name,
        metavar="FILE.svg|.html",
        help="Write where the time went, as a picture.",
    )(function)


def _picture_name(ctx: click.Context, _: click.Parameter, file: Path | None) -> Path | None:
    """A name that can be written, before a person has spent minutes on what it is to show."""
    if file is not None:
        from kirotunnel.cli.timeline import SUFFIXES

        if file.suffix.lower() not in SUFFIXES:
            raise click.BadParameter(f"{file} ends neither in .svg nor in .html", ctx, param_hint="--timeline")
        if not file.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no directory {file.absolute().parent}", ctx, param_hint="--timeline")
    return file


def browser_options(function: F) -> F:
    """--browser, --no-browser."""
    for option in reversed(
        [
            click.option("--browser", metavar="COMMAND", help="Browser [default: $BROWSER, else the system's]."),
            click.option("--no-browser", is_flag=True, help="Only print the address."),
        ]
    ):
        function = option(function)
    return function


def option_names() -> set[str]:
    """The long names of all options that a settings file may have."""
    from kirotunnel.cli.main import cli

    names: set[str] = set()
    ctx = click.Context(cli)
    for name in cli.list_commands(ctx):
        command = cli.get_command(ctx, name)
        for parameter in command.params if command else []:
            if isinstance(parameter, click.Option):
                names.add(long_name(parameter))
    return names - {"", "help", "version", "json", "verbose", "quiet", "dry-run", "force", "auto", *_OF_THE_MOMENT}


def long_name(option: click.Option) -> str:
    """`trust-url-host` of `--trust-url-host`; empty for the options that ssh has, whose place is the SSH config."""
    return next((text.removeprefix("--") for text in option.opts if text.startswith("--")), "")


def fill_from_settings(ctx: click.Context, target: str | None) -> None:
    """Put the values of environment and file where the command line has none. Raises SettingsError."""
    ctx.params |= settled(ctx, target)


def settled(ctx: click.Context, target: str | None) -> dict[str, Any]:
    """The command's parameters for that target: environment and file speak where the command line does not.

    Raises SettingsError.
    """
    names = option_names()
    settings = read_settings(own_directory("config") / "config.toml", os.environ, names)
    chosen = dict(ctx.params)
    found: dict[click.Option, Setting] = {}
    for parameter in ctx.command.params:
        if not isinstance(parameter, click.Option) or parameter.name is None:
            continue
        is_default = ctx.get_parameter_source(parameter.name) is ParameterSource.DEFAULT
        rival = _RIVALS.get(parameter.name)
        if rival and ctx.get_parameter_source(rival) is ParameterSource.COMMANDLINE:
            continue
        setting = settings.find(long_name(parameter), target) if is_default and long_name(parameter) in names else None
        if setting is not None:
            found[parameter] = setting
            chosen[parameter.name] = _value(ctx, parameter, setting)
    ranks = {option.name: setting.rank for option, setting in found.items() if setting.value}
    for option, setting in found.items():
        name = option.name or ""
        if ranks.get(_RIVALS.get(name, ""), 0) > setting.rank:
            chosen[name] = False if option.is_flag else None
    if not _is_instance(target) and ctx.get_parameter_source("ec2_connect") is ParameterSource.DEFAULT:
        chosen |= {"ec2_connect": "auto"} if "ec2_connect" in chosen else {}  # what is set for all is no mistake here
    return chosen


def _is_instance(target: str | None) -> bool:
    """Whether it is an EC2 instance, or named by tags. What is no target at all, others complain of."""
    from kirotunnel.errors import TargetError
    from kirotunnel.targets.target import parse_target

    if target is None or target.startswith("ec2:"):
        return target is not None
    try:
        return parse_target(target).instance is not None
    except TargetError:
        return False


def _value(ctx: click.Context, option: click.Option, setting: Setting) -> Any:
    value = setting.value
    if option.multiple and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not option.multiple and isinstance(value, (list, dict)):
        raise SettingsError(f"{setting.origin}: {long_name(option)} takes one value")
    try:
        return option.type_cast_value(ctx, value)
    except click.BadParameter as exc:
        raise SettingsError(f"{setting.origin}: {long_name(option)}: {exc.message}") from exc
