"""Several targets in one command: one local port, each answer at its own host, and no failure stops the others."""

from __future__ import annotations

import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from e2e.harness import ROBOT, listening_here
from e2e.hosts import UNREACHABLE, MakeHosts, of_target, results


def settings(scrubbed_environment: Path, text: str) -> None:
    file = scrubbed_environment / ".config" / "kirotunnel" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def state_file(home: Path) -> Path:
    return home / ".local" / "state" / "kirotunnel" / "failed-targets.json"


# --- login -----------------------------------------------------------------------------------------------------------


def test_three_hosts_that_chose_the_same_port_are_signed_in_through_it(make_hosts: MakeHosts) -> None:
    hosts = make_hosts()
    run = hosts.login(*hosts.names)
    assert run.code == 0, run.stderr
    assert results(run) == dict.fromkeys(hosts.names, (True, None))
    assert {event["port"] for event in run.named("tunnel_opened")} == {3128}
    hosts.assert_each_state_at_its_own_host()
    for name in hosts.names:
        assert of_target(run, name) == [
            "connecting", "connected", "remote_cli", "login_started", "browser_requested", "tunnel_opened",
            "browser_opened", "callback_received", "tunnel_closed", "signed_in",
        ]  # fmt: skip
    assert "3 of 3 are signed in" in run.stderr
    assert not listening_here(3128)


def test_two_pages_a_sign_in_and_one_tab_at_a_time(make_hosts: MakeHosts) -> None:
    hosts = make_hosts()
    run = hosts.login(*hosts.names, "--tabs", "1", method="builder-id")
    assert run.code == 0, run.stderr
    order = [(event["event"], event["target"], event["leg"]) for event in run.events if event.get("leg") == 1]
    shown = [target for name, target, _ in order if name == "browser_opened"]
    for earlier, later in pairwise(shown):
        assert order.index(("callback_received", earlier, 1)) < order.index(("browser_opened", later, 1))


def test_one_is_unreachable_one_denies_and_one_is_signed_in(
    make_hosts: MakeHosts, scrubbed_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = make_hosts(2)
    denier = shlex.join([sys.executable, str(ROBOT), "google", "deny"])
    settings(scrubbed_environment, f'[target."host-1"]\nbrowser = "{denier}"\n')
    monkeypatch.setenv("BROWSER", shlex.join([sys.executable, str(ROBOT), "google", "allow"]))
    run = hosts.run("login", *hosts.names, UNREACHABLE, "--json", *hosts.services.trust)
    assert run.code == 1
    assert results(run) == {"host-0": (True, None), "host-1": (False, "KT601"), UNREACHABLE: (False, "KT301")}
    failed = {event["target"]: (event["code"], event["exit_code"]) for event in run.named("failed")}
    assert failed == {"host-1": ("KT601", 8), UNREACHABLE: ("KT301", 5)}
    assert "1 of 3 are signed in" in run.stderr
    assert "error[KT301]: cannot connect to" in run.stderr
