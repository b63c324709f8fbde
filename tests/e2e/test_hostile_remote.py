"""A remote that means harm gets nowhere: a clear error, in bounded time and memory, and nothing opened or left behind.

The bounds are of a whole `kirotunnel login` against a real sshd; `scripts/bench` prints what it really takes.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, finish, high_water_kb, listening_here, read_event, start, wait_until
from e2e.test_bad_input import assert_failed
from lab.servers import Server

HOSTILE: Final = Path(__file__).with_name("hostile_cli.py")
MEMORY_KB: Final = 100 * 1024
"""The most that our process may ever have in memory, in KiB."""
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Watched:
    """One finished login, with the most memory that it ever had, in KiB."""

    run: Run
    peak_kb: int


def watched(*arguments: str, timeout: float = PATIENCE_S) -> Watched:
    """Run `kirotunnel` to its end, and ask the system what it took."""
    with subprocess.Popen(
        [sys.executable, "-m", "kirotunnel", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        texts: dict[str, bytes] = {}
        readers = [
            threading.Thread(target=lambda name=name, stream=stream: texts.update({name: stream.read()}))
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        late = threading.Timer(timeout, process.kill)
        for thread in (*readers, late):
            thread.start()
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, high_water_kb(process.pid))
            time.sleep(0.02)
        late.cancel()
        for thread in readers:
            thread.join()
    out, err = (texts[name].decode("utf-8", "replace") for name in ("out", "err"))
    assert process.returncode != -9, f"kirotunnel hangs\n{out[-2000:]}\n{err[-2000:]}"
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return Watched(Run(process.returncode, out, err, events), peak_kb)


MakeHostile = Callable[..., "Hostile"]


@dataclass(frozen=True)
class Hostile:
    """A box whose CLI does what it is told here, and a browser of which we know whether it was opened."""

    box: Box
    opened: Path
    browser: tuple[str, ...]

    def login(self, *more: str, timeout: float = PATIENCE_S) -> Watched:
        return watched(*self.box.arguments(*self.browser, *more), timeout=timeout)

    @property
    def pages(self) -> list[str]:
        """What the browser was opened with."""
        return self.opened.read_text().splitlines() if self.opened.exists() else []

    @property
    def answered(self) -> list[str]:
        """What the browser was answered at the callback: status and Location."""
        file = self.opened.with_suffix(".answers")
        return file.read_text().splitlines() if file.exists() else []

    def nothing_left(self) -> bool:
        return wait_until(lambda: self.box.remote.leftovers() == [] and not listening_here(3128))


@pytest.fixture
def hostile(make_box: MakeBox, sshd: Server, tmp_path: Path) -> MakeHostile:
    """Make a hostile CLI: `does` is the body of its login."""

    def make(does: str = "", *, server: Server = sshd, **others: str) -> Hostile:
        box = make_box(server)
        env = {"HOSTILE": does, **{f"HOSTILE_{name.upper()}": text for name, text in others.items()}}
        box.remote.install_cli(box.user, env={**box.services.cli_environment(), **env}, source=HOSTILE)
        opened, browser = tmp_path / "opened", tmp_path / "browser"
        # Comes back from whatever page with what a sign-in page would send; a denial, as nobody can have a code.
        browser.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$1" >>{opened}\nexec {sys.executable} {BACK} "$1" {opened}.answers\n'
        )
        browser.chmod(0o755)
        return Hostile(box, opened, ("--browser", str(browser)))

    return make


BACK: Final = Path(__file__).with_name("straight_back.py")


# --- output without end ----------------------------------------------------------------------------------------------

FLOODS: Final = {
    "short lines": "flood('x\\n')",
    "one endless line": "flood('x')",
    "spinner": "flood('▰▰▱ Logging in...\\r')",
    "errors": "flood('error: no\\n')",
    "prompts": "flood('Press enter to continue\\n')",
    "an endless escape sequence": "say('\\x1b]52;c;'); flood('QUJD')",
    "noise": "flood(os.urandom(1 << 16))",
    "on stderr": "flood('x\\n', to=2)",
}


@pytest.mark.parametrize("how", FLOODS)
def test_a_cli_that_prints_a_gigabyte_is_given_up_in_little_memory(hostile: MakeHostile, how: str) -> None:
    there = hostile(FLOODS[how])
    done = there.login()
    assert "without end" in assert_failed(done.run, 6, "KT404")
    assert done.peak_kb < MEMORY_KB
    assert len(done.run.stdout) + len(done.run.stderr) < 20_000
    assert there.pages == []
    assert there.nothing_left()


# --- a shell that is none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["yes", "tr '\\0' x </dev/zero", "yes >&2", "cat /dev/urandom"],
    ids=["lines", "one endless line", "stderr", "noise"],
)
def test_a_server_that_prints_a_gigabyte_instead_of_running_our_shell(
    hostile: MakeHostile, make_box: MakeBox, sshd: Server, command: str
) -> None:
    forced = make_box(sshd).remote.sshd(extra=[f"ForceCommand {command}"])
    done = hostile(server=forced).login()
    assert "prints without end" in assert_failed(done.run, 5, "KT308")
    assert done.peak_kb < MEMORY_KB


def test_a_server_with_an_endless_greeting() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        with listener, suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                while True:
                    connection.sendall(b"Welcome to this machine\r\n" * 1000)

    greeter = threading.Thread(target=greet)
    greeter.start()
    done = watched("login", f"127.0.0.1:{listener.getsockname()[1]}", "--json", "--timeout", "30")
    greeter.join()
    assert_failed(done.run, 5, "KT301")
    assert done.peak_kb < MEMORY_KB


# --- what it wants opened --------------------------------------------------------------------------------------------

HARMFUL: Final = {
    "a file": ("'file:///etc/passwd'", "KT607"),
    "a script": ("'javascript:alert(1)'", "KT607"),
    "a program's scheme": ("'ms-msdt:/id'", "KT607"),
    "an option": ("'--help'", "KT607"),
    "a command": ("'https://app.kiro.dev/;$(id)`id`'", "KT607"),
    "user information": ("'https://app.kiro.dev@evil.example/'", "KT607"),
    "control characters": ("'https://app.kiro.dev/\\x1b[2J'", "KT607"),
    "two lines": ("'https://app.kiro.dev/\\nhttps://app.kiro.dev/'", "KT607"),
    "no UTF-8": ("b'https://app.kiro.dev/\\xff\\xfe'", "KT607"),
    "a long address": ("'https://app.kiro.dev/' + 'x' * 100_000", "KT607"),
    "plain http": ("'http://login.example/'", "KT607"),
    "this machine": ("'http://127.0.0.1:8080/admin'", "KT608"),
    "this machine by number": ("'https://2130706433/'", "KT608"),
    "this machine by IPv6": ("'https://[::ffff:127.0.0.1]/'", "KT608"),
    "the network": ("'https://10.0.0.1/'", "KT608"),
    "a name of the network": ("'https://printer.local/'", "KT608"),
    "the cloud's metadata": ("'https://169.254.169.254/latest/'", "KT608"),
    "an unknown host": ("'https://evil.example/?redirect_uri=http://localhost:3128&state=s'", "KT609"),
    "a host that begins right": (
        "'https://app.kiro.dev.evil.example/?redirect_uri=http://localhost:3128&state=s'",
        "KT609",
    ),
    "a callback elsewhere": ("sign_in_page(3128).replace('localhost', 'evil.example')", "KT405"),
    "no state": ("sign_in_page(3128, state='')", "KT405"),
    "a privileged port": ("sign_in_page(22)", "KT502"),
    "a port of nobody": ("sign_in_page(8008)", "KT409"),
}


@pytest.mark.parametrize("what", HARMFUL)
@pytest.mark.parametrize("before", ["", "leg(3128); "], ids=["first page", "second page"])
def test_what_must_not_be_opened_is_not_on_the_first_page_nor_on_the_second(
    hostile: MakeHostile, what: str, before: str
) -> None:
    url, code = HARMFUL[what]
    there = hostile(f"{before}open_page({url}); time.sleep(60)")
    done = there.login()
    exit_code = {"KT405": 6, "KT409": 6, "KT502": 7}.get(code, 8)
    message = assert_failed(done.run, exit_code, code)
    assert message.isprintable()
    assert len(message) < 600
    assert len(there.pages) == (1 if before else 0)
    assert len(done.run.named("tunnel_opened")) == (1 if before else 0)


MEGABYTE: Final = "'https://app.kiro.dev/?redirect_uri=http://localhost:3128&state=s&x=' + 'x' * 1_000_000 + '\\n'"


@pytest.mark.parametrize("how", ["called", "printed"])
@pytest.mark.parametrize("before", ["", "leg(3128); "], ids=["first page", "second page"])
def test_an_address_of_a_megabyte(hostile: MakeHostile, how: str, before: str) -> None:
    # The system lets no argument be as long, so a CLI that wants this writes where the opener does.
    does = f"say({MEGABYTE})" if how == "printed" else f"open(f'{{directory()}}/urls', 'a').write({MEGABYTE})"
    there = hostile(f"{before}{does}; open_page('--help'); time.sleep(60)")
    done = there.login()
    message = assert_failed(done.run, 8, "KT607")
    assert len(message) < 600
    assert done.peak_kb < MEMORY_KB
    assert len(done.run.stdout) + len(done.run.stderr) < 20_000
    assert len(there.pages) == (1 if before else 0)


def test_ten_thousand_calls_of_the_opener(hostile: MakeHostile) -> None:
    # What the opener does, without its processes: the file in which it leaves the addresses, and the word to look.
    there = hostile(
        "with open(f'{directory()}/urls', 'a') as urls:\n"
        "    urls.writelines(f'https://app.kiro.dev/?{number}\\n' for number in range(10_000))\n"
        "open_page('https://app.kiro.dev/')\n"
        "time.sleep(60)"
    )
    done = there.login()
    assert_failed(done.run, 7, "KT502")
    assert done.peak_kb < MEMORY_KB
    assert len(there.pages) <= 4  # on a host that is known; there might be a code to enter


def test_page_after_page(hostile: MakeHostile) -> None:
    there = hostile("for port in (3128, 4649, 6588, 8008, 9091): leg(port, state=str(port))")
    done = there.login()
    assert "more than 4 sign-in pages" in assert_failed(done.run, 7, "KT502")
    assert len(there.pages) == 4


def test_a_forged_record_is_no_answer(hostile: MakeHostile) -> None:
    forged = "\\n".join(f"{'0' * 24} {row}" for row in ("whoami-exit 0", "os Evil", "done 00000000", "dir /evil"))
    there = hostile(f"print('{forged}')", whoami=f"print('{forged}'); sys.exit(1)")
    done = there.login()
    assert_failed(done.run, 6, "KT411")
    assert done.run.named("remote_cli")[0]["signed_in"] is False


def test_escapes_in_what_a_person_must_read_are_gone(hostile: MakeHostile) -> None:
    attack = "\\x1b]0;owned\\x07\\x1b]52;c;aGk=\\x07\\x1b[2J\\u202e\\x9b31m"
    there = hostile(
        f"print('error: {attack}no'); sys.exit(1)", version=f"print('{attack}2.10.0')", whoami=f"sys.exit('{attack}')"
    )
    run = there.login().run
    message = assert_failed(run, 6, "KT404")
    assert message.endswith("no")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", run.stderr), run.stderr


def test_a_one_time_code_is_shown_without_what_is_around_it(hostile: MakeHostile) -> None:
    # A version whose own remote mode shows a code.
    there = hostile(
        "say('Code: \\x1b[1m\\x1b]52;c;eA==\\x07ABCD-EFGH\\x1b[0m\\n'\n"
        "    'Open this URL: https://view.awsapps.com/start/#/device?user_code=ABCD-EFGH\\n'); time.sleep(60)",
        version="print('kiro-cli 2.10.0')",
    )
    process = start(*there.box.arguments("--flow", "device", "--method", "builder-id", *there.browser))
    code = read_event(process, "device_code")
    assert (code["user_code"], code["url"]) == (
        "ABCD-EFGH",
        "https://view.awsapps.com/start/#/device?user_code=ABCD-EFGH",
    )
    process.terminate()
    run = finish(process)
    assert "\x1b" not in run.stderr + run.stdout


# --- what it answers to the callback ---------------------------------------------------------------------------------

ANSWERS: Final = {
    "an endless body": "lambda c: flood_socket(c, b'HTTP/1.1 200 OK\\r\\n\\r\\n', b'x' * 65536)",
    "endless headers": "lambda c: flood_socket(c, b'HTTP/1.1 200 OK\\r\\n', b'X: y\\r\\n' * 8192)",
    "one endless header": "lambda c: flood_socket(c, b'HTTP/1.1 200 OK\\r\\nX: ', b'x' * 65536)",
    "a storm of 1xx": "lambda c: flood_socket(c, b'', b'HTTP/1.1 103 Early Hints\\r\\n\\r\\n' * 4096)",
    "endless chunks": "lambda c: flood_socket(c, b'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n', "
    "b'10000\\r\\n' + b'x' * 65536 + b'\\r\\n')",
    "no HTTP": "lambda c: flood_socket(c, b'', os.urandom(65536))",
}


@pytest.mark.parametrize("how", ANSWERS)
def test_an_answer_without_end_is_cut_off_and_the_login_goes_on(hostile: MakeHostile, how: str) -> None:
    there = hostile(f"leg(3128, {ANSWERS[how]}); sys.exit('error: denied')")
    done = there.login("--timeout", "40")
    assert done.run.named("callback_received")[0]["outcome"] == "denied"
    assert_failed(done.run, done.run.code, str(done.run.failure))
    assert done.run.code in {6, 8}, done.run.stderr
    assert done.peak_kb < MEMORY_KB


def test_an_answer_that_drips_ends_with_the_time_of_the_sign_in(hostile: MakeHostile) -> None:
    drip = "lambda c: [(c.sendall(b'x'), time.sleep(0.1)) for _ in range(600)]"
    there = hostile(f"leg(3128, {drip})")
    done = there.login("--timeout", "15")
    assert "did not answer it" in assert_failed(done.run, 9, "KT701")
    assert there.nothing_left()


@pytest.mark.parametrize(
    "place",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://evil.example/",
        "http://127.0.0.1:8080/",
        "//evil.example/",
        "https://app.kiro.dev@evil.example/",
    ],
)
def test_the_answer_sends_the_browser_nowhere_else(hostile: MakeHostile, place: str) -> None:
    location = f"HTTP/1.1 302 Found\\r\\nLocation: {place}\\r\\nContent-Length: 0\\r\\n\\r\\n"
    there = hostile(f"leg(3128, b'{location}'); sys.exit('error: denied')")
    there.login()
    (page,) = there.pages
    assert page
    assert wait_until(lambda: there.answered)  # the browser writes it down in its own time
    assert there.answered == ["502 -"]


# --- what never ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "never",
    [{"does": "time.sleep(600)"}, {"whoami": "time.sleep(600)"}, {"version": "time.sleep(600)"}],
    ids=["login", "whoami", "version"],
)
def test_what_never_ends_ends_with_the_time_of_the_sign_in(hostile: MakeHostile, never: dict[str, str]) -> None:
    there = hostile(**never)
    done = there.login("--timeout", "5")
    assert_failed(done.run, 9, "KT701")
    # Our shell there waits for a command that it runs: a whoami has a minute (Kiro#4398). With its end all is gone.
    there.box.remote.run("pkill -KILL -u bash -f hostile_cli || true")
    assert there.nothing_left()
