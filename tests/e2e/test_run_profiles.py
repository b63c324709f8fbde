"""What only a profile can say, said in a file of the user's own for a command line of which nothing is built in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from e2e.creatures import Leg, Zoo, assert_free, running, visit
from e2e.harness import listening_here, wait_until
from lab.remote import RemoteMachine
from lab.servers import Server

PROFILE: Final = """\
about = "Acme's command line"
arguments = '\\blogin\\b'
authorize_hosts = ["*.example"]
environment = { ACME_BROWSER_LOGIN = "1" }
unset = ["SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "ACME_TOKEN"]
"""


@pytest.fixture
def zoo(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Zoo:
    zoo = Zoo.on(remote, sshd, tmp_path / "ssh_config")
    *variables, python, script = zoo.command("acme")[1:]
    lines = ["#!/bin/sh", *(f"export {variable}" for variable in variables), f'exec {python} {script} "$@"', ""]
    remote.write("/usr/local/bin/acme", "\n".join(lines), mode=0o755)
    return zoo


@pytest.fixture
def profiles(scrubbed_environment: Path) -> Path:
    """The folder that the documentation names."""
    folder = scrubbed_environment / ".config" / "kirotunnel" / "profiles"
    folder.mkdir(parents=True)
    (folder / "acme.toml").write_text(PROFILE)
    return folder


def back(leg: Leg) -> None:
    reply = leg.callback()
    assert reply is not None
    assert reply.title == "You can close this window"


def test_without_a_profile_it_does_not_get_that_far(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, ["acme", "login"]) as run:
        assert run.end() == 1
    assert "no browser is used here" in run.stderr


def test_with_one_it_is_signed_in_and_nobody_has_to_be_asked(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    zoo.remote.write("/home/bash/.bashrc", "export ACME_TOKEN=old\n", owner="bash")
    with running(zoo, tmp_path, ["acme", "login"], trust=()) as run:
        back(Leg.of(run.next_page()))
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])
    assert_free(zoo.ports())


def test_commands_of_it_that_the_profile_does_not_mean_are_left_alone(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    with running(zoo, tmp_path, ["acme", "status"]) as run:
        assert run.end() == 1
    assert "no browser is used here" in run.stderr


def test_an_answer_that_is_posted_though_the_url_does_not_say_so(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    with running(zoo, tmp_path, ["acme", "login", "unsaid-form"]) as run:
        refused = Leg.of(run.next_page()).posted()
        assert refused is not None
        assert refused.status == 405
        run.process.terminate()
        run.end()
    (profiles / "acme.toml").write_text(PROFILE + "[gate]\nform_post = true\n")
    (tmp_path / "opened").unlink()
    with running(zoo, tmp_path, ["acme", "login", "unsaid-form"]) as run:
        said = Leg.of(run.next_page()).posted()
        assert said is not None
        assert said.title == "You can close this window"
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["POST /callback"])


def test_an_answer_without_the_state(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    (profiles / "acme.toml").write_text(PROFILE + "[gate]\nignore_state = true\n")
    with running(zoo, tmp_path, ["acme", "login", "no-state"]) as run:
        leg = Leg.of(run.next_page())
        favicon = visit(leg.port, "/favicon.ico")
        assert favicon is not None
        assert favicon.status == 404
        said = leg.callback(f"code=code-of-{leg.state}")
        assert said is not None
        assert said.title == "You can close this window"
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])


def test_it_says_that_it_is_signed_in_and_the_port_is_free_though_it_listens_on(
    zoo: Zoo, profiles: Path, tmp_path: Path
) -> None:
    (profiles / "acme.toml").write_text(f"success = '^Logged in as '\n{PROFILE}")
    with running(zoo, tmp_path, ["acme", "login", "lingers"]) as run:
        leg = Leg.of(run.next_page())
        back(leg)
        assert wait_until(lambda: not listening_here(leg.port), 8)
        assert run.process.poll() is None
        assert ("127.0.0.1", leg.port) in zoo.remote.listeners()
        run.process.terminate()
        run.end()
    assert zoo.saw_no_stranger(["GET /callback"])


def test_its_answer_may_lead_to_the_companys_page(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    (profiles / "acme.toml").write_text(f'answer_hosts = ["www.acme.example"]\n{PROFILE}')
    with running(zoo, tmp_path, ["acme", "login", "leads-on"]) as run:
        sent = Leg.of(run.next_page()).callback()
        assert sent is not None
        assert sent.status in {302, 303}
        assert sent.headers["location"] == "https://www.acme.example/welcome"
        assert run.end() == 0, run.stderr


def test_it_gets_a_terminal_though_we_have_none(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    (profiles / "acme.toml").write_text(f"terminal = true\n{PROFILE}")
    with running(zoo, tmp_path, ["acme", "login", "terminal"]) as run:
        back(Leg.of(run.next_page()))
        assert run.end() == 0, run.stderr


def test_it_is_listed_and_explained(profiles: Path) -> None:
    for words in (["profiles"], ["profiles", "acme"]):
        done = subprocess.run([sys.executable, "-m", "kirotunnel", *words], capture_output=True, text=True, check=True)
        assert "acme" in done.stdout
        assert str(profiles / "acme.toml") in done.stdout or words == ["profiles"]


def test_a_mistake_in_it_is_named_by_file_line_and_key(zoo: Zoo, profiles: Path, tmp_path: Path) -> None:
    (profiles / "acme.toml").write_text(PROFILE + "[gate]\nform_posted = true\n")
    with running(zoo, tmp_path, ["acme", "login"]) as run:
        assert run.end() == 3
    assert "error[KT106]" in run.stderr
    for part in (str(profiles / "acme.toml"), "line 7", "form_posted"):
        assert part in run.stderr
    assert zoo.log("listening") == []
