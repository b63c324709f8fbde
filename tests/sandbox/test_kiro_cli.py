"""The stand-in for kiro-cli, run as a program: does it do what the real one was seen to do?"""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pexpect
import pytest

from kirotunnel.sandbox.kiro_cli import Edition, Loopback, Menu

SOURCE = Path(__file__).parents[2] / "src" / "kirotunnel" / "sandbox" / "kiro_cli.py"
PATIENCE = 30.0
"""Seconds after which whatever a test waits for will not come."""
FIRST = 3128
START_URL = "https://example.awsapps.com/start"
BUILDER_ID = "https://view.awsapps.com/start"

# The services' threads run while pexpect forks. The child calls exec at once.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


# --- What is around the stand-in --------------------------------------------------------------------------------------


class Services:
    """Kiro's auth service, AWS's and an identity provider, all at one address."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[dict[str, str]], tuple[int, dict[str, object]]]] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, code: int, **fields: object) -> None:
        """Answer these requests like this from now on."""
        self.answers[path] = lambda _: (code, fields)

    def asked(self, path: str) -> dict[str, Any]:
        """The last body that was sent there."""
        return next(body for asked, body in reversed(self.requests) if asked == path)

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def _reply(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.requests.append((path, body))
        if path in self.answers:
            return self.answers[path](body)
        tokens = {"accessToken": "access", "refreshToken": "refresh", "expiresIn": 3600, "email": "ada@example.com"}
        device = {"deviceCode": "device", "userCode": "ABCD-EFGH", "interval": 0.01}
        aws, kiro = "https://device.example/?user_code=ABCD-EFGH", "https://kiro.example/device?user_code=ABCD-EFGH"
        answers: dict[str, dict[str, object]] = {
            "/oauth/token": {**tokens, "profileArn": "arn:aws:codewhisperer:us-east-1:0:profile/P"},
            "/refreshToken": {**tokens, "accessToken": "renewed"},
            "/client/register": {"clientId": "client", "clientSecret": "s", "clientSecretExpiresAt": 9_999_999_999},
            "/device_authorization": {**device, "verificationUriComplete": aws},
            "/oauth/device/authorization": {**device, "verificationUriComplete": kiro},
            "/oauth/device/poll": {**tokens, "status": "authorized"},
            "/token": {**tokens},
            "/idp/.well-known/openid-configuration": {
                "authorization_endpoint": f"{self.url}/idp/authorize",
                "token_endpoint": f"{self.url}/idp/token",
            },
            "/idp/token": {"access_token": "access", "refresh_token": "refresh", "expires_in": "3600"},
        }
        return 200, answers.get(path, {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                body = json.loads(text) if text.startswith("{") else dict(parse_qsl(text))
                status, fields = services._reply(self.path, body)
                data = json.dumps(fields).encode()
                self.send_response(status)
                if "error" in fields:
                    self.send_header("x-amzn-ErrorType", str(fields["error"]))
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class Events:
    """The stand-in's log, as a stream: a FIFO, so that each event can be waited for."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # For reading and writing: the FIFO has no end while this is open.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._buffer = b""
        self.seen: list[dict[str, Any]] = []

    def wait_for(self, event: str, **fields: object) -> dict[str, Any]:
        """The next event of that name with these fields."""
        deadline = time.monotonic() + PATIENCE
        while True:
            line = self._line(deadline, event)
            found: dict[str, Any] = json.loads(line)
            self.seen.append(found)
            if found["event"] == event and fields.items() <= found.items():
                return found

    def close(self) -> None:
        os.close(self._fd)

    def _line(self, deadline: float, event: str) -> bytes:
        while b"\n" not in self._buffer:
            if not select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]:
                pytest.fail(f"no event {event!r} came after {self.seen}")
            self._buffer += os.read(self._fd, 65536)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


class Login:
    """A running command."""

    def __init__(self, machine: Machine, process: subprocess.Popen[bytes]) -> None:
        self.machine = machine
        self.process = process
        self.events = machine.events

    def opening(self, leg: str = "portal") -> Opened:
        """What the opener is called with; it may not have returned yet."""
        return Opened(self.machine, str(self.events.wait_for("opener", leg=leg)["url"]))

    def opened(self, leg: str = "portal") -> Opened:
        """What the opener was called with, once it has returned."""
        opened = self.opening(leg)
        self.events.wait_for("opener_done", leg=leg)
        return opened

    def end(self) -> Ended:
        """Wait for the end."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ended(self.process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def take_portal(self, kind: str) -> Opened:
        """Let the browser go through the portal; what it had opened."""
        opened = self.opened()
        issuer = quote(f"{self.machine.services.url}/idp", safe="")
        target = {
            "google": "/oauth/callback?login_option=google&code=CODE",
            "github": "/oauth/callback?login_option=github&code=CODE",
            "builder-id": f"/signin/callback?login_option=builderid&issuer_url={BUILDER_ID}&idc_region=us-east-1",
            "idc": f"/signin/callback?login_option=awsidc&issuer_url={START_URL}&idc_region=eu-west-1",
            "external-idp": f"/signin/callback?login_option=external_idp&client_id=c&scopes=openid&issuer_url={issuer}",
        }[kind]
        assert "auth_status=success" in opened.get(f"{target}&state={opened.state}").location
        return opened

    def take_second_leg(self, leg: str) -> Opened:
        """Let the browser go through the identity provider's page."""
        opened = self.opened(leg)
        opened.get(f"/oauth/callback?code=CODE2&state={opened.state}")
        return opened

    def sign_in(self, kind: str) -> Ended:
        """All of it."""
        self.take_portal(kind)
        if kind not in {"google", "github"}:
            self.take_second_leg("external-idp" if kind == "external-idp" else "sso")
        return self.end()


