"""The shell scripts that run on the target: POSIX sh, for bash, dash, BusyBox ash and zsh alike."""

from __future__ import annotations

import shlex
from functools import cache
from importlib import resources


@cache
def read_script(name: str) -> str:
    """The text of one of our scripts."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def assignments(**values: str) -> str:
    """`NAME='value'` lines for /bin/sh, whatever is in the values."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def function(name: str, command: str) -> str:
    """A shell function around a command line that is quoted already."""
    return f"{name}() {{ {command}; }}\n"
