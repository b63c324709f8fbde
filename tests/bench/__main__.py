"""One interleaved run of all measures, medians, and each as a ratio: the machine's noise meets both sides alike.

Prints, and asserts nothing: how fast this is depends on the machine, how it compares much less.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urljoin, urlsplit

import httpx

from bench import fleet, limits
from e2e.harness import Services, free_port
from lab.own_network import enter_own_network
from lab.remote import RemoteMachine
from lab.requirements import laboratory_problem
from lab.servers import Server
from lab.setup_script import STANDIN_PYTHON

ROUNDS = 15
CALLBACKS_A_ROUND = 5
PATIENCE_S = 30
USER = "bash"
ALIAS = "dev-box"
BIN = Path(sys.executable).parent

_SERVICES = ("KIRO_AUTH_PORTAL_URL", "KIROTUNNEL_AUTH_SERVICE_URL", "AWS_ENDPOINT_URL_SSO_OIDC")

# Stamps and hands the page's address over. A shell's own printf starts nothing more.
_BROWSER = """\
#!/bin/sh
printf '%s\\n' "$1" >{pipe}
"""
# A listener on the remote's loopback that answers as often as it is asked, unlike the CLI's.
_LISTENER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], file=sys.stderr, flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        while not (head := connection.recv(65536)).endswith(b"\\r\\n\\r\\n"):
            if not head:
                break
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\nConnection: close\\r\\n\\r\\nsigned in")
"""
# What of a login is the CLI's own start-up: whoami and --version side by side, as we ask them, then the login until it
# calls its opener. That of here notes the time and ends the CLI.
_STARTUP = """\
d=$(mktemp -d) && mkdir "$d/bin"
printf '#!/bin/sh\\ndate +%%s%%N >%s/opened\\nkill -KILL $PPID\\n' "$d" >"$d/bin/xdg-open" && chmod +x "$d/bin/xdg-open"
t0=$(date +%s%N)
.local/bin/kiro-cli --version >/dev/null & .local/bin/kiro-cli whoami >/dev/null 2>&1; wait
t1=$(date +%s%N)
PATH=$d/bin:$PATH .local/bin/kiro-cli login >/dev/null 2>&1 </dev/null
read -r t2 <"$d/opened"
rm -rf "$d"
echo "$((t1 - t0)) $((t2 - t1))"
"""


