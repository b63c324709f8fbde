"""The command itself over SSH as people have it: prompts on a terminal, none without, and codes for what goes wrong."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

import pexpect
import psutil
import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import kirotunnel, robot
from lab.keys import PASSPHRASE, ClientKeys, generate
from lab.remote import RemoteMachine
from lab.servers import Server
from lab.users import PASSWORD


def typed(box: Box, *more: str) -> pexpect.spawn:
    arguments = [part for part in box.arguments(*robot("google"), *more) if part != "--json"]
    return pexpect.spawn(sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30)


def rewrite(box: Box, server: Server, **options: str) -> None:
    """The same box with other options."""
    box.config.write_text(str(server.entry(box.alias, box.user, **options)))


def test_a_passphrase_is_asked_once_on_a_terminal(make_box: MakeBox, sshd: Server, client_keys: ClientKeys) -> None:
    box = make_box(sshd)
    rewrite(box, sshd, IdentityFile=str(client_keys.encrypted))
    person = typed(box)
    person.expect(f"Passphrase for {client_keys.encrypted}")
    person.sendline(PASSPHRASE)
    person.expect("signed in as ada@example.com")
    person.expect(pexpect.EOF)
    assert "Passphrase" not in (person.before or "")
    person.close()
    assert person.exitstatus == 0


def test_a_password_is_asked_on_a_terminal_and_not_shown(make_box: MakeBox, remote: RemoteMachine) -> None:
    server = remote.sshd(extra=["PasswordAuthentication yes", "PubkeyAuthentication no"])
    box = make_box(server)
    person = typed(box)
    person.expect(f"Password for bash@{server.host}")
    person.sendline(PASSWORD)
    person.expect("signed in as ada@example.com")
    assert PASSWORD not in (person.before or "")
    person.expect(pexpect.EOF)


@pytest.fixture
def behind_a_bastion(make_box: MakeBox, sshd: Server, remote: RemoteMachine) -> Box:
    """A box that is reached by `ProxyCommand ssh -W`, over a server that wants a password."""
    bastion = remote.sshd(extra=["PasswordAuthentication yes", "PubkeyAuthentication no"])
    box = make_box(sshd)
    way = sshd.entry(box.alias, box.user, ProxyCommand=f"ssh -F {box.config} -W %h:%p bastion")
    box.config.write_text(f"{bastion.entry('bastion', 'dash')}\n{way}")
    return box


def askpass_of(person: pexpect.spawn) -> list[Path]:
    """The directories by which a ProxyCommand of that kirotunnel asks."""
    told = {child.environ().get("SSH_ASKPASS") for child in psutil.Process(person.pid).children(recursive=True)}
    return [Path(path).parent for path in told if path]


def test_the_ssh_of_a_proxy_command_asks_on_the_terminal(behind_a_bastion: Box) -> None:
    person = typed(behind_a_bastion)
    person.expect(rf"the ProxyCommand for {behind_a_bastion.user}@\S+ asks\) dash@\S+'s password: ")
    (directory,) = askpass_of(person)
    assert directory.is_dir()
    person.sendline(PASSWORD)
    person.expect("signed in as ada@example.com")
    assert PASSWORD not in (person.before or "")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
    assert not directory.exists()


def test_ctrl_c_at_a_question_of_a_proxy_command_leaves_nothing(behind_a_bastion: Box) -> None:
    person = typed(behind_a_bastion)
    person.expect("'s password: ")
    (directory,) = askpass_of(person)
    programs = psutil.Process(person.pid).children(recursive=True)
    assert [each for each in programs if "ssh" in each.name()]
    person.sendintr()
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 130
    assert not directory.exists()
    assert psutil.wait_procs(programs, timeout=10)[1] == []


def test_a_question_of_a_proxy_command_ends_with_whoever_is_killed(behind_a_bastion: Box) -> None:
    person = typed(behind_a_bastion)
    person.expect("'s password: ")
    (directory,) = askpass_of(person)
    programs = psutil.Process(person.pid).children(recursive=True)
    person.kill(signal.SIGKILL)
    assert psutil.wait_procs(programs, timeout=10)[1] == []
    assert sorted(path.name for path in directory.iterdir()) == ["askpass", "s"]
    shutil.rmtree(directory)
    person.close()


def test_several_targets_ask_by_their_names(behind_a_bastion: Box) -> None:
    config = behind_a_bastion.config
    config.write_text(config.read_text().replace(f"Host {behind_a_bastion.alias}", "Host one two"))
    command = ["-m", "kirotunnel", "whoami", "one", "two", "-F", str(config)]
    person = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=30)
    asked = set()
    for _ in range(2):
        person.expect(r"(one|two): \(the ProxyCommand for \S+ asks\) dash@\S+'s password: ")
        assert person.match
        asked.add(person.match[1])
        person.sendline(PASSWORD)
    person.expect(pexpect.EOF)
    person.close()
    assert asked == {"one", "two"}
    for target in asked:
        assert f"{target}  nobody is signed in" in person.before
    assert PASSWORD not in person.before


def test_a_proxy_command_whose_ssh_can_ask_nobody_says_so(behind_a_bastion: Box) -> None:
    run = kirotunnel(*behind_a_bastion.arguments())
    assert (run.code, run.failure) == (5, "KT301"), run.stderr
    assert "run on a terminal" in run.named("failed")[0]["hint"]


@pytest.mark.parametrize("key", ["encrypted", "stranger"])
def test_without_a_terminal_nothing_is_asked(
    make_box: MakeBox, sshd: Server, client_keys: ClientKeys, key: str
) -> None:
    box = make_box(sshd)
    rewrite(box, sshd, IdentityFile=str(getattr(client_keys, key)))
    began = time.monotonic()
    run = kirotunnel(*box.arguments())
    assert (run.code, run.failure) == (5, "KT304"), run.stderr
    assert run.named("failed")[0]["hint"]
    assert "Passphrase for" not in run.stderr
    assert time.monotonic() - began < 15


def test_a_login_through_a_jump_says_so(make_box: MakeBox, sshd: Server, dropbear: Server) -> None:
    box = make_box(sshd)
    bastion = dropbear.entry("bastion", "dash")
    box.config.write_text(f"{bastion}\n{sshd.entry(box.alias, box.user, ProxyJump='bastion')}")
    run = box.login("google")
    assert run.code == 0, run.stderr
    port = "" if dropbear.port == 22 else f":{dropbear.port}"
    assert run.named("connecting")[0]["via"] == [f"dash@{dropbear.host}{port}"]


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ("Host dev-box\n  ProxyJump a\nHost a\n  ProxyJump dev-box\n", "KT203", "dev-box → a → dev-box"),
        ("Host dev-box\n  Include {here}\n", "KT203", "recursive"),
        ("Host dev-box\n  HostName x.invalid\n  Port many\n", "KT203", "line 3"),
        ("Host dev-box\n  HostName x.invalid\n", "KT202", "x.invalid"),
        ("Host dev-box\n  HostName box.invalid\n  ProxyJump x.invalid\n", "KT202", "jump host x.invalid"),
        ("Host dev-box\n  IdentityFile /keys/%z\n", "KT203", "%z"),
        ("Host dev-box\n  IdentityFile ${{NO_SUCH_NAME}}/id\n", "KT203", "NO_SUCH_NAME"),
    ],
    ids=["jump-loop", "include-loop", "bad-port", "no-address", "jump-no-address", "bad-token", "no-variable"],
)
@pytest.mark.parametrize("openssh", [True, False], ids=["openssh", "fallback"])
def test_a_config_that_leads_nowhere(tmp_path: Path, config: str, code: str, said: str, openssh: bool) -> None:
    file = tmp_path / "config"
    file.write_text(config.format(here=file))
    env = {} if openssh else {"PATH": str(tmp_path)}
    run = kirotunnel("login", "dev-box", "-F", str(file), "--json", env=env)
    assert (run.code, run.failure) == (4, code), run.stderr
    assert said in run.named("failed")[0]["message"]
    assert run.named("failed")[0]["hint"]


def test_what_is_not_followed_is_said(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    rewrite(box, sshd, VerifyHostKeyDNS="yes")
    run = box.login("google")
    assert run.code == 0
    assert "warning: verifyhostkeydns" in run.stderr


def test_a_key_that_others_can_read_is_named(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    key = generate(tmp_path / "open")
    key.chmod(0o644)
    box = make_box(sshd)
    rewrite(box, sshd, IdentityFile=str(key))
    run = kirotunnel(*box.arguments())
    assert (run.code, run.failure) == (5, "KT304"), run.stderr
    assert f"chmod 600 {key}" in run.named("failed")[0]["hint"]


def test_a_jump_host_that_is_down_is_named(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    rewrite(box, sshd, ProxyJump="ada@127.0.0.1:9")
    run = kirotunnel(*box.arguments())
    assert (run.code, run.failure) == (5, "KT301"), run.stderr
    failed = run.named("failed")[0]
    assert "the jump host ada@127.0.0.1:9: connection refused" in failed["message"]
    assert failed["hint"] == "check that 127.0.0.1 is up and takes SSH connections on port 9"


def test_a_mistyped_name_behind_a_jump_gets_a_did_you_mean(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    bastion = sshd.entry("bastion", "dash")
    box.config.write_text(
        f"{bastion}\n{sshd.entry(box.alias, box.user)}\nHost * !bastion !bastoin\n  ProxyJump bastion\n"
    )
    run = kirotunnel("login", "dev-bxo", "-F", str(box.config), "--json", "-o", "StrictHostKeyChecking=yes")
    assert (run.code, run.failure) == (4, "KT202"), run.stderr
    failed = run.named("failed")[0]
    port = "" if sshd.port == 22 else f":{sshd.port}"
    assert f"the jump host dash@{sshd.host}{port} knows no address of dev-bxo" in failed["message"]
    assert "did you mean dev-box?" in failed["hint"]
    run = kirotunnel("login", "dev-box", "-F", str(box.config), "--json", "-J", "bastoin")
    assert (run.code, run.failure) == (4, "KT202"), run.stderr
    assert "the jump host bastoin has no address" in run.named("failed")[0]["message"]
    assert "did you mean bastion?" in run.named("failed")[0]["hint"]


@pytest.mark.parametrize("named", [True, False])
def test_an_agent_that_is_gone_is_named(make_box: MakeBox, sshd: Server, tmp_path: Path, named: bool) -> None:
    gone = tmp_path / "gone"
    box = make_box(sshd)
    rewrite(box, sshd, IdentityFile="none", **({"IdentityAgent": str(gone)} if named else {}))
    run = kirotunnel(*box.arguments(), env={} if named else {"SSH_AUTH_SOCK": str(gone)})
    assert (run.code, run.failure) == (5, "KT304"), run.stderr
    assert f"the agent at {gone} cannot be asked: No such file or directory" in run.named("failed")[0]["hint"]
