"""Ports that a system keeps aside, and whose a listener is, as systems print it."""

from __future__ import annotations

import pytest

from kirotunnel.wire.listeners import parse_excluded_ranges, parse_proc_users, parse_reserved_ranges

NETSH = """
Protocol tcp Port Exclusion Ranges

Start Port    End Port
----------    --------
      3100        3199
     50000       50059     *

* - Administered port exclusions.
"""
PROC = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:0C38 00000000:0000 0A 00000000:00000000 00:00000000 00000000    13        0 4242 1 0 100 0 0 10 0",
    "   1: 0100007F:0C38 0100007F:9999 01 00000000:00000000 00:00000000 00000000    14        0 4243 1 0 100 0 0 10 0",
]


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("", []), ("\n", []), ("3128\n", [(3128, 3128)]), ("8080,9148-9150\n", [(8080, 8080), (9148, 9150)])],
)
def test_linux_lists_ports_and_ranges(text: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_reserved_ranges(text) == ranges


def test_windows_lists_ranges_in_any_language() -> None:
    assert parse_excluded_ranges(NETSH) == [(3100, 3199), (50000, 50059)]
    assert parse_excluded_ranges("nothing of the kind") == []


def test_linux_tells_everybody_whose_a_listener_is() -> None:
    assert list(parse_proc_users(PROC)) == [("127.0.0.1", 3128, 13)]