class Opened:
    """A URL that the browser got, and the listener that it leads back to."""

    def __init__(self, machine: Machine, url: str) -> None:
        self._machine = machine
        self.url = url
        self.query = dict(parse_qsl(urlsplit(url).query))
        self.redirect_uri = self.query["redirect_uri"]
        self.state = self.query["state"]
        self.port = urlsplit(self.redirect_uri).port or 0

    def connect(self) -> socket.socket:
        """A connection to the listener; it says nothing yet."""
        real = self._machine.real_port(self.port)
        return self._machine.resources.enter_context(socket.create_connection(("127.0.0.1", real), timeout=PATIENCE))

    def get(self, target: str) -> Response:
        """Make a request over a connection of its own."""
        with self.connect() as connection:
            return ask(connection, target)


class Response:
    """An HTTP answer; without a status where none came."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self.location = next((line[10:] for line in lines if line.startswith("location: ")), "")


def ask(connection: socket.socket, target: str, method: str = "GET") -> Response:
    """Make a request over that connection, and read the answer."""
    connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return Response(data)
        data += piece
    length = int(Response(data).headers["content-length"])
    while len(data.partition(b"\r\n\r\n")[2]) < length:
        data += connection.recv(65536)
    return Response(data)


class Ended:
    """How a command ended, and what it printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


