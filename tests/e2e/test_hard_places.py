"""Targets where things are not where one expects them: noexec /tmp, a read-only home, BusyBox only, a slow whoami."""

from __future__ import annotations

import pytest

from e2e.conftest import MakeBox
from e2e.harness import kirotunnel, robot
from e2e.test_login import assert_signed_in
from lab.remote import RemoteMachine
from lab.servers import Server


def test_a_tmp_on_which_nothing_may_run_is_passed_over(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.remote.run("mount -o remount,noexec /tmp")
    box.remote.run("mkdir -p ~/.cache", user=box.user)
    try:
        assert_signed_in(box.login("builder-id"), "builder-id")
    finally:
        box.remote.run("mount -o remount,exec /tmp")


def test_nowhere_to_run_anything_is_said(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, where="/usr/local/bin")
    for place in ("/tmp", "/var/tmp"):
        box.remote.run(f"chmod 755 {place}")
    box.remote.run(f"chown root /home/{box.user} && chmod 755 /home/{box.user}")
    try:
        run = box.login("google")
        assert (run.code, run.failure) == (6, "KT404")
        assert "no directory" in run.named("failed")[0]["message"]
    finally:
        for place in ("/tmp", "/var/tmp"):
            box.remote.run(f"chmod 1777 {place}")
        box.remote.run(f"chown {box.user} /home/{box.user}")


@pytest.mark.parametrize("hidden", [("ss",), ("ss", "lsof", "python3")])
def test_the_listener_is_confirmed_without_ss(make_box: MakeBox, sshd: Server, hidden: tuple[str, ...]) -> None:
    box = make_box(sshd)
    box.remote.hide(*hidden)
    assert_signed_in(box.login("builder-id"), "builder-id")


def test_a_slow_whoami_is_waited_for(make_box: MakeBox, sshd: Server) -> None:
    assert_signed_in(make_box(sshd, KIRO_STANDIN_FAULT="slow-whoami").login("google"), "google")


def test_a_whoami_that_fails_after_a_good_login_is_not_taken_for_signed_in(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd, KIRO_STANDIN_FAULT="whoami-fails").login("google")
    assert (run.code, run.failure) == (6, "KT411")


def test_an_answer_that_never_comes_is_not_taken_for_a_failure_by_itself(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd, KIRO_STANDIN_FAULT="no-answer").login("google")
    assert run.code in {0, 6}
    assert run.named("callback_received")[0]["outcome"] == "granted"


def test_a_cli_that_never_accepts_runs_into_the_deadline_with_the_reason(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, KIRO_STANDIN_FAULT="never-accept")
    run = kirotunnel(*box.arguments(*robot("google"), "--timeout", "15"))
    assert (run.code, run.failure) == (9, "KT701")
    assert "did not answer" in run.named("failed")[0]["message"]


def test_an_api_key_there_does_not_stand_in_for_a_person(make_box: MakeBox, remote: RemoteMachine) -> None:
    server = remote.sshd(extra=["SetEnv KIRO_API_KEY=key"])
    assert_signed_in(make_box(server).login("google"), "google")


def test_two_profiles_without_a_terminal_take_the_first(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, KIRO_STANDIN_PROFILES='[["one", "arn:aws:x:1"], ["two", "arn:aws:x:2"]]')
    assert_signed_in(box.login("idc"), "idc")
