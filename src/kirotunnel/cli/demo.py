"""`kirotunnel demo`: the whole remote login on this machine alone."""

from __future__ import annotations

import click


@click.command("demo")
def command() -> int:
    """Show the whole remote login on this machine alone."""
    return 0