class Machine:
    """A home, an opener, a loopback of its own, and the services."""

    def __init__(self, directory: Path, services: Services, resources: contextlib.ExitStack) -> None:
        self.directory = directory
        self.services = services
        self.resources = resources
        self.loopback = directory / "loopback"
        self.bin = directory / "bin"
        self.loopback.mkdir()
        self.bin.mkdir()
        self.set_opener("exit 0")
        self.events = Events(directory / "log")
        resources.callback(self.events.close)
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(directory),
            "TERM": "xterm",
            "KIRO_STANDIN_LOG": str(directory / "log"),
            "KIRO_STANDIN_LOOPBACK": str(self.loopback),
            "KIRO_STANDIN_OSRELEASE": os.devnull,
            "KIROTUNNEL_AUTH_SERVICE_URL": services.url,
            "AWS_ENDPOINT_URL_SSO_OIDC": services.url,
        }
        self.state = directory / ".local" / "share" / "kiro-cli" / "standin.json"

    def set_opener(self, script: str, name: str = "xdg-open") -> None:
        """Replace the opener."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def hold_opener(self) -> Callable[[], object]:
        """Let the opener's pipes stay open until what this gives is called: until then no time runs."""
        door = self.directory / "door"
        os.mkfifo(door)
        # Open at both ends, so that nobody waits for somebody to open it; closing it lets the reader go in any case.
        handle = os.open(door, os.O_RDWR)
        self.resources.callback(os.close, handle)
        self.set_opener(f"(read line <{door}) &\nexit 0")
        return lambda: os.write(handle, b"\n")

    def start(self, *arguments: str, **environment: str) -> Login:
        """Start a command without a terminal."""
        process = subprocess.Popen(
            [sys.executable, "-I", SOURCE, *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
        )
        self.resources.callback(_end, process)
        return Login(self, process)

    def run(self, *arguments: str, **environment: str) -> Ended:
        """Run a command to its end."""
        return self.start(*arguments, **environment).end()

    def whoami(self, **environment: str) -> dict[str, Any]:
        """What whoami says, without what follows it."""
        found: dict[str, Any] = json.loads(self.run("whoami", "-f", "json", **environment).out.splitlines()[0])
        return found

    def at_terminal(self, *arguments: str, **environment: str) -> pexpect.spawn[str]:
        """Start a command at a terminal."""
        child = pexpect.spawn(
            sys.executable,
            ["-I", str(SOURCE), *arguments],
            env={**self.environment, **environment},
            cwd=str(self.directory),
            timeout=PATIENCE,
            encoding="utf-8",
        )
        # It waits 50 ms before each send otherwise.
        child.delaybeforesend = None
        self.resources.callback(child.close, force=True)
        return child

    def real_port(self, port: int) -> int:
        """Where a port of the loopback is in truth."""
        return int((self.loopback / f"127.0.0.1:{port}").read_text().split()[0])

    def ports(self) -> list[int]:
        """What is listened on."""
        return sorted(int(path.name.partition(":")[2]) for path in self.loopback.iterdir())

    def occupy(self, *ports: int) -> None:
        """Let somebody else listen there."""
        for port in ports:
            (self.loopback / f"127.0.0.1:{port}").write_text(f"1 {os.getpid()}\n")

    def store(self, **tokens: object) -> None:
        """Write the state of a machine that somebody has signed in on."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.state.write_text(json.dumps({NAMES[name]: value for name, value in tokens.items()}))


NAMES = {
    "sso": "kirocli:odic:token",
    "registration": "kirocli:odic:device-registration",
    "social": "kirocli:social:token",
    "external": "kirocli:external-idp:token",
    "profile": "api.codewhisperer.profile",
}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(PATIENCE)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    # It looks every 0.5 s by default whether it has been shut down.
    thread = threading.Thread(target=services.server.serve_forever, args=(0.01,))
    thread.start()
    yield services
    services.server.shutdown()
    thread.join(PATIENCE)
    services.server.server_close()


@pytest.fixture
def machine(tmp_path: Path, services: Services) -> Iterator[Machine]:
    with contextlib.ExitStack() as resources:
        yield Machine(tmp_path, services, resources)


def social_token(**changes: object) -> dict[str, object]:
    return {
        "access_token": "access",
        "expires_at": 9_999_999_999,
        "refresh_token": "refresh",
        "provider": "google",
        "profile_arn": "arn",
        "email": "ada@example.com",
        **changes,
    }


def sso_token(**changes: object) -> dict[str, object]:
    return {
        "access_token": "access",
        "expires_at": 9_999_999_999,
        "refresh_token": "refresh",
        "region": "eu-west-1",
        "start_url": START_URL,
        "oauth_flow": "DeviceCode",
        "email": "katherine@example.com",
        **changes,
    }


def external_token(**changes: object) -> dict[str, object]:
    return {"access_token": "access", "expires_at": 9_999_999_999, "refresh_token": None, **changes}


# --- Signing in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("google", {"accountType": "SocialGoogle", "email": "ada@example.com"}),
        ("github", {"accountType": "SocialGitHub", "email": "ada@example.com"}),
        (
            "builder-id",
            {"accountType": "BuilderId", "email": "ada@example.com", "region": "us-east-1", "startUrl": BUILDER_ID},
        ),
        (
            "idc",
            {
                "accountType": "IamIdentityCenter",
                "email": "ada@example.com",
                "region": "eu-west-1",
                "startUrl": START_URL,
            },
        ),
        ("external-idp", {"accountType": "ExternalIdP", "email": None}),
    ],
)
def test_each_kind_of_login_ends_signed_in(machine: Machine, kind: str, expected: dict[str, object]) -> None:
    ended = machine.start("login").sign_in(kind)
    assert ended.status == 0
    assert machine.whoami() == expected
    assert machine.ports() == []
    assert machine.state.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("kind", "line"), [("google", "Logged in with Google\n"), ("idc", "Logged in\n")])
def test_the_chat_binary_signs_in_with_other_words(machine: Machine, kind: str, line: str) -> None:
    ended = machine.start("login", KIRO_STANDIN_BINARY="chat").sign_in(kind)
    assert ended.status == 0
    assert " Opening auth portal and logging in..." in ended.out
    assert line in ended.out


def test_the_code_of_a_social_login_is_redeemed_with_the_path_and_the_login_option(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.take_portal("google")
    assert login.end().status == 0
    asked = machine.services.asked("/oauth/token")
    assert asked["redirect_uri"] == f"http://localhost:{opened.port}/oauth/callback?login_option=google"
    digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == opened.query["code_challenge"]


def test_the_second_leg_of_an_organization_has_a_port_of_its_own_and_plural_scopes(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_SSO_AUTHORIZE_BASE="https://browser.example")
    first = login.take_portal("idc")
    second = login.take_second_leg("sso")
    assert login.end().status == 0
    assert second.url.startswith("https://browser.example/authorize?response_type=code&client_id=client")
    assert second.redirect_uri == f"http://127.0.0.1:{second.port}/oauth/callback"
    assert second.port != first.port
    assert second.query["scopes"].split()[0] == "codewhisperer:completions"
    assert machine.services.asked("/client/register")["redirectUris"] == [second.redirect_uri]
    assert machine.services.asked("/token")["redirectUri"] == second.redirect_uri


def test_the_second_leg_of_an_identity_provider_is_another_of_the_ten_ports(machine: Machine) -> None:
    login = machine.start("login")
    assert login.take_portal("external-idp").port == FIRST
    second = login.take_second_leg("external-idp")
    assert login.end().status == 0
    assert second.redirect_uri == "http://localhost:4649/oauth/callback"
    assert second.query["scope"] == "openid offline_access"
    assert machine.services.asked("/idp/token")["grant_type"] == "authorization_code"


def test_an_identity_provider_is_unknown_before_1_26_1(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_VERSION="1.26.0")
    login.take_portal("external-idp")
    assert "error: OAuth error: Unknown login_option: external_idp" in login.end().err


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        ("launcher", "error: OAuth error: Token exchange failed: HTTP 400 - {}"),
        ("chat", "error: Authentication failed: Token exchange failed: {}"),
    ],
)
def test_a_refused_code_ends_the_login(machine: Machine, binary: str, message: str) -> None:
    machine.services.answer("/oauth/token", 400)
    login = machine.start("login", KIRO_STANDIN_BINARY=binary)
    login.take_portal("google")
    ended = login.end()
    assert (ended.status, ended.err.strip()) == (1, message)


def test_a_denied_sign_in_says_who_denied_it(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.opened()
    query = f"error=access_denied&error_description=no+way&login_option=google&state={opened.state}"
    assert opened.get(f"/oauth/callback?{query}").location.endswith(
        "auth_status=error&redirect_from=kirocli&error_message=no%20way"
    )
    assert "error: Authentication failed: google denied access to Kiro." in login.end().err


# --- The listeners ----------------------------------------------------------------------------------------------------


def test_the_portal_accepts_three_connections_and_then_listens_no_more(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.opened()
    silent = [opened.connect() for _ in range(2)]
    third = opened.connect()
    login.events.wait_for("accepted", n=3)
    _wait_until(lambda: machine.ports() == [])
    for connection in silent:
        connection.close()
    # One of the three is open: it may still bring the callback.
    response = ask(third, f"/oauth/callback?login_option=google&code=CODE&state={opened.state}")
    assert response.status == 302
    assert login.end().status == 0


def test_three_connections_that_say_nothing_end_the_portal(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.opened()
    for connection in [opened.connect() for _ in range(3)]:
        connection.close()
    ended = login.end()
    assert ended.status == 1
    assert "error: OAuth error: Failed to receive callback" in ended.err


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        ("launcher", "OAuth error: Auth portal timed out"),
        ("chat", "Timeout waiting for authentication to complete"),
    ],
)
def test_a_connection_that_stays_open_is_waited_for_until_the_time_is_over(
    machine: Machine, binary: str, message: str
) -> None:
    let_go = machine.hold_opener()
    login = machine.start("login", KIRO_STANDIN_BINARY=binary, KIRO_STANDIN_TIMEOUT_SCALE="0.0005")
    opened = login.opening()
    for connection in [opened.connect(), opened.connect()]:
        connection.close()
    opened.connect()
    let_go()  # the 0.3 s begin now
    assert login.end().err.strip() == f"error: {message}"


@pytest.mark.parametrize(
    ("binary", "message"),
    [("launcher", "No code received on redirect"), ("chat", "OAuth error: Callback channel closed")],
)
def test_one_silent_connection_ends_the_second_leg_of_an_organization(
    machine: Machine, binary: str, message: str
) -> None:
    login = machine.start("login", KIRO_STANDIN_BINARY=binary)
    login.take_portal("idc")
    login.opened("sso").connect().close()
    ended = login.end()
    assert ended.status == 1
    # The text of the spinner stays, and what comes next is glued to it.
    assert ended.out.endswith("\r Logging in...")
    assert ended.err.strip() == f"error: {message}"


def test_three_silent_connections_end_the_second_leg_of_an_identity_provider(machine: Machine) -> None:
    login = machine.start("login")
    login.take_portal("external-idp")
    opened = login.opened("external-idp")
    for connection in [opened.connect() for _ in range(3)]:
        connection.close()
    assert "OAuth error: Callback channel closed" in login.end().err


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        ("launcher", "OAuth error: OAuth state mismatch: expected={}, actual=WRONG"),
        ("chat", "OAuth state mismatch. Actual: WRONG | Expected: {}"),
    ],
)
def test_the_first_callback_decides_even_with_a_wrong_state(machine: Machine, binary: str, message: str) -> None:
    login = machine.start("login", KIRO_STANDIN_BINARY=binary)
    opened = login.opened()
    response = opened.get("/oauth/callback?login_option=google&code=CODE&state=WRONG")
    assert "auth_status=success" in response.location
    login.events.wait_for("state_mismatch", leg="portal", expected=opened.state, actual="WRONG")
    ended = login.end()
    assert ended.status == 1
    assert message.format(opened.state) in ended.err
    assert machine.services.paths() == []


def test_a_wrong_state_ends_the_second_leg_too(machine: Machine) -> None:
    login = machine.start("login")
    login.take_portal("idc")
    opened = login.opened("sso")
    with contextlib.suppress(OSError):
        opened.get("/oauth/callback?code=CODE&state=WRONG")
    assert f"expected={opened.state}, actual=WRONG" in login.end().err


def test_another_path_of_the_portal_is_sent_away_and_the_login_goes_on(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.opened()
    assert opened.get("/favicon.ico").location == (
        "https://app.kiro.dev/signin?auth_status=error&redirect_from=kirocli&error_message=Invalid%20callback%20path"
    )
    assert opened.get("/oauth/callback/?state=x").location.endswith("Invalid%20callback%20path")
    response = opened.get(f"/oauth/callback?login_option=google&code=CODE&state={opened.state}")
    assert response.headers["cache-control"] == "no-store"
    assert login.end().status == 0


def test_the_portals_callback_without_a_query_is_not_answered(machine: Machine) -> None:
    login = machine.start("login")
    opened = login.opened()
    assert opened.get("/oauth/callback").status == 0
    opened.get(f"/oauth/callback?login_option=google&code=CODE&state={opened.state}")
    assert login.end().status == 0


def test_another_path_of_the_second_leg_is_not_found_and_the_same_connection_may_try_again(machine: Machine) -> None:
    login = machine.start("login")
    login.take_portal("builder-id")
    opened = login.opened("sso")
    with opened.connect() as connection:
        assert ask(connection, "/favicon.ico").status == 404
        response = ask(connection, f"/oauth/callback/?code=CODE&state={opened.state}")
        assert response.location == f"http://127.0.0.1:{opened.port}/index.html"
        # No second connection is accepted, so this is the only way to the last page.
        assert ask(connection, "/index.html").headers["connection"] == "close"
    login.events.wait_for("callback_ok", leg="sso")


def test_the_last_page_of_an_identity_provider_may_come_over_another_connection(machine: Machine) -> None:
    login = machine.start("login")
    login.take_portal("external-idp")
    opened = login.opened("external-idp")
    location = opened.get(f"/oauth/callback?code=CODE&state={opened.state}").location
    assert location == f"http://127.0.0.1:{opened.port}/index.html"
    assert opened.get("/index.html").status == 200
    login.events.wait_for("callback_ok", leg="external-idp")


def test_a_second_leg_without_a_code_ends_with_an_error(machine: Machine) -> None:
    login = machine.start("login")
    login.take_portal("idc")
    opened = login.opened("sso")
    with contextlib.suppress(OSError):
        opened.get(f"/oauth/callback?state={opened.state}")
    assert "OAuth error: Missing code or state" in login.end().err


@pytest.mark.parametrize(("version", "kept"), [("1.25.0", True), ("1.26.0", False)])
def test_the_portal_keeps_connections_alive_before_1_26_only(machine: Machine, version: str, kept: bool) -> None:
    login = machine.start("login", KIRO_STANDIN_VERSION=version)
    with login.opened().connect() as connection:
        assert ("connection" not in ask(connection, "/favicon.ico").headers) == kept
        assert (connection.recv(1) if not kept else b"") == b""
        login.process.kill()


@pytest.mark.parametrize(
    ("version", "binary", "port"),
    [("1.25.0", "launcher", 49153), ("1.26.0", "launcher", 3128), ("1.25.0", "chat", 3128), ("2.10.0", "chat", 3128)],
)
def test_the_first_port_depends_on_binary_and_release(version: str, binary: str, port: int) -> None:
    edition = Edition.of({"KIRO_STANDIN_VERSION": version, "KIRO_STANDIN_BINARY": binary})
    assert edition.ports[0] == port
    assert len(set(edition.ports)) == 10


# --- The loopback -----------------------------------------------------------------------------------------------------


def test_a_port_that_is_in_use_is_passed_over(machine: Machine) -> None:
    machine.occupy(FIRST)
    login = machine.start("login")
    opened = login.take_portal("google")
    assert opened.port == 4649
    assert login.end().status == 0
    assert machine.ports() == [FIRST]


def test_a_port_of_a_process_that_is_gone_is_free(machine: Machine) -> None:
    process = subprocess.Popen(["true"])
    process.wait(PATIENCE)
    (machine.loopback / f"127.0.0.1:{FIRST}").write_text(f"1 {process.pid}\n")
    login = machine.start("login")
    assert login.events.wait_for("bound")["port"] == FIRST


def test_ten_ports_in_use_end_the_login(machine: Machine) -> None:
    machine.occupy(*Edition.of({}).ports)
    ended = machine.run("login")
    assert ended.status == 1
    assert ended.err.splitlines() == [
        "Failed to initialize auth portal.",
        "Please try again with: kiro-cli login --use-device-flow",
        "error: OAuth error: All callback ports are in use. Please close some applications and try again.",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_login_leaves_no_listener(machine: Machine, number: signal.Signals) -> None:
    login = machine.start("login")
    login.opened()
    assert machine.ports() == [FIRST]
    login.process.send_signal(number)
    assert login.end().status == -number
    assert machine.ports() == []


def test_without_a_directory_it_listens_on_ipv4_only() -> None:
    loopback = Loopback(None)
    listener = loopback.listen(0)
    try:
        assert listener.socket.getsockname() == ("127.0.0.1", listener.port)
        with pytest.raises(OSError, match="in use"):
            loopback.listen(listener.port)
    finally:
        loopback.close()


def test_in_a_directory_a_random_port_is_one_that_the_other_end_can_open_too(tmp_path: Path) -> None:
    loopback = Loopback(str(tmp_path))
    try:
        port = loopback.listen(0).port
        with socket.create_server(("127.0.0.1", port)):
            assert (tmp_path / f"127.0.0.1:{port}").exists()
    finally:
        loopback.close()


# --- The opener -------------------------------------------------------------------------------------------------------


def test_nothing_is_accepted_while_somebody_holds_the_openers_pipes(machine: Machine) -> None:
    let_go = machine.hold_opener()
    login = machine.start("login")
    opened = login.opening()
    with opened.connect() as connection:
        # The kernel takes the connection and the request, but nobody answers: a browser that hangs.
        connection.sendall(
            f"GET /oauth/callback?login_option=google&code=CODE&state={opened.state} HTTP/1.1\r\n\r\n".encode()
        )
        assert select.select([connection], [], [], 0.3)[0] == []
        assert [event["event"] for event in login.events.seen] == ["bound", "opener"]
        let_go()
        login.events.wait_for("opener_done", status=0)
        assert connection.recv(12) == b"HTTP/1.1 302"
    assert login.end().status == 0


@pytest.mark.parametrize(
    ("script", "message"),
    [(None, "No such file or directory (os error 2)"), ("exit 3", "Failed to open URL")],
    ids=["missing", "failing"],
)
@pytest.mark.parametrize("binary", ["launcher", "chat"])
def test_the_portal_needs_an_opener(machine: Machine, script: str | None, message: str, binary: str) -> None:
    (machine.bin / "xdg-open").unlink() if script is None else machine.set_opener(script)
    ended = machine.run("login", KIRO_STANDIN_BINARY=binary, PATH=str(machine.bin))
    assert ended.status == 1
    if binary == "chat":
        assert ended.err.strip() == f"error: OAuth error: Failed to open browser: {message}"
    else:
        assert ended.err.splitlines() == [
            "Failed to open browser for authentication.",
            "Please try again with: kiro-cli login --use-device-flow",
            f"error: {message}",
        ]
        assert ended.out.endswith("▱ Opening browser... | Press (^) + C to cancel\x1b[?25h")
    assert "https://" not in ended.out + ended.err


def test_the_second_leg_of_an_organization_falls_back_to_a_code(machine: Machine) -> None:
    machine.set_opener("case $1 in */authorize*|*device*) exit 4;; esac")
    login = machine.start("login")
    login.take_portal("builder-id")
    ended = login.end()
    assert ended.status == 0
    assert "Code: ABCD-EFGH\n\nOpen this URL: https://device.example/?user_code=ABCD-EFGH\n" in ended.out


def test_the_second_leg_of_an_identity_provider_needs_an_opener(machine: Machine) -> None:
    machine.set_opener("case $1 in */idp/*) exit 4;; esac")
    login = machine.start("login")
    login.take_portal("external-idp")
    assert login.end().err.strip() == "error: OAuth error: Failed to open browser: Failed to open URL"


# --- Remote login -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSH_CLIENT", ""),
        ("SSH_CONNECTION", "x"),
        ("SSH_TTY", ""),
        ("Q_FAKE_IS_REMOTE", ""),
        ("KIRO_FAKE_IS_REMOTE", "1"),
    ],
)
def test_a_variable_that_is_set_makes_it_remote(machine: Machine, variable: str, value: str) -> None:
    ended = machine.run("login", **{variable: value})
    assert ended.status == 0
    assert "Open this URL: " in ended.out


def test_wsl_is_remote_whatever_the_environment_says(machine: Machine) -> None:
    release = machine.directory / "osrelease"
    release.write_text("6.6.87-Microsoft-standard-WSL2\n")
    assert "Open this URL: " in machine.run("login", KIRO_STANDIN_OSRELEASE=str(release)).out


def test_the_device_flow_outside_ssh_tells_nobody_the_url(machine: Machine) -> None:
    ended = machine.run("login", "--use-device-flow")
    assert ended.status == 0
    assert "Code: ABCD-EFGH" in ended.out
    assert "https://" not in ended.out
    machine.events.wait_for("opener", url="https://device.example/?user_code=ABCD-EFGH")


def test_without_a_terminal_the_menu_is_builder_id(machine: Machine) -> None:
    assert machine.run("login", SSH_TTY="").status == 0
    assert machine.whoami()["accountType"] == "BuilderId"
    assert machine.services.asked("/device_authorization")["startUrl"] == BUILDER_ID


@pytest.mark.parametrize(
    ("version", "message"), [("1.26.2", "dispatch failure"), ("2.22.0", "invalid value for field: region")]
)
def test_without_a_terminal_start_url_and_region_are_empty(machine: Machine, version: str, message: str) -> None:
    options = ["--license", "pro", "--identity-provider", START_URL, "--region", "eu-west-1"]
    ended = machine.run("login", *options, SSH_TTY="", KIRO_STANDIN_VERSION=version)
    assert (ended.status, ended.err.strip()) == (1, f"error: {message}")
    # ... and they are kept as the defaults of the next time.
    assert json.loads(machine.state.read_text()) == {"auth.idc.start-url": "", "auth.idc.region": ""}


def test_a_pending_code_is_waited_for_and_slow_down_ends_the_login(machine: Machine) -> None:
    answers: Iterator[dict[str, object]] = iter(
        [{"error": "AuthorizationPendingException"}, {"error": "SlowDownException"}]
    )
    machine.services.answers["/token"] = lambda _: (400, next(answers))
    ended = machine.run("login", "--license=free", SSH_TTY="")
    assert ended.err.strip() == "error: service error"
    assert ended.out.endswith(" Logging in...\x1b[?25h")
    assert machine.services.paths().count("/token") == 2


def test_the_social_login_of_1_23_is_refused_on_a_remote(machine: Machine) -> None:
    ended = machine.run("login", "--social", "github", SSH_TTY="", KIRO_STANDIN_VERSION="1.23.1")
    assert ended.err.startswith("error: Social login is not supported in remote environments.")


LABELS = {
    ("1.23.1", "launcher"): ["Use with Builder ID", "Use with IDC Account"],
    ("1.24.0", "launcher"): [
        "Use for Free with Builder ID",
        "Use for Free with Google or GitHub",
        "Use with Pro license",
    ],
    ("2.0.1", "chat"): ["Use for Free with Builder ID", "Use with Pro license"],
    ("2.1.0", "launcher"): ["Use with Builder ID", "Use with Google", "Use with GitHub", "Use with Your Organization"],
    ("2.1.0", "chat"): ["Use with Builder ID", "Use with Google", "Use with GitHub", "Use with Your Organization"],
}


@pytest.mark.parametrize(("version", "binary"), LABELS)
def test_the_menu_of_each_era(version: str, binary: str) -> None:
    menu = Menu.of(Edition.of({"KIRO_STANDIN_VERSION": version, "KIRO_STANDIN_BINARY": binary}))
    assert [label for label, _ in menu.rows] == LABELS[version, binary]


def test_the_menu_is_drawn_anew_for_each_key_and_gives_way_to_the_answer(machine: Machine) -> None:
    child = machine.at_terminal("login", SSH_TTY="/dev/pts/0", NO_COLOR="1")
    child.expect_exact("? Select login method ›\r\n❯ Use with Builder ID\r\n  Use with Google\r\n")
    child.send("j\x1b[Ak")
    child.expect_exact("❯ Use with Your Organization")
    child.send("\x1b[B\t")
    child.expect_exact("❯ Use with Google")
    child.send("\r")
    child.expect_exact("✔ Select login method · Use with Google\r\n")
    child.expect_exact("To sign in with Google, visit:\r\n  https://kiro.example/device?user_code=ABCD-EFGH\r\n")
    child.expect_exact("And confirm the code: ABCD-EFGH")
    child.expect_exact("Signed in with Google")
    child.expect(pexpect.EOF)
    assert machine.services.asked("/oauth/device/authorization") == {"clientId": "Kiro-CLI", "loginProvider": "Google"}
    assert machine.whoami()["accountType"] == "SocialGoogle"


@pytest.mark.parametrize("key", ["\x1b", "q", "\x03"])
def test_esc_q_and_ctrl_c_choose_nothing(machine: Machine, key: str) -> None:
    child = machine.at_terminal("login", SSH_TTY="")
    child.expect_exact("Use with Your Organization")
    child.expect_exact("\r\n")
    child.send(key)
    child.expect_exact("No login method selected")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 1


def test_the_options_of_an_organization_are_where_the_prompts_begin(machine: Machine) -> None:
    options = ["--license", "pro", "--identity-provider", f"{START_URL}x", "--region", "eu-west-1"]
    child = machine.at_terminal("login", *options, SSH_TTY="", NO_COLOR="1")
    child.expect_exact(f"? Enter Start URL › {START_URL}x")
    child.send("\x7f\r")
    child.expect_exact(f"✔ Enter Start URL · {START_URL}\r\n")
    child.expect_exact("? Enter Region › eu-west-1")
    child.send("\r")
    child.expect_exact("✔ Enter Region · eu-west-1\r\n")
    child.expect_exact("Code: ABCD-EFGH")
    child.expect_exact("Device authorized")
    child.expect_exact("Logged in successfully")
    child.expect(pexpect.EOF)
    assert machine.whoami()["startUrl"] == START_URL


def test_the_chat_binary_colours_and_asks_in_its_own_way(machine: Machine) -> None:
    child = machine.at_terminal("login", SSH_TTY="", KIRO_STANDIN_VERSION="1.24.0", KIRO_STANDIN_BINARY="chat")
    child.expect_exact(" Select login method (Social login not available in remote environment) \r\n")
    child.expect_exact("\x1b[1;38;5;141m❯ Use for Free with Builder ID\x1b[0m\r\n  Use with Pro license\r\n")
    child.send(" ")
    child.expect_exact("Code: \x1b[38;5;252mABCD-EFGH\x1b[0m")
    child.expect_exact("Logged in")
    child.expect(pexpect.EOF)


def test_a_port_is_shown_and_enter_awaited_from_1_24_to_2_0(machine: Machine) -> None:
    child = machine.at_terminal("login", SSH_TTY="", KIRO_STANDIN_VERSION="2.0.1")
    child.expect_exact("Use with Pro license")
    child.send("j\r")
    child.expect_exact(f"Port: {FIRST}\r\n")
    child.expect_exact("Press Enter to continue")
    assert machine.ports() == [FIRST]
    child.send("\r")
    child.expect("Open this URL in your local browser:\r\n  (https://\\S+)\r\n")
    opened = Opened(machine, child.match[1])
    opened.get(f"/oauth/callback?login_option=github&code=CODE&state={opened.state}")
    child.expect_exact("Signed in with GitHub")
    child.expect(pexpect.EOF)
    assert machine.whoami()["accountType"] == "SocialGitHub"


@pytest.mark.parametrize(
    ("status", "fields", "message"),
    [
        (200, {"status": "expired_token"}, "Device code expired. Please try again."),
        (503, {}, "Device flow error: HTTP 503: {}"),
    ],
)
def test_a_bad_answer_to_a_poll_ends_the_device_flow(
    machine: Machine, status: int, fields: dict[str, object], message: str
) -> None:
    machine.services.answer("/oauth/device/poll", status, **fields)
    child = machine.at_terminal("login", SSH_TTY="")
    child.expect_exact("Use with Your Organization")
    child.send("jj\r")
    child.expect_exact("sign in with GitHub")
    child.expect_exact(message)
    child.expect(pexpect.EOF)


# --- Profiles ---------------------------------------------------------------------------------------------------------

TWO_PROFILES = json.dumps([["One", "arn:one"], ["Two", "arn:two"]])


def test_no_profile_ends_the_login_but_the_token_is_kept(machine: Machine) -> None:
    ended = machine.start("login", KIRO_STANDIN_PROFILES="[]").sign_in("idc")
    assert ended.status == 1
    assert "error: No profiles available. Please contact your administrator." in ended.err
    assert machine.whoami()["accountType"] == "IamIdentityCenter"


def test_without_a_terminal_the_first_of_two_profiles_is_taken(machine: Machine) -> None:
    assert machine.start("login", KIRO_STANDIN_PROFILES=TWO_PROFILES).sign_in("idc").status == 0
    assert machine.run("whoami").out.splitlines()[-3:] == ["Profile:", "One", "arn:one"]


def test_one_of_two_profiles_is_chosen_at_a_terminal(machine: Machine) -> None:
    machine.store(sso=sso_token(), profile={"profile_name": "One", "arn": "arn:one"})
    child = machine.at_terminal("profile", KIRO_STANDIN_PROFILES=TWO_PROFILES, NO_COLOR="1")
    child.expect_exact("❯ One (arn: arn:one) (active)\r\n  Two (arn: arn:two)\r\n")
    child.send("\x1b[B\r")
    child.expect_exact("Set profile: Two")
    child.expect(pexpect.EOF)
    assert machine.run("whoami", "-f", "json").out.splitlines()[1:] == ["", "Profile:", "Two", "arn:two"]


# --- whoami, logout, and logins that are not needed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "environment", "plain", "fields"),
    [
        (
            {"sso": sso_token(start_url=None, region="us-east-1")},
            {},
            "Logged in with Builder ID\nEmail: katherine@example.com",
            {"accountType": "BuilderId", "email": "katherine@example.com", "region": "us-east-1", "startUrl": None},
        ),
        (
            {"sso": sso_token(email=None)},
            {},
            f"Logged in with IAM Identity Center ({START_URL})",
            {"accountType": "IamIdentityCenter", "email": None, "region": "eu-west-1", "startUrl": START_URL},
        ),
        (
            {"social": social_token()},
            {"KIRO_STANDIN_BINARY": "chat", "KIRO_STANDIN_EMAIL": "grace@example.com"},
            "Logged in with Google\nEmail: grace@example.com",
            {"accountType": "Social", "email": "grace@example.com", "provider": "Google"},
        ),
        (
            {"social": social_token(provider="github"), "external": external_token()},
            {"KIRO_STANDIN_VERSION": "1.24.1"},
            "Logged in with GitHub",
            {"accountType": "SocialGitHub"},
        ),
        (
            {"external": external_token()},
            {},
            "Logged in with External IdP",
            {"accountType": "ExternalIdP", "email": None},
        ),
        ({}, {"KIRO_API_KEY": "k"}, "Authenticated with API key", {"accountType": "ApiKey", "email": None}),
    ],
    ids=["builder-id", "idc", "social", "before-emails", "external-idp", "api-key"],
)
def test_whoami_says_who_is_signed_in(
    machine: Machine,
    tokens: dict[str, object],
    environment: dict[str, str],
    plain: str,
    fields: dict[str, object],
) -> None:
    machine.store(**tokens)
    ended = machine.run("whoami", **environment)
    assert (ended.status, ended.out.strip()) == (0, plain)
    ended = machine.run("whoami", "--format=json", **environment)
    assert ended.out.strip() == json.dumps(fields, separators=(",", ":"))
    assert list(fields) == sorted(fields)


@pytest.mark.parametrize(
    ("style", "text"),
    [("plain", "Not logged in"), ("json", '{"account":null}'), ("json-pretty", '{\n  "account": null\n}')],
)
def test_whoami_of_nobody_has_status_1(machine: Machine, style: str, text: str) -> None:
    ended = machine.run("whoami", "-f", style)
    assert (ended.status, ended.out, ended.err) == (1, f"{text}\n", "")


@pytest.mark.parametrize(("version", "api_key"), [("2.10.0", False), ("1.27.3", True)])
def test_whoever_is_signed_in_must_sign_out_first(machine: Machine, version: str, api_key: bool) -> None:
    if not api_key:
        machine.store(social=social_token())
    extra = {"KIRO_API_KEY": "k"} if api_key else {}
    ended = machine.run("login", KIRO_STANDIN_VERSION=version, **extra)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "error: Already logged in, please logout with kiro-cli logout first\n"


@pytest.mark.parametrize(("version", "paths"), [("1.29.6", []), ("1.29.7", ["/logout"])])
def test_logout_forgets_everything_and_says_so_to_the_service(machine: Machine, version: str, paths: list[str]) -> None:
    machine.store(social=social_token(), sso=sso_token(), external=external_token())
    ended = machine.run("logout", KIRO_STANDIN_VERSION=version)
    assert ended.status == 0
    assert ended.out == "You are now logged out\nRun kiro-cli login to log back in to Kiro CLI\n"
    assert machine.services.paths() == paths
    assert machine.run("whoami").out == "Not logged in\n"


def test_an_expired_token_is_refreshed_by_whoami(machine: Machine) -> None:
    machine.store(social=social_token(expires_at=1))
    assert machine.run("whoami").status == 0
    assert json.loads(machine.state.read_text())[NAMES["social"]]["access_token"] == "renewed"


@pytest.mark.parametrize("kind", ["social", "sso"])
def test_a_token_that_cannot_be_refreshed_is_lost(machine: Machine, kind: str) -> None:
    machine.services.answer("/refreshToken", 503)
    machine.services.answer("/token", 400, error="InvalidGrantException")
    registration = {"region": "eu-west-1", "oauth_flow": "DeviceCode", "client_id": "c", "client_secret": "s"}
    token = social_token(expires_at=1) if kind == "social" else sso_token(expires_at=1)
    machine.store(**{kind: token, "registration": registration})
    assert machine.run("whoami").out == "Not logged in\n"
    assert NAMES[kind] not in json.loads(machine.state.read_text())


# --- Ctrl-C, faults and the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status"), [("portal", -signal.SIGINT), ("sso", 1)])
def test_ctrl_c_kills_the_portals_leg_and_ends_the_second_one(machine: Machine, kind: str, status: int) -> None:
    login = machine.start("login")
    if kind == "sso":
        login.take_portal("idc")
    login.opened(kind).connect()
    login.events.wait_for("accepted", leg=kind)
    login.process.send_signal(signal.SIGINT)
    ended = login.end()
    assert ended.status == status
    assert not ended.out.endswith("\x1b[?25h")
    assert machine.ports() == []


def test_the_spinner_is_written_with_and_without_a_terminal(machine: Machine) -> None:
    login = machine.start("login")
    frames = [f"{bar} Opening browser... | Press (^) + C to cancel" for bar in ("▰▱▱▱▱▱▱", "▰▰▱▱▱▱▱")]
    expected = "\r".join(["\x1b[?25l", *frames])
    assert login.process.stdout is not None
    assert login.process.stdout.read(len(expected.encode())).decode() == expected


@pytest.mark.parametrize("fault", ["die-before-open", "die-after-open"])
def test_it_can_die_around_the_opener(machine: Machine, fault: str) -> None:
    assert machine.run("login", KIRO_STANDIN_FAULT=fault).status == 70
    assert machine.ports() == []


def test_it_can_die_after_the_callback(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT="die-after-callback")
    login.take_portal("google")
    assert login.end().status == 70
    assert machine.services.paths() == []


def test_it_can_leave_the_callback_without_an_answer(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT="no-answer")
    opened = login.opened()
    assert opened.get(f"/oauth/callback?login_option=google&code=CODE&state={opened.state}").status == 0
    assert login.end().status == 0


@pytest.mark.parametrize(
    ("fault", "url"),
    [
        ("bad-scheme", "file:///etc/passwd"),
        ("private-host", "https://192.168.1.1/signin?state="),
        ("unknown-host", "https://sign-in.example.net/signin?state="),
    ],
)
def test_it_can_open_a_url_that_nobody_should_follow(machine: Machine, fault: str, url: str) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT=fault)
    assert str(login.events.wait_for("opener")["url"]).startswith(url)


def test_it_can_name_a_port_that_it_does_not_listen_on(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT="not-listening")
    opened = login.opened()
    assert opened.port in Edition.of({}).ports
    assert opened.port not in machine.ports()


def test_it_can_open_a_huge_url(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT="huge-url")
    assert len(login.opened().url) > 100_000


def test_it_can_call_the_opener_a_hundred_times(machine: Machine) -> None:
    machine.set_opener(f"echo x >>{machine.directory}/calls")
    login = machine.start("login", KIRO_STANDIN_FAULT="many-opens")
    for _ in range(100):
        login.events.wait_for("opener_done")
    assert (machine.directory / "calls").read_text().count("x") == 100


def test_it_can_print_without_an_end(machine: Machine) -> None:
    login = machine.start("login", KIRO_STANDIN_FAULT="endless-output")
    assert login.process.stdout is not None
    assert b"\n" not in login.process.stdout.read(1_000_000)


def test_it_can_print_garbage_and_sign_in_all_the_same(machine: Machine) -> None:
    ended = machine.start("login", KIRO_STANDIN_FAULT="garbage-output").sign_in("google")
    assert ended.status == 0
    assert "\ufffd" in ended.out


def test_it_can_accept_nothing(machine: Machine) -> None:
    let_go = machine.hold_opener()
    login = machine.start("login", KIRO_STANDIN_FAULT="never-accept", KIRO_STANDIN_TIMEOUT_SCALE="0.0005")
    login.opening().connect()
    let_go()  # the 0.3 s begin now
    assert "Auth portal timed out" in login.end().err
    login.events.wait_for("exit")
    assert [event for event in login.events.seen if event["event"] == "accepted"] == []


def test_whoami_can_fail(machine: Machine) -> None:
    ended = machine.run("whoami", KIRO_STANDIN_FAULT="whoami-fails")
    assert (ended.status, ended.out) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["login", "--licence"], "error: unexpected argument '--licence' found"),
        (["login", "--license", "gold"], "error: invalid value 'gold' for '--license <LICENSE>'"),
        (["login", "--region"], "error: a value is required for '--region <REGION>' but none was supplied"),
        (["frobnicate"], "error: unrecognized subcommand 'frobnicate'"),
    ],
)
def test_a_wrong_command_line_has_status_2(machine: Machine, arguments: list[str], message: str) -> None:
    ended = machine.run(*arguments)
    assert ended.status == 2
    assert ended.err.startswith(message)


def test_it_says_its_version(machine: Machine) -> None:
    assert machine.run("--version", KIRO_STANDIN_VERSION="1.29.8").out == "kiro-cli 1.29.8\n"


def test_it_is_one_file_for_any_python_from_3_9_on() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 9))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in imports for name in ([node.module] if isinstance(node, ast.ImportFrom) else _names(node))}
    assert {str(name).partition(".")[0] for name in names} <= sys.stdlib_module_names


def _names(node: ast.Import) -> list[str]:
    return [alias.name for alias in node.names]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # a directory cannot be awaited