class Bench:
    """The laboratory, and the clock."""

    def __init__(self, remote: RemoteMachine, directory: Path) -> None:
        self.remote = remote
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._directory = directory
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Bench:
        server: Server = self.remote.sshd()
        self._config = str(self.remote.ssh_config(self._directory / "ssh_config", server.entry(ALIAS, USER)))
        self._services = Services.start(self.remote, "--hand-over", "redirect")
        self._stack.callback(self._services.stop)
        self.remote.install_cli(USER, env=self._services.cli_environment())
        self._page = self._directory / "page"
        os.mkfifo(self._page)
        self._page_fd = os.open(self._page, os.O_RDWR)
        self._browser = self._directory / "browser"
        self._browser.write_text(_BROWSER.format(pipe=shlex.quote(str(self._page))))
        self._browser.chmod(0o755)
        self._state = secrets.token_urlsafe(16)
        self._target = f"/oauth/callback?code={secrets.token_urlsafe(32)}&state={self._state}"
        there = self._listener()
        self._relay_port, self._plain_port, self._tty_port = free_port(), free_port(), free_port()
        relay = [sys.executable, "-m", "bench.relay_end", self._config, ALIAS]
        self._relay = self._started([*relay, str(there), str(self._relay_port), self._state])
        self._ssh = ["ssh", "-F", self._config, "-oExitOnForwardFailure=yes"]
        self._started([*self._ssh, "-N", "-L", f"{self._plain_port}:127.0.0.1:{there}", ALIAS])
        self._started([*self._ssh, "-tt", "-L", f"{self._tty_port}:127.0.0.1:{there}", ALIAS, "exec cat"])
        for port in (self._plain_port, self._tty_port):
            _wait_until(partial(_accepts, port), f"ssh does not forward port {port}")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        os.close(self._page_fd)

    def round(self) -> None:
        """Every measure once."""
        with self._clock("help"):
            _run([str(BIN / "kirotunnel"), "--help"])
        with self._clock("import click"):
            _run([sys.executable, "-c", "import click"])
        self._login()
        with self._clock("ssh true"):
            _run([*self._ssh, ALIAS, "true"])
        with self._clock("doctor"):
            self._doctor()
        self._cli_startup()
        for _ in range(CALLBACKS_A_ROUND):
            self._tell_relay()
            for name, port in (("relay", self._relay_port), ("-N -L", self._plain_port), ("-tt -L", self._tty_port)):
                began = time.perf_counter()
                arrived = _get(port, self._target)
                self.seconds[name].append(time.perf_counter() - began)
                self.seconds[f"{name} page"].append(arrived - began)

    # --- measures ----------------------------------------------------------------------------------------------------

    def _login(self) -> None:
        """One whole login: until the browser is opened, from the browser's answer to the free port, and to the end."""
        command = [str(BIN / "kirotunnel"), "login", ALIAS, "-F", self._config, "-q", *self._services.trust]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--browser", str(self._browser)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            if not select.select([self._page_fd], [], [], PATIENCE_S)[0]:
                raise RuntimeError("no browser was opened")
            opened = time.perf_counter()
            callback = self._approve(os.read(self._page_fd, 65536).decode().strip())
            port = urlsplit(callback).port or 0
            answered = _get(port, callback)
            free = _when_free(port)
            process.wait(PATIENCE_S)
            ended = time.perf_counter()
            assert process.stderr is not None
            if process.returncode != 0:
                raise RuntimeError(f"the login failed: {process.stderr.read()}")
        finally:
            process.kill()
            process.communicate()
        self.seconds["to browser"].append(opened - began)
        self.seconds["to free port"].append(free - answered)
        self.seconds["whole login"].append(ended - began)
        shutil.rmtree(self.remote.path(f"/home/{USER}/.local/share"), ignore_errors=True)  # signs out

    def _doctor(self) -> None:
        """The whole report; its sign-in services are those of the laboratory."""
        env = {**os.environ, **dict.fromkeys(_SERVICES, self._services.remote_base), "BROWSER": "true"}
        command = [str(BIN / "kirotunnel"), "doctor", ALIAS, "-F", self._config]
        subprocess.run(command, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def _approve(self, url: str) -> str:
        """The sign-in pages as far as the callback's address, which the last one redirects to."""
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            chosen = _found(r'id="login-google" href="([^"]+)"', client.get(url).text)
            url = urljoin(url, chosen.replace("&amp;", "&"))
            page = client.get(url).text
            request = _found(r'name="request" value="([^"]+)"', page)
            action = urljoin(url, _found(r'action="([^"]+)"', page))
            answer = client.post(action, data={"request": request, "decision": "allow"})
            return answer.headers["location"]

    def _cli_startup(self) -> None:
        done = self.remote.run(_STARTUP, USER)
        if not re.fullmatch(r"\d+ \d+\n", done.stdout):
            raise RuntimeError(f"the CLI's start-up cannot be measured: {done.stdout} {done.stderr}")
        whoami, login = (int(word) / 1e9 for word in done.stdout.split())
        self.seconds["cli whoami"].append(whoami)
        self.seconds["cli login"].append(login)

    @contextlib.contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - began)

    # --- the ends of the tunnels -------------------------------------------------------------------------------------

    def _listener(self) -> int:
        process = self.remote.namespace.spawn([STANDIN_PYTHON, "-c", _LISTENER])  # ends with its machine
        assert process.stderr is not None
        self._stack.callback(process.stderr.close)
        return int(process.stderr.readline())

    def _tell_relay(self) -> None:
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write("next\n")
        self._relay.stdin.flush()
        if self._relay.stdout.readline() != "ready\n":
            raise RuntimeError("the relay ended")

    def _started(self, command: Sequence[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate()


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _get(port: int, url: str) -> float:
    """One GET on a connection of its own, as a browser makes it. Returns when the last byte of the answer was here."""
    parts = urlsplit(url)
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/html\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(head.encode())
        answer, arrived = b"", 0.0
        while data := connection.recv(65536):
            arrived = time.perf_counter()
            answer += data
    if answer[9:12] not in {b"200", b"302"}:
        raise RuntimeError(f"the callback was answered {answer[:40]!r}")
    return arrived


def _when_free(port: int) -> float:
    """When both loopback addresses can be bound again. Never connects, which the relay would take for a browser."""
    end = time.perf_counter() + PATIENCE_S
    while (now := time.perf_counter()) < end:
        try:
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((address, port))
        except OSError:
            time.sleep(0.0002)
        else:
            return now
    raise RuntimeError(f"port {port} is never free again")


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _wait_until(condition: Callable[[], bool], problem: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(problem)
        time.sleep(0.02)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"a sign-in page has no {pattern}")
    return found[1]


# --- the report ------------------------------------------------------------------------------------------------------


def report(seconds: dict[str, list[float]], rounds: int) -> str:
    """The ratios, the medians beside them, and what is aimed at."""
    ms = {name: median(values) * 1000 for name, values in seconds.items()}
    startup = ms["cli whoami"] + ms["cli login"]
    ours = ms["to browser"] - startup
    lines = [
        f"Medians of {rounds} interleaved rounds, {CALLBACKS_A_ROUND} callbacks a round.",
        "",
        _ratio("kirotunnel --help / python -c 'import click'", ms["help"], ms["import click"], "1.5"),
        "",
        _ratio("command start to browser opened / ssh HOST true", ours, ms["ssh true"], "1.5"),
        f"Taken off are {startup:.0f} ms of {ms['to browser']:.0f}, the remote CLI's own start-up as measured there:",
        f"{ms['cli whoami']:.0f} ms for whoami beside --version, {ms['cli login']:.0f} ms from login to its opener.",
        "",
        _ratio("callback by the relay / by ssh -N -L", ms["relay"], ms["-N -L"], "0.2"),
        _ratio("callback by the relay / by ssh -tt -L", ms["relay"], ms["-tt -L"], "3"),
        "Connect to close, a fresh leg each time, on an SSH connection with a session open, as in a login.",
        "ssh -N has none, and its close waits for a delayed ACK. To the answer's last byte alone (relay, -N, -tt):",
        f"{ms['relay page']:.1f}, {ms['-N -L page']:.1f}, {ms['-tt -L page']:.1f} ms.",
        "",
        f"{ms['to free port']:5.1f} ms  browser answered to local port free  (aim < 50 ms)",
        f"{ms['to free port'] / ms['whole login']:8.2%} of the whole login's {ms['whole login']:.0f} ms.",
    ]
    return "\n".join(lines) + "\n"


def _ratio(what: str, one: float, other: float, aim: str) -> str:
    return f"{one / other:5.2f}  {what:48} {one:6.1f} ms / {other:6.1f} ms  (aim <= {aim})"


def main() -> int:
    several = sys.argv[1:2] == ["fleet"]
    at_most = sys.argv[1:2] == ["limits"]
    rounds = int(sys.argv[1]) if sys.argv[1:] and not several and not at_most else ROUNDS
    if problem := laboratory_problem():
        sys.stderr.write(f"bench: {problem}\n")
        return 1
    enter_own_network()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        # A home of its own, and nothing of the developer's environment.
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "PYTHONPATH") if key in os.environ}
        os.environ.clear()
        os.environ.update(kept, HOME=name)
        if several:
            fleet.main(directory, tuple(map(int, sys.argv[2:])) or fleet.SIZES)
            return 0
        if at_most:
            limits.main(directory, int(sys.argv[2]) if sys.argv[2:] else limits.LOGINS)
            return 0
        with RemoteMachine(directory) as remote, Bench(remote, directory) as bench:
            bench.round()  # compiles and caches what only a first time has to
            bench.seconds.clear()
            for _ in range(rounds):
                bench.round()
            sys.stdout.write(report(bench.seconds, rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
