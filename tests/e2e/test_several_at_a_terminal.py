"""Several targets at a terminal: a live table, the addresses above it, one question at a time, and a clean end."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from e2e.harness import robot
from e2e.hosts import UNREACHABLE, Hosts, MakeHosts
from lab.keys import PASSPHRASE

# The services' threads run while pexpect forks. The child calls exec at once.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")

AtTerminal = Callable[..., "pexpect.spawn[str]"]
SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture
def at_terminal() -> Iterator[AtTerminal]:
    children: list[pexpect.spawn[str]] = []

    def spawn(*arguments: str, **environment: str) -> pexpect.spawn[str]:
        children.append(
            pexpect.spawn(
                sys.executable,
                ["-m", "kirotunnel", *arguments],
                env={**os.environ, "TERM": "xterm-256color", **environment},
                encoding="utf-8",
                timeout=30,
                dimensions=(24, 100),
            )
        )
        return children[-1]

    yield spawn
    for child in children:
        child.close(force=True)


def ended(child: pexpect.spawn[str]) -> int:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return child.exitstatus


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def login(hosts: Hosts, *more: str) -> list[str]:
    return [*hosts.arguments("login", *hosts.names, *more), *hosts.services.trust]


def test_the_table_says_where_each_stands_and_the_summary_stays(make_hosts: MakeHosts, at_terminal: AtTerminal) -> None:
    hosts = make_hosts(2)
    child = at_terminal(*login(hosts, UNREACHABLE, "--no-browser", "--tabs", "1"))
    child.expect(r"host-[01]:\S* The sign-in page on ")
    child.expect(r"(http://\S+)\r?\n")
    child.expect("open the address above")
    child.expect("waits for its turn")
    child.expect("cannot connect")
    child.sendintr()
    assert ended(child) == 130
    assert SHOW_CURSOR in child.before


def test_all_signed_in(make_hosts: MakeHosts, at_terminal: AtTerminal) -> None:
    hosts = make_hosts(2)
    child = at_terminal(*login(hosts, *robot("google")))
    child.expect("2 of 2 are signed in")
    said = plain(child.before)
    for name in hosts.names:
        assert re.search(rf"ok +{name}  signed in as ada@example.com \(Google\)", said)
    assert ended(child) == 0


def test_without_colour_there_is_no_table(make_hosts: MakeHosts, at_terminal: AtTerminal) -> None:
    hosts = make_hosts(2)
    child = at_terminal(*login(hosts, *robot("google")), NO_COLOR="1")
    child.expect("2 of 2 are signed in")
    assert "\x1b" not in child.before
    for name in hosts.names:
        assert f"{name}: signed in as ada@example.com (Google)" in child.before
    assert ended(child) == 0


def test_a_passphrase_is_asked_for_once_with_the_table_out_of_the_way(
    make_hosts: MakeHosts, at_terminal: AtTerminal
) -> None:
    hosts = make_hosts(3)
    key = hosts.machines[0].keys.encrypted
    child = at_terminal(*login(hosts, *robot("google"), "-o", f"IdentityFile={key}", "-o", "IdentitiesOnly=yes"))
    child.expect(rf"host-\d: Passphrase for {re.escape(str(key))} \(for \S+\): ")
    assert SHOW_CURSOR in child.before
    child.sendline(PASSPHRASE)
    child.expect("3 of 3 are signed in")
    assert "Passphrase" not in child.before
    assert PASSPHRASE not in child.before
    assert ended(child) == 0


def test_unknown_hosts_are_asked_about_one_at_a_time_by_name(
    make_hosts: MakeHosts, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    hosts = make_hosts(2)
    child = at_terminal(*login(hosts, *robot("google"), "-o", f"UserKnownHostsFile={tmp_path}/new"))
    seen = []
    for answer in ("yes", "no"):
        child.expect(r"(host-\d): The host key of ")
        assert child.match is not None
        seen.append(child.match[1])
        child.expect(r"\[y/N\] ")
        child.sendline(answer)
    assert sorted(seen) == hosts.names
    child.expect("1 of 2 are signed in")
    said = plain(child.before)
    assert "error[KT302]" in said
    assert ended(child) == 1
