"""`kirotunnel explain`: the long text behind a code."""

from __future__ import annotations

import click

from kirotunnel.errors import all_errors


@click.command("explain")
@click.argument("code")
def command(code: str) -> None:
    """Say what CODE (KTnnn) means and what to do."""
    known = all_errors()
    error = known.get(code.strip().upper())
    if error is None:
        raise click.UsageError(f"there is no code {code!r}; the codes are {', '.join(known)}")
    click.echo(f"{error.code}: {error.title} (exit code {error.exit_code})\n")
    click.echo(click.wrap_text(error.explanation, width=88))
    click.echo("\n" + click.wrap_text(f"What to do: {error.default_hint}", width=88))
