"""`kirotunnel demo`: options in, the flow called, its steps and its end said."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from kirotunnel import events as ev
from kirotunnel.cli.options import METHODS, browser_options, fill_from_settings, output_options, timeout_option
from kirotunnel.cli.render import JsonLines, Screen
from kirotunnel.wire.terminal import one_line

if TYPE_CHECKING:
    from kirotunnel.flows.demo import DemoOptions, DemoResult, Tunnel
    from kirotunnel.flows.environment import Conversation, Environment


@click.command("demo")
@click.option("--auto", is_flag=True, help="No browser at all: a robot signs in.")
@click.option(
    "--method", type=click.Choice(METHODS), default="google", show_default=True, help="How the robot signs in."
)
@browser_options
@timeout_option("For the whole sign-in.")
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Show the whole remote login on this machine alone.

    Needs no remote machine, no account and no root: an SSH server, the sign-in pages and the remote CLI are stand-ins.
    What signs in is the same code as in `kirotunnel login`. Without a browser a robot signs in.
    """
    chosen = ctx.params
    from kirotunnel.cli.running import run_flow
    from kirotunnel.flows.demo import HOST, demo

    screen = Steps(HOST, verbose=chosen["verbose"], quiet=chosen["quiet"], method=chosen["method"])
    conversation = JsonLines(screen, HOST) if chosen["as_json"] else screen

    async def flow() -> int:
        _refuse_contradictions(ctx)
        fill_from_settings(ctx, None)
        options = demo_options(chosen)
        environment = _environment(chosen, conversation)
        screen.begin()
        screen.end(await demo(options, environment))
        return 0

    return run_flow(HOST, conversation, flow, verbose=chosen["verbose"])


def _refuse_contradictions(ctx: click.Context) -> None:
    given = [name for name in ("auto", "browser", "no_browser") if _is_given(ctx, name)]
    if len(given) > 1:
        options = [f"--{name.replace('_', '-')}" for name in given]
        raise click.UsageError(f"{' and '.join(options)} exclude each other", ctx)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def demo_options(chosen: dict[str, Any]) -> DemoOptions:
    """The flow's options from the command's parameters, and from whether this machine has a browser."""
    from kirotunnel.flows.demo import DemoOptions
    from kirotunnel.local.browser import default_commands

    if chosen["auto"]:
        return DemoOptions(robot="always", method=chosen["method"], timeout_s=chosen["timeout"])
    if chosen["browser"] or chosen["no_browser"]:
        return DemoOptions(robot="never", timeout_s=chosen["timeout"])
    has_browser = bool(default_commands(os.environ, sys.platform))
    return DemoOptions(
        robot="without-browser" if has_browser else "always", method=chosen["method"], timeout_s=chosen["timeout"]
    )


def _environment(chosen: dict[str, Any], conversation: Conversation) -> Environment:
    from kirotunnel.cli.login import make_environment
    from kirotunnel.flows.environment import Environment

    # The robot needs no browser: one of the settings file that is missing here must not be in its way.
    return Environment(conversation=conversation) if chosen["auto"] else make_environment(chosen, conversation)


class Steps(Screen):
    """The person's side: each step a numbered sentence, what happened as a summary."""

    def __init__(self, target: str, *, verbose: int, quiet: bool, method: str) -> None:
        super().__init__(target, verbose=verbose, quiet=quiet)
        self._is_quiet = quiet
        self._method = method
        self._number = 0

    def begin(self) -> None:
        """What this is."""
        self._plain(
            "This is the whole of `kirotunnel login` on this machine alone. The SSH server, the sign-in pages, the\n"
            "accounts and the remote kiro-cli are stand-ins; what signs in is the code that does it on real hosts.\n"
        )

    def event(self, event: ev.Event) -> None:
        """Say it as a step."""
        if step := _step(event, self._target, self._method):
            self.tell(step)
        else:
            super().event(event)

    def tell(self, text: str) -> None:
        """A step; what follows its first line is a remark."""
        if self._is_quiet:
            return
        self._number += 1
        head, *remarks = text.splitlines()
        self._line(f"{self._styled(f'{self._number:>3}.', fg='cyan')} {head}")
        for remark in remarks:
            self._line(f"     {remark}")

    def url(self, url: str, authority: str) -> None:
        """The address, on one unwrapped line of its own, whatever else is silenced."""
        self.tell(f"Opening the sign-in page on {authority}\nIf your browser does not come up, open this address:")
        self._plain("")
        self._line(url)
        self._plain("")

    def end(self, result: DemoResult) -> None:
        """What happened, what it replaced, and what to type next."""
        self._plain("\n" + "\n".join(summary(result, self._target)))

    def _plain(self, text: str) -> None:
        if not self._is_quiet:
            self._line(text)


# --- the steps -------------------------------------------------------------------------------------------------------


def _connecting(event: ev.Connecting, target: str, _: str) -> str:
    return (
        f"`kirotunnel login {target}` begins: it connects by SSH to {one_line(event.user)}@{event.host} "
        f"port {event.port}"
    )


def _connected(event: ev.Connected, target: str, _: str) -> str:
    return f"The server has the host key that is known for {target}, and accepted our key\n{one_line(event.host_key)}"


