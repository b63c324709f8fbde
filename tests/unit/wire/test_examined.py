"""What the target says to the doctor's questions, whatever that is."""

from __future__ import annotations

import pytest

from kirotunnel.wire.examined import read_examined
from kirotunnel.wire.records import Record

ROWS = """
date 1790000000
on-path yes
writable home yes
writable data no
disk /dev/sda1 100 60 40 60% /
place /tmp
place /var/tmp
left no /tmp/kirotunnel.a
place /tmp
left no /tmp/kirotunnel.a
left yes /tmp/kirotunnel.b
proxy http://proxy:3128
reach yes https://a
reach tls https://b
reach nonsense https://c
ss LISTEN 0 128 127.0.0.1:3128 0.0.0.0:*
listeners-by ss
"""


def records(text: str) -> list[Record]:
    return [Record(*line.partition(" ")[::2]) for line in text.strip().splitlines()]


def test_the_records_are_read() -> None:
    examined = read_examined(records(ROWS))
    assert (examined.seconds, examined.on_path) == (1790000000, True)
    assert (examined.home_writable, examined.data_writable, examined.disk_free_kib) == (True, False, 40)
    assert (examined.places, examined.left) == (("/tmp", "/var/tmp"), ("/tmp/kirotunnel.a",))
    assert examined.proxy
    assert examined.reached == {"https://a": "yes", "https://b": "tls", "https://c": "unknown"}
    assert [row.port for row in examined.listeners or []] == [3128]


def test_nothing_said_is_nothing_known() -> None:
    examined = read_examined([])
    assert (examined.seconds, examined.on_path, examined.disk_free_kib, examined.listeners) == (None, None, None, None)
    assert (examined.places, examined.left, examined.reached, examined.keychain) == ((), (), {}, None)


@pytest.mark.parametrize("row", ["", "x", "dev 1 2", "dev a b c", "//host/share name 100 60 40 60% /home"])
def test_a_row_of_df_may_be_anything(row: str) -> None:
    assert read_examined([Record("disk", row)]).disk_free_kib in {None, 40}


def test_a_date_that_is_none_is_unknown() -> None:
    assert read_examined([Record("date", "%s")]).seconds is None
    assert read_examined([Record("date", "9" * 400)]).seconds is None
