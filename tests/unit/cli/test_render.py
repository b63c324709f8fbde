"""The program's side: its lines, and what becomes of them where nobody reads them any more."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from kirotunnel import events as ev
from kirotunnel.cli.render import JsonLines
from kirotunnel.flows.environment import Silence

CLOSED = ev.TunnelClosed(leg=1, port=3128, open_ms=5)


def test_a_line_is_there_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    JsonLines(Silence(), "box").event(CLOSED)
    line = json.loads(capfd.readouterr().out)
    assert (line["event"], line["target"], line["port"]) == ("tunnel_closed", "box", 3128)


def test_a_reader_that_is_gone_is_told_no_more_and_the_person_still_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    told: list[ev.Event] = []
    lines = JsonLines(Silence(told.append), "box")
    with open(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        lines.event(CLOSED)
        os.close(reading)
        lines.event(CLOSED)
        lines.event(CLOSED)
        monkeypatch.undo()  # closing writes what lies in its buffer: nothing goes to where nobody is
    assert told == [CLOSED] * 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_disk_that_is_full_is_no_reader_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 - closing it fails as writing does
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(OSError, match="space") as failed:
        JsonLines(Silence(), "box").event(CLOSED)
    assert failed.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="space"):
        stdout.close()
