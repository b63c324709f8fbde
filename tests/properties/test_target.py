"""Whatever is typed as a target: an error of ours, or a destination that ssh cannot take for an option or a command."""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kirotunnel.errors import TargetError
from kirotunnel.targets.target import parse_target

PIECES: Final = [
    "ssh://",
    "ada",
    "@",
    "box",
    ":",
    "22",
    "0",
    "99999",
    "[",
    "]",
    "::1",
    "fe80::1",
    "%eth0",
    "-",
    "/",
    ".",
    " ",
    ";",
    "$",
]


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)))
def test_a_destination_is_harmless(text: str) -> None:
    try:
        target = parse_target(text)
    except TargetError:
        return
    assert target.text == text
    rest = target.destination.removeprefix("ssh://")
    user, at, host = rest.rpartition("@")
    assert host.strip("[]")
    assert not host.strip("[]").startswith("-")
    assert not user.startswith("-")
    assert bool(at) == bool(user)
    assert not set(rest) & set(" \t\n'\"`$\\;&<>|(){}\x00\x1b")
    assert parse_target(target.destination).destination == target.destination
