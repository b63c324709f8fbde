"""Servers that forbid forwarding: the one request travels over a command, with whatever the target has for it."""

from __future__ import annotations

import pytest

from e2e.conftest import MakeBox
from e2e.harness import kirotunnel, listening_here, robot
from e2e.test_login import METHODS, assert_only_callbacks_arrived, assert_signed_in
from lab.remote import RemoteMachine
from lab.requirements import require

# In the order in which they are taken; each is tried with those before it hidden.
TOOLS = ("python3", "perl", "bash", "socat", "ncat", "nc", "busybox", "curl")


@pytest.mark.parametrize("setting", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen none"])
def test_the_callback_travels_over_a_command(make_box: MakeBox, remote: RemoteMachine, setting: str) -> None:
    box = make_box(remote.sshd(extra=[setting]))
    run = box.login("google")
    assert_signed_in(run, "google")
    assert run.named("tunnel_opened")[0]["via"] == "exec"
    assert_only_callbacks_arrived(box, "google")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_signs_in_without_forwarding(make_box: MakeBox, remote: RemoteMachine, method: str) -> None:
    box = make_box(remote.sshd(extra=["AllowTcpForwarding no"]))
    assert_signed_in(box.login(method), method)
    assert_only_callbacks_arrived(box, method)


@pytest.mark.parametrize("method", ["google", "builder-id"])
def test_dropbear_without_forwarding_is_served_as_well(make_box: MakeBox, remote: RemoteMachine, method: str) -> None:
    box = make_box(remote.dropbear(extra=["-j"]))
    assert_signed_in(box.login(method), method)
    assert_only_callbacks_arrived(box, method)


@pytest.mark.parametrize("tool", TOOLS)
def test_whatever_the_target_has_will_do(make_box: MakeBox, remote: RemoteMachine, tool: str) -> None:
    require("ncat" if tool == "ncat" else tool)
    box = make_box(remote.sshd(extra=["AllowTcpForwarding no"]), "dash")
    remote.hide(*(name for name in TOOLS if name != tool))
    assert_signed_in(box.login("builder-id"), "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")


def test_a_target_with_nothing_to_carry_it_is_said_with_what_was_tried(
    make_box: MakeBox, remote: RemoteMachine
) -> None:
    box = make_box(remote.sshd(extra=["AllowTcpForwarding no"]), "dash")
    remote.hide(*TOOLS)
    run = box.login("google")
    assert (run.code, run.failure) == (5, "KT307")
    assert "tried python3, perl, bash" in run.named("failed")[0]["message"]
    assert not listening_here(run.named("tunnel_opened")[0]["port"])


def test_a_cli_that_is_gone_is_told_from_a_server_that_forbids(make_box: MakeBox, remote: RemoteMachine) -> None:
    box = make_box(remote.sshd(extra=["AllowTcpForwarding no"]), KIRO_STANDIN_FAULT="die-after-open")
    run = kirotunnel(*box.arguments(*robot("google")))
    assert (run.code, run.failure) == (6, "KT404")
