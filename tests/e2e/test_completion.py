"""Completion in real shells, and names that were nearly right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from e2e.harness import kirotunnel
from kirotunnel.ssh import names
from lab.requirements import require

Complete = Callable[[str, str], list[str]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SSH config that includes another, and the shells' `kirotunnel` on PATH."""
    included = tmp_path / "more"
    included.write_text("Host dev-two staging box\n  User x\n")
    file = tmp_path / "config"
    file.write_text(
        f"Host dev-one *.example.com !dev-three\nInclude {included}\nHost *\n  User y\nMatch host dev-four\n"
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "kirotunnel"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m kirotunnel "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return file


def script_of(shell: str) -> str:
    run = kirotunnel("completion", shell)
    assert (run.code, run.stderr) == (0, "")
    return run.stdout


def in_bash(line: str) -> list[str]:
    """What bash itself makes of the line and a Tab: the words that would stand there."""
    child = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], encoding="utf-8", timeout=20, dimensions=(50, 200))
    settings = ("show-all-if-ambiguous on", "enable-bracketed-paste off", "page-completions off")
    child.sendline("PS1='> '; " + "; ".join(f"bind 'set {setting}'" for setting in settings))
    child.sendline("source <(kirotunnel completion bash); echo rea''dy")
    child.expect("ready\r\n> ")
    child.send(line + "\t")
    child.send("\x15echo do''ne\r")  # clear the line
    child.expect("done\r\n")
    child.close(force=True)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", child.before or "").replace("\r", "")
    while "\b" in text:  # readline goes back and writes anew
        text = re.sub(r"[^\b]\x08", "", text, count=1)
    return text.split("\n")


def test_bash_completes_a_target(config: Path) -> None:
    require("bash")
    shown = in_bash(f"kirotunnel login -F {config} dev")
    assert re.search(r"dev-one\s+dev-two", "\n".join(shown))
    assert "dev-three" not in "".join(shown)


@pytest.mark.parametrize("typed", ["sta", "ada@sta"])
def test_bash_fills_in_the_only_one(config: Path, typed: str) -> None:
    require("bash")
    shown = "".join(in_bash(f"kirotunnel login -F {config} {typed}"))
    assert f" {typed}ging" in shown


def test_bash_completes_commands_and_options(config: Path) -> None:
    require("bash")
    assert "kirotunnel attach" in "".join(in_bash("kirotunnel att"))
    assert "--no-browser" in "".join(in_bash("kirotunnel login --no-b"))
    assert "kirotunnel completion bash" in "".join(in_bash("kirotunnel completion b"))


def test_a_container_of_this_machine_is_completed_and_none_of_another(config: Path) -> None:
    engine = config.parent / "bin" / "nerdctl"
    engine.write_text('#!/bin/sh\n[ "$*" = "ps --format {{.Names}}" ] && printf "web\\nworker\\ndb\\n"\n')
    engine.chmod(0o755)
    for line, found in (
        ("login localhost --container w", {"web", "worker"}),
        ("login --container d", {"db"}),
        ("doctor localhost --container we", {"web"}),
        ("login dev-one --container w", set()),
    ):
        words = ["kirotunnel", *line.split()]
        env = {
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_KIROTUNNEL_COMPLETE": "bash_complete",
        }
        assert {word.partition(",")[2] for word in kirotunnel(env=env).stdout.split()} == found


def test_fish_completes_a_target(config: Path) -> None:
    require("fish")
    text = f"kirotunnel completion fish | source; complete -C 'kirotunnel login -F {config} dev'"
    done = subprocess.run(["fish", "-N", "-c", text], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["dev-one", "dev-two"]


def test_zsh_completes_a_target(config: Path) -> None:
    require("zsh")
    child = pexpect.spawn("zsh", ["-f", "-i"], encoding="utf-8", timeout=20, dimensions=(50, 200))
    child.sendline("PS1='> '; autoload -Uz compinit && compinit -D; source <(kirotunnel completion zsh); echo rea''dy")
    child.expect("ready\r\n")
    child.send(f"kirotunnel login -F {config} sta\t")
    child.expect("staging")
    child.close(force=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(shell: str, tmp_path: Path) -> None:
    require(shell)
    file = tmp_path / "script"
    file.write_text(script_of(shell))
    check = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, timeout=20)
    assert (check.returncode, check.stderr) == (0, "")


def test_another_shell_is_a_usage_error() -> None:
    run = kirotunnel("completion", "tcsh")
    assert run.code == 2
    assert "bash" in run.stderr


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a known_hosts file."""
    home = tmp_path / "account"
    (home / ".ssh").mkdir(parents=True)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Hx1cG3iWWGTrnpBrAX1XZKk9ZyZLsGkW6m2HhNzvX"
    (home / ".ssh" / "known_hosts").write_text(
        f"# comment\nplain.example.com,192.0.2.7 {key}\n[odd.example.com]:2222 {key}\n|1|c2FsdA==|aGFzaA== {key}\n"
        f"@cert-authority *.example.com {key}\n*.wild {key}\nbroken\n"
    )
    (home / ".ssh" / "config").write_text("Host alias\n  User x\nHost broken\n  NoArgument\n")
    (home / ".ssh" / "config").chmod(0o600)
    monkeypatch.setattr("kirotunnel.ssh.config_text.home", lambda: home)
    monkeypatch.setattr(names, "home", lambda: home)
    return home


def test_the_names_are_those_of_the_config_and_of_known_hosts(account: Path) -> None:
    found = names.names()
    assert found[:2] == ["alias", "broken"]
    assert [name for name in found if "example" in name or name.startswith("192")] == [
        "plain.example.com",
        "192.0.2.7",
        "odd.example.com:2222",
    ]
    assert not any(set(name) & set("*|@[") for name in found)


def test_a_config_that_cannot_be_read_is_no_obstacle(account: Path) -> None:
    (account / ".ssh" / "config").write_bytes(b'Host "open\n\xff\xfe\n')
    assert "plain.example.com" in names.names()
    assert names.names("/no/such/config")[:1] != ["alias"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("dev-on", "dev-one"), ("dev-tow", "dev-two"), ("Stagign", "staging"), ("bxo", "box")]
)
@pytest.mark.parametrize("front", ["", "ada@"])
def test_a_mistyped_alias_gets_a_did_you_mean(config: Path, typed: str, meant: str, front: str) -> None:
    run = kirotunnel("login", f"{front}{typed}", "-F", str(config), "--json")
    assert (run.code, run.failure) == (4, "KT202")
    assert f"did you mean {meant}" in run.named("failed")[0]["hint"]


def test_a_name_that_is_like_no_other_gets_none(config: Path) -> None:
    run = kirotunnel("login", "nothing-like-it.invalid", "-F", str(config), "--json")
    assert run.failure == "KT202"
    assert "did you mean" not in run.named("failed")[0]["hint"]


def test_completing_imports_no_ssh_library(config: Path) -> None:
    text = (
        "import sys\nfrom kirotunnel.ssh.names import names\n"
        f"assert 'dev-two' in names({str(config)!r})\n"
        "assert not {'asyncssh', 'paramiko', 'asyncio'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
