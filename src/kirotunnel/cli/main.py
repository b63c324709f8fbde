"""The command `kirotunnel`: its commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from kirotunnel.errors import InternalError, KirotunnelError
from kirotunnel.version import __version__

# Each command's module is imported only when it is asked for, so that --help is instant.
_COMMANDS: Final = {
    "login": (
        "kirotunnel.cli.login",
        "Sign the CLI on a remote machine in, with the browser of this one; or sign in here.",
    ),
    "logout": ("kirotunnel.cli.logout", "Sign out: on this machine, or the CLI on remote machines."),
    "whoami": ("kirotunnel.cli.whoami", "Say who is signed in: on this machine, or on remote machines."),
    "token": ("kirotunnel.cli.token", "Print this machine's access token."),
    "attach": ("kirotunnel.cli.attach", "Help a login that waits already in another terminal on a remote machine."),
    "run": ("kirotunnel.cli.run", "Run any command on a remote machine, with its browser and callbacks brought here."),
    "profiles": ("kirotunnel.cli.profiles", "List the command-line tools that are known, and explain one."),
    "doctor": ("kirotunnel.cli.doctor", "Check this machine, and a target, for everything that can break a login."),
    "ports": ("kirotunnel.cli.ports", "Say who holds the callback ports of this machine, and what to do about it."),
    "demo": ("kirotunnel.cli.demo", "Show the whole remote login on this machine alone."),
    "explain": ("kirotunnel.cli.explain", "Say what a KT code means and what to do."),
    "completion": ("kirotunnel.cli.completion", "Print the completion script of a shell."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        command = import_module(module).command
        assert isinstance(command, click.Command)  # noqa: S101 - ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Sign remote command-line tools in with the browser of this machine.

    kirotunnel login HOST does what the documentation spreads over five steps: it starts kiro-cli's login on HOST,
    opens the sign-in page here, and brings the callback back through SSH.
    """


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command. Every error ends here."""
    try:
        result: Any = cli.main(arguments, prog_name="kirotunnel", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except KirotunnelError as exc:
        show_error(exc)
        return exc.exit_code
    except BrokenPipeError:
        # The reader of our stdout is gone (`kirotunnel … | head`): there is nobody to tell.
        nobody_reads()
        return 1
    except Exception as exc:  # the border to what nobody foresaw
        show_error(bug(exc))
        return InternalError.exit_code
    return result if isinstance(result, int) else 0


def bug(cause: BaseException) -> InternalError:
    """An exception that nobody foresaw, as the error that is shown. Its text may hold anything, so only its type is."""
    error = InternalError(f"{type(cause).__name__} in {_place(cause)}")
    error.__cause__ = cause
    return error


def _place(cause: BaseException) -> str:
    frame, place = cause.__traceback__, "kirotunnel"
    while frame is not None:
        if (module := frame.tb_frame.f_globals.get("__name__", "")).startswith("kirotunnel"):
            place = f"{module}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return place


def show_error(error: KirotunnelError) -> None:
    """The three parts of an error on stderr: what happened, a blank line, what to do."""
    color = colored()
    head = click.style(f"error[{error.code}]:", fg="red", bold=True) if color else f"error[{error.code}]:"
    click.echo(f"{head} {error.message}", err=True, color=color)
    if error.hint:
        hint = click.style("hint:", fg="cyan") if color else "hint:"
        click.echo(f"\n{hint} {error.hint}", err=True, color=color)


def nobody_reads() -> None:
    """From now on what is written to stdout goes nowhere, and with it what lies in its buffer still."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def colored() -> bool:
    """Whether stderr takes colours: a terminal, and nobody said NO_COLOR."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
