"""--timeline: a picture of a real login, of a failed one, and of several side by side."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from e2e.conftest import MakeBox
from e2e.hosts import MakeHosts
from lab.servers import Server

SVG = "{http://www.w3.org/2000/svg}"


def texts(file: Path) -> list[str]:
    return ["".join(element.itertext()) for element in ET.parse(file).iter(f"{SVG}text")]


def test_a_login_of_two_pages_is_drawn(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    file = tmp_path / "where.svg"
    run = make_box(sshd).login("builder-id", "--timeline", str(file))
    assert run.code == 0, run.stderr
    shown = texts(file)
    for label in ("connect", "look around", "the CLI starts", "page 1: you, in the browser", "page 2: port "):
        assert any(text.startswith(label) for text in shown), label
    assert not any("no end" in text for text in shown)


def test_a_login_that_fails_is_drawn_as_far_as_it_came(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    file = tmp_path / "where.html"
    run = make_box(sshd).login("google", "--timeline", str(file), "--no-browser", "--timeout", "10")
    assert run.code == 9
    page = file.read_text("utf-8")
    assert "KT701" in page
    assert "page 1: port 3128 open" in page
    assert "<td>tunnel_opened</td>" in page


def test_each_of_several_targets_has_its_part(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts, file = make_hosts(), tmp_path / "where.svg"
    run = hosts.login(*hosts.names, "--timeline", str(file))
    assert run.code == 0, run.stderr
    parts = [name for text in texts(file) if (name := text.removesuffix("signed in")) in hosts.names]
    assert sorted(parts) == list(hosts.names)  # in the order in which they began, which is anybody's


def test_a_place_that_takes_no_picture_does_not_undo_a_login(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    run = make_box(sshd).login("google", "--timeline", "/proc/where.svg")
    assert run.code == 0, run.stderr
    assert "warning: /proc/where.svg cannot be written" in run.stderr
