"""What messages call the command that a person runs."""

from __future__ import annotations

import pytest

from kirotunnel.flows.run import command_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("rclone", "authorize", "drive"), "rclone"),
        (("/usr/bin/rclone", "authorize"), "rclone"),
        (("env", "A=1", "B=2", "/opt/bin/wrangler", "login"), "wrangler"),
        (("PYTHONPATH=/srv/tools python3 -m tool",), "python3"),
        (("rclone config",), "rclone"),
        (("echo 'half a quote",), "the command"),
        (("(cd app; npm run login)",), "the command"),
        (("A=1",), "the command"),
        (("/",), "the command"),
    ],
)
def test_a_command_is_called_by_its_program(words: tuple[str, ...], name: str) -> None:
    assert command_name(words) == name
