"""`kirotunnel completion`: what a shell needs to complete commands, options and targets."""

from __future__ import annotations

import contextlib
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

_VARIABLE = "_KIROTUNNEL_COMPLETE"
_ENGINE_S: Final = 2.0
"""Seconds for an engine to list its containers: somebody has pressed Tab and waits."""


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script of SHELL, to be read by the shell when it starts.

    \b
    bash:  kirotunnel completion bash >~/.local/share/bash-completion/completions/kirotunnel
    zsh:   kirotunnel completion zsh >~/.zfunc/_kirotunnel   (a directory of your fpath)
    fish:  kirotunnel completion fish >~/.config/fish/completions/kirotunnel.fish
    """
    from kirotunnel.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choice above has only what click knows
    click.echo(_BASH if shell == "bash" else kind(cli, {}, "kirotunnel", _VARIABLE).source())


# click's own script for bash takes the words as bash splits them, at `@` and `:` too, and so never sees `ada@bo`. This
# one splits the line at blanks, and takes from each answer what bash regards as an earlier word. macOS's bash is 3.2.
_BASH = r"""_kirotunnel_completion() {
    local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} response completion kind value
    local -a words
    IFS=$' \t' read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    local typed=${words[${#words[@]}-1]}
    [[ $current == [:@=] ]] && current=
    local before=${typed%"$current"}
    before=${before%@}
    local IFS=$'\n'
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) _KIROTUNNEL_COMPLETE=bash_complete "$1")
    for completion in $response; do
        IFS=',' read -r kind value <<<"$completion"
        case $kind in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done
}

complete -o nosort -F _kirotunnel_completion kirotunnel 2>/dev/null || complete -F _kirotunnel_completion kirotunnel
"""


def complete_target(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The hosts of the SSH config and of known_hosts that begin with what was typed; `USER@` stays in front."""
    from kirotunnel.ssh.names import names

    user, at, typed = incomplete.rpartition("@")
    config = ctx.params.get("ssh_config")
    return [CompletionItem(f"{user}{at}{name}") for name in names(config) if name.startswith(typed)]


def complete_container(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The containers of this machine that run. Those of another are not asked for: a Tab connects to nothing."""
    import subprocess

    from kirotunnel.wire.containers import ENGINES

    # An option that still lacks its value ends click's reading: the target before it is left among the arguments.
    targets = (*(ctx.params.get("targets") or ()), ctx.params.get("target"), *ctx.args)
    if any(target not in {None, "localhost"} for target in targets):
        return []
    found: dict[str, None] = {}
    for engine in ENGINES:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            listing = [engine, "ps", "--format", "{{.Names}}"]
            said = subprocess.run(listing, capture_output=True, text=True, timeout=_ENGINE_S, check=False).stdout
            found |= dict.fromkeys(said.split())
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]
