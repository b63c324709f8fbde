"""The CLI's own remote mode: one-time codes, menus of every era, the port that waits for Enter; and what it cannot."""

from __future__ import annotations

import sys

import pexpect
import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import robot
from e2e.test_login import PEOPLE, assert_signed_in
from lab.servers import Server

IDC = ("--start-url", "https://acme.awsapps.com/start", "--region", "us-east-1")
WSL = "5.15.153.1-microsoft-standard-WSL2\n"


@pytest.mark.parametrize("version", ["1.22.0", "2.0.0", "2.10.0"])
@pytest.mark.parametrize("method", ["builder-id", "idc"])
def test_aws_methods_sign_in_by_one_time_code_in_every_era(
    make_box: MakeBox, sshd: Server, version: str, method: str
) -> None:
    box = make_box(sshd, KIRO_STANDIN_VERSION=version)
    run = box.login(method, "--flow", "device", "--method", method, *(IDC if method == "idc" else ()))
    assert_signed_in(run, method, email=version >= "1.25")
    code = run.named("device_code")[0]
    assert code["user_code"] in code["url"]
    assert run.named("login_started")[0]["flow"] == "device"
    assert run.named("tunnel_opened") == []


@pytest.mark.parametrize("method", ["google", "github"])
def test_social_methods_sign_in_by_one_time_code_since_2_1(make_box: MakeBox, sshd: Server, method: str) -> None:
    run = make_box(sshd).login(method, "--flow", "device", "--method", method)
    assert_signed_in(run, method)
    assert run.named("device_code")[0]["user_code"] in run.stderr


@pytest.mark.parametrize("method", ["google", "github"])
def test_the_port_that_waits_for_enter_is_understood(make_box: MakeBox, sshd: Server, method: str) -> None:
    box = make_box(sshd, KIRO_STANDIN_VERSION="2.0.0")
    run = box.login(method, "--flow", "device", "--method", method)
    assert_signed_in(run, method)
    assert run.named("login_started")[0]["flow"] == "callback"
    assert len(run.named("tunnel_opened")) == 1


@pytest.mark.parametrize("method", ["google", "builder-id"])
def test_a_wsl_remote_is_signed_in_by_code(make_box: MakeBox, sshd: Server, method: str) -> None:
    box = make_box(sshd)
    box.remote.cover("/proc/sys/kernel/osrelease", WSL)
    assert_signed_in(box.login(method, "--method", method), method)


def test_an_external_identity_provider_on_a_wsl_remote_is_refused_with_the_reason(
    make_box: MakeBox, sshd: Server
) -> None:
    box = make_box(sshd)
    box.remote.cover("/proc/sys/kernel/osrelease", WSL)
    run = box.login("external-idp", "--method", "external-idp")
    assert (run.code, run.failure) == (6, "KT403")
    assert "WSL" in run.named("failed")[0]["message"]


def test_google_by_code_is_refused_where_the_version_has_none(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd, KIRO_STANDIN_VERSION="1.22.0").login("google", "--flow", "device", "--method", "google")
    assert (run.code, run.failure) == (6, "KT403")


def test_a_menu_without_a_person_and_without_method_is_an_error(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd).login("google", "--flow", "device")
    assert (run.code, run.failure) == (6, "KT406")
    assert "--method" in run.named("failed")[0]["message"]


def test_a_denied_code_is_an_error_of_the_sign_in(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd).login("builder-id", "--flow", "device", "--method", "builder-id", decision="deny")
    assert run.code in {6, 8}
    assert run.failure is not None


@pytest.mark.parametrize("server", ["sshd", "dropbear"])
def test_the_profile_menu_reaches_the_person_and_their_keys_reach_it(
    request: pytest.FixtureRequest, make_box: MakeBox, server: str
) -> None:
    profiles = '[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"], ["third", "arn:aws:x:3"]]'
    box = make_box(request.getfixturevalue(server), KIRO_STANDIN_PROFILES=profiles)
    person = at_terminal(box, "idc")
    person.expect("Select an IAM Identity Center profile")
    person.expect("third")
    person.send("\x1b[B")
    person.send("\r")
    person.expect(f"signed in as {PEOPLE['idc']}")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
    assert "second" in box.remote.run("~/.local/bin/kiro-cli whoami", user=box.user).stdout


def test_the_method_menu_reaches_the_person(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    person = at_terminal(box, "google", "--flow", "device")
    person.expect("Select login method")
    person.expect("Use with Your Organization")
    person.send("j\r")
    person.expect(f"signed in as {PEOPLE['google']}")
    person.expect(pexpect.EOF)


def test_ctrl_c_at_a_menu_ends_it_all_and_puts_the_terminal_back(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    person = at_terminal(box, "google", "--flow", "device")
    person.expect("Use with Your Organization")
    person.sendintr()
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 130


def at_terminal(box: Box, method: str, *more: str) -> pexpect.spawn:
    """kirotunnel with a person at a terminal of 100 by 30."""
    arguments = [argument for argument in box.arguments(*robot(method), *more) if argument != "--json"]
    return pexpect.spawn(
        sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30, dimensions=(30, 100)
    )
