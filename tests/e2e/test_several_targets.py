"""Several targets in one command: one local port, each answer at its own host, and no failure stops the others."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

import kirotunnel as library
from e2e.chromium import Openings
from e2e.harness import ROBOT, finish, kirotunnel, listening_here, read_event, start, wait_until
from e2e.hosts import UNREACHABLE, MakeHosts, of_target, results
from e2e.running_login import RunningLogin
from e2e.test_bad_input import CALLBACK_PORTS
from integration.sign_in_world import RobotBrowser
from kirotunnel.ssh.config import SSHOptions

SILENCE_S = 6.0
"""Seconds in which keepalives one second apart give a silent connection up."""


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


def test_a_target_that_waits_for_its_turn_has_its_whole_time_left(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(2)
    # The first page is never clicked, so that its target runs out of time; the second one is, by then.
    approver = shlex.join([sys.executable, str(ROBOT), "google", "allow"])
    browser = f'mkdir {tmp_path}/first 2>/dev/null || exec {approver} "$1"'
    run = hosts.run(
        "login", *hosts.names, "--json", "--tabs", "1", "--timeout", "20",
        "--browser", shlex.join(["sh", "-c", browser, "sh"]), *hosts.services.trust,
    )  # fmt: skip
    assert run.code == 1
    assert sorted(results(run).values()) == [(False, "KT701"), (True, None)]
    opened = [event["target"] for event in run.named("browser_opened")]
    assert [event["target"] for event in run.named("failed")] == opened[:1]
    assert run.names.index("failed") < run.names.index("browser_opened", run.names.index("browser_opened") + 1)


@pytest.mark.parametrize(
    ("how", "steered"), [("reset", False), ("silent", False), ("noticed late", False), ("noticed late", True)]
)
async def test_a_target_whose_connection_drops_while_it_waits_for_its_turn_is_reached_anew(
    make_hosts: MakeHosts, tmp_path: Path, how: str, *, steered: bool
) -> None:
    hosts = make_hosts(2)
    first_port, second_port = CALLBACK_PORTS[:2]
    openings = Openings(tmp_path / "opened")
    options = ["--json", "--tabs", "1", "-o", "ServerAliveInterval=1", *openings.browser, *hosts.services.trust]
    taken = socket.create_server(("127.0.0.1", first_port)) if steered else None
    login = RunningLogin(start(*hosts.arguments("login", *hosts.names, *options)), openings)
    try:
        first = await asyncio.to_thread(login.next_page)
        begun = hosts.names.index(login.wait_for("browser_opened")["target"])
        waiting = hosts.machines[1 - begun]
        assert wait_until(lambda: waiting.files("/tmp/kirotunnel.*"))  # it was looked around there
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True, timeout=30) as browser:
            if how == "reset":
                waiting.servers[0].drop_connections()
            else:
                waiting.cut()
            if how == "silent":
                await asyncio.sleep(SILENCE_S)
                waiting.restore()
            await approve(browser, first)
            if how == "noticed late":
                await asyncio.sleep(SILENCE_S)
                waiting.restore()
            second = await asyncio.to_thread(login.next_page)
            await approve(browser, second)
        run = await asyncio.to_thread(login.end)
    finally:
        login.kill()
        openings.close()
        if taken is not None:
            taken.close()
    assert run.code == 0, run.stdout + run.stderr
    hosts.assert_each_state_at_its_own_host()
    name = hosts.names[1 - begun]
    assert of_target(run, name).count("login_started") == 1
    assert {event["port"] for event in run.named("tunnel_opened")} == {second_port if steered else first_port}
    assert "reconnected" in of_target(run, name)
    assert "connection_lost" in of_target(run, name)
    assert of_target(run, hosts.names[begun]).count("connection_lost") == 0


async def test_the_page_that_a_tab_ends_on_names_its_host(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(2)
    openings = Openings(tmp_path / "opened")
    process = start(*hosts.arguments("login", *hosts.names, "--json", *openings.browser), *hosts.services.trust)
    pages = [await asyncio.to_thread(openings.next) for _ in hosts.names]
    named: dict[str, str] = {}
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True, timeout=30) as browser:
        for page in pages:
            last = await approve(browser, page)
            (named[page],) = [name for name in hosts.names if name in last]
    run = await asyncio.to_thread(finish, process)
    openings.close()
    assert run.code == 0
    for name, log in zip(hosts.names, hosts.logs(), strict=True):
        assert [named[event["url"]] for event in log if event["event"] == "opener"] == [name]


async def approve(browser: httpx.AsyncClient, page: str) -> str:
    """Click through the sign-in of Google; the text of the page that the tab ends on."""
    choice = re.search(r'id="login-google" href="([^"]+)"', (await browser.get(page)).text)
    assert choice is not None
    form = await browser.get(urljoin(page, choice[1].replace("&amp;", "&")))
    request = re.search(r'name="request" value="([^"]+)"', form.text)
    action = re.search(r'action="([^"]+)"', form.text)
    assert request is not None
    assert action is not None
    answer = await browser.post(urljoin(str(form.url), action[1]), data={"request": request[1], "decision": "allow"})
    link = re.search(r'id="continue" href="([^"]+)"', answer.text)
    return answer.text if link is None else (await browser.get(link[1].replace("&amp;", "&"))).text


# --- whoami, logout, doctor ------------------------------------------------------------------------------------------


def test_whoami_and_logout_of_several(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    assert hosts.login("host-0").code == 0
    run = hosts.run("whoami", *hosts.names, UNREACHABLE)
    assert run.code == 1
    assert run.stdout == "host-0   ada@example.com (Google)\n"
    assert "host-1   nobody is signed in" in run.stderr
    assert "error[KT301]" in run.stderr
    run = hosts.run("whoami", *hosts.names, "--json")
    assert (run.code, results(run)) == (1, {"host-0": (True, None), "host-1": (False, None)})
    assert [event["target"] for event in run.named("signed_in")] == ["host-0"]
    run = hosts.run("logout", *hosts.names, "--json")
    assert (run.code, results(run)) == (0, {"host-0": (True, None), "host-1": (True, None)})
    assert [(event["target"], event["revoked"]) for event in run.named("signed_out")] == [("host-0", True)]
    assert hosts.run("whoami", "host-0").code == 1


def test_doctor_of_several_reports_each(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    run = hosts.run("doctor", *hosts.names, UNREACHABLE, "--json", timeout=120)
    assert run.code == 1
    assert results(run)[UNREACHABLE] == (False, None)
    assert [event["code"] for event in run.named("finding") if event["target"] == UNREACHABLE] == ["KT301"]
    run = hosts.run("doctor", *hosts.names, UNREACHABLE, timeout=120)
    for name in ("This machine", *hosts.names, UNREACHABLE):
        assert f"{name}\n" in run.stdout


# --- which targets ---------------------------------------------------------------------------------------------------


def test_a_pattern_stands_for_the_aliases_that_match_it_also_of_an_included_file(
    make_hosts: MakeHosts, tmp_path: Path
) -> None:
    hosts = make_hosts(2)
    outer = tmp_path / "outer"
    outer.write_text(f"Include {hosts.config}\nHost *\n  ServerAliveInterval 30\n")
    run = kirotunnel("whoami", "host-*", "-F", str(outer), "--json")
    assert (run.code, results(run)) == (1, dict.fromkeys(hosts.names, (False, None)))


def test_a_pattern_without_a_match_is_named_and_nothing_is_connected(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(1)
    for command in ("login", "whoami", "logout", "doctor"):
        run = hosts.run(command, "host-0", "prod-*", "--json")
        assert (run.code, run.failure, run.named("connecting")) == (4, "KT221", [])
        assert "no host of the SSH config matches 'prod-*'" in run.stderr


def test_targets_from_a_file_and_from_a_pipe(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(2)
    file = tmp_path / "targets"
    file.write_text("# ours\nhost-0   # the first\n\nhost-1\nhost-0\n")
    run = hosts.run("whoami", "--targets-file", str(file), "--json")
    assert list(results(run)) == hosts.names
    assert "named more than once, and counted once: host-0" in run.stderr
    piped = subprocess.run(
        [sys.executable, "-m", "kirotunnel", *hosts.arguments("whoami", "--targets-file", "-", "--json")],
        input=file.read_text(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    last = json.loads(piped.stdout.splitlines()[-1])
    assert [entry["target"] for entry in last["targets"]] == hosts.names


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        pytest.param(b"", "KT220", "lists no target", id="empty"),
        pytest.param(b"# nothing\n", "KT220", "lists no target", id="only a comment"),
        pytest.param(b"web\xff\n", "KT220", "line 1 is no text", id="no text"),
        pytest.param(b"web1\nweb 2\n", "KT201", "line 2: 'web 2' is no target", id="no target"),
        pytest.param(b"web1\n-oProxyCommand=x\n", "KT201", "line 2", id="an option"),
        pytest.param(None, "KT220", "cannot be read: no such file", id="missing"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, data: bytes | None, code: str, words: str) -> None:
    file = tmp_path / "targets"
    if data is not None:
        file.write_bytes(data)
    run = kirotunnel("login", "--targets-file", str(file), "--json")
    assert (run.code, run.failure) == (4, code)
    assert words in run.stderr


def test_the_same_target_twice_is_one(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(1)
    run = hosts.run("whoami", "host-0", "host-0", "--json")
    assert (run.code, results(run)) == (1, {"host-0": (False, None)})


def test_to_paste_is_for_one_target(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    run = hosts.run("login", *hosts.names, "--paste", "--json")
    assert (run.code, run.named("connecting")) == (2, [])
    assert "--paste is for one TARGET" in run.stderr


def test_the_plan_of_each(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    run = hosts.run("login", *hosts.names, "--dry-run")
    assert run.code == 0
    assert [line.split()[1] for line in run.stdout.splitlines() if line.startswith("target")] == hosts.names


def test_what_is_expected_of_each_target_is_its_own_setting(make_hosts: MakeHosts, scrubbed_environment: Path) -> None:
    hosts = make_hosts(2)
    settings(scrubbed_environment, '[defaults]\nexpect = "ada@example.com"\n[target."host-1"]\nexpect = "boss"\n')
    run = hosts.login(*hosts.names)
    assert (run.code, results(run)) == (1, {"host-0": (True, None), "host-1": (False, "KT410")})


# --- retry -----------------------------------------------------------------------------------------------------------


def test_only_what_failed_is_tried_again(
    make_hosts: MakeHosts, scrubbed_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = make_hosts(2)
    denier = shlex.join([sys.executable, str(ROBOT), "google", "deny"])
    monkeypatch.setenv("BROWSER", denier)
    run = hosts.run("login", "host-0", UNREACHABLE, *hosts.services.trust)
    assert run.code == 1
    file = state_file(scrubbed_environment)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"v": 1, "failed": ["host-0", UNREACHABLE]}
    run = hosts.login("--retry-failed", "host-0", "host-1")  # of these, the first failed
    assert (run.code, results(run)) == (0, {"host-0": (True, None)})
    assert json.loads(file.read_text())["failed"] == [UNREACHABLE]
    run = hosts.login("--retry-failed")
    assert (run.code, results(run)) == (5, {UNREACHABLE: (False, "KT301")})
    assert json.loads(file.read_text())["failed"] == [UNREACHABLE]
    assert hosts.login(*hosts.names).code == 0
    assert not file.exists()
    run = hosts.login("--retry-failed")
    assert (run.code, run.names) == (0, ["result"])
    assert "nothing to retry" in run.stderr


def test_a_state_file_that_makes_no_sense_is_no_hindrance(make_hosts: MakeHosts, scrubbed_environment: Path) -> None:
    hosts = make_hosts(1)
    file = state_file(scrubbed_environment)
    file.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"v": 9, "failed": ["x"]}', '{"v": 1, "failed": "x"}'):
        file.write_text(text)
        assert hosts.login("--retry-failed").code == 0


# --- sudden ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_cleanly(
    make_hosts: MakeHosts, scrubbed_environment: Path, number: signal.Signals, code: int
) -> None:
    hosts = make_hosts(3)
    process = start(
        *hosts.arguments("login", *hosts.names, "--json", "--no-browser", "--tabs", "2"), *hosts.services.trust
    )
    opened: list[str] = []
    while len(opened) < 2:
        opened.append(read_event(process, "browser_opened")["target"])
    process.send_signal(number)
    run = finish(process, 30)
    assert run.code == code
    assert all(f"failed {name}  interrupted" in run.stderr for name in hosts.names)
    assert run.events[-1]["event"] == "result"
    assert results(run) == dict.fromkeys(hosts.names, (False, None))
    assert not listening_here(3128)
    assert json.loads(state_file(scrubbed_environment).read_text())["failed"] == hosts.names


# --- the library -----------------------------------------------------------------------------------------------------


async def test_the_library_signs_several_in(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(2)
    events: list[tuple[str, str]] = []
    ended = await library.login_all(
        [*hosts.names, "host-0", UNREACHABLE],
        ssh=SSHOptions(config_file=str(hosts.config)),
        trust_url_hosts=hosts.services.trust[1::2],
        browser=RobotBrowser("google"),
        on_event=lambda target, event: events.append((target, event.name())),
    )
    assert list(ended) == [*hosts.names, UNREACHABLE]
    for name in hosts.names:
        result = ended[name]
        assert isinstance(result, library.LoginResult)
        assert (result.target, result.account.email) == (name, "ada@example.com")
        assert (name, "signed_in") in events
    failed = ended[UNREACHABLE]
    assert isinstance(failed, library.KirotunnelError)
    assert failed.code == "KT301"
    hosts.assert_each_state_at_its_own_host()