def _remote_cli(event: ev.RemoteCli, target: str, _: str) -> str:
    version = f" {one_line(event.version)}" if event.version else ""
    who = "somebody is signed in" if event.signed_in else "nobody is signed in"
    return f"Found kiro-cli{version} on {target}; {who}\n{one_line(event.path)}"


def _login_started(_: ev.Event, target: str, __: str) -> str:
    return f"Started `kiro-cli login` on {target}, with a browser opener of ours that sends its address here"


def _browser_requested(event: ev.BrowserRequested, target: str, _: str) -> str:
    return (
        f"kiro-cli wants sign-in page {event.leg} opened, on {one_line(event.authorize_host)}\n"
        f"It waits for the answer on port {event.redirect_port} of {target}'s own localhost, "
        "which no browser here can reach"
    )


def _tunnel_opened(event: ev.TunnelOpened, target: str, _: str) -> str:
    return f"Opened the same port here, before the page: {' and '.join(event.listen)}"


def _browser_opened(event: ev.BrowserOpened, _: str, method: str) -> str:
    if event.how == "robot":
        return f"A robot opened the page, and signs in as a person would ({method})"
    if event.how == "printed":
        return "No browser was started: please open the address above and sign in"
    return f"Started {one_line(event.how)} with the page: please sign in there; any choice works"


def _refused(event: ev.RequestRefused, target: str, _: str) -> str:
    return f"Answered a stray request here; it did not reach {target}\nIt was {_REASONS[event.reason]}"


def _callback(event: ev.CallbackReceived, target: str, _: str) -> str:
    answer = "an approval" if event.outcome == "granted" else "a denial"
    return f"The browser came back with {answer}; this request goes through SSH to {target}"


def _tunnel_closed(event: ev.TunnelClosed, _: str, __: str) -> str:
    return f"Closed port {event.port} here; it was open for {_duration(event.open_ms)}"


def _signed_in(event: ev.SignedIn, target: str, _: str) -> str:
    return f"`kiro-cli whoami` on {target} says: {one_line(event.account.describe())}"


_REASONS: Final[dict[ev.RefusalReason, str]] = {
    "path": "for another path than the callback's, such as a page's icon",
    "state": "with the state of another sign-in",
    "host": "for another host than localhost",
    "method": "by another method than the callback's",
    "malformed": "no HTTP",
    "idle": "a connection that asked for nothing",
}


def _step(event: ev.Event, target: str, method: str) -> str | None:
    """What happened in this step; None where the event is none."""
    match event:
        case ev.Connecting():
            return _connecting(event, target, method)
        case ev.Connected():
            return _connected(event, target, method)
        case ev.RemoteCli():
            return _remote_cli(event, target, method)
        case ev.LoginStarted():
            return _login_started(event, target, method)
        case ev.BrowserRequested():
            return _browser_requested(event, target, method)
        case ev.TunnelOpened():
            return _tunnel_opened(event, target, method)
        case ev.BrowserOpened():
            return _browser_opened(event, target, method)
        case ev.RequestRefused():
            return _refused(event, target, method)
        case ev.CallbackReceived():
            return _callback(event, target, method)
        case ev.TunnelClosed():
            return _tunnel_closed(event, target, method)
        case ev.SignedIn():
            return _signed_in(event, target, method)
    return None


# --- the summary -----------------------------------------------------------------------------------------------------


def summary(result: DemoResult, target: str) -> list[str]:
    """The lines after the last step."""
    strays = ["Through `ssh -L` stray requests reach kiro-cli as well."] if result.strays else []
    return [
        f"Signed in as {one_line(result.account.describe())} on {target} in {_duration(round(result.took_s * 1000))}:",
        *(f"    {line}" for line in _happened(result, target)),
        "The stand-ins are gone again; nothing of them is left.",
        "",
        "The same by hand, without kirotunnel:",
        *(f"    {line}" for line in _by_hand(result.tunnels, target)),
        *strays,
        "",
        "With a host of your own, type:",
        "    kirotunnel login my-ec2",
    ]


def _happened(result: DemoResult, target: str) -> list[str]:
    tunnels = [
        f"port {tunnel.port} opened here for {_duration(tunnel.open_ms)}, and closed" for tunnel in result.tunnels
    ]
    return [
        f"{_count(len(result.tunnels), 'sign-in page')} opened",
        *tunnels,
        f"{_count(result.requests, 'request')} passed on to kiro-cli on {target}",
        f"{_count(result.strays, 'stray request')} answered here instead",
    ]


def _by_hand(tunnels: Sequence[Tunnel], target: str) -> list[str]:
    forwards = [f"ssh -N -L {tunnel.port}:localhost:{tunnel.port} {target}" for tunnel in tunnels]
    when = ["in a second terminal, with the port that it chose", *["for the next page, while it waits"] * len(forwards)]
    width = max(map(len, forwards), default=0)
    return [
        f"ssh {target}, and there `kiro-cli login`",
        *(f"{forward:<{width}}   {then}" for forward, then in zip(forwards, when, strict=False)),
        "the address copied from there to the browser here, and at last Ctrl-C in the second terminal",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
