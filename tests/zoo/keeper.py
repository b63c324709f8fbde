"""What the creatures share: a listener that writes down who came, the authorize URL, ways to ask for a browser."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BytesIO
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit

PROVIDER = os.environ.get("ZOO_PROVIDER", "https://provider.example")


def log(event: str, **fields: Any) -> None:
    """Write one line for the test."""
    with open(os.environ["ZOO_LOG"], "a") as file:
        file.write(json.dumps({"event": event, **fields}) + "\n")


def code_for(state: str) -> str:
    """The code that the provider gives for this state: nobody is asked whether it is right."""
    return f"code-of-{state}"


def new_state() -> str:
    return secrets.token_urlsafe(18)


def authorize_url(redirect_uri: str, state: str, **more: str) -> str:
    """Where the person signs in (RFC 6749 section 4.1.1)."""
    query = {"response_type": "code", "client_id": "zoo", "redirect_uri": redirect_uri, "state": state, **more}
    return f"{PROVIDER}/authorize?{urlencode(query)}"


def open_in_browser(url: str, opener: str = "xdg-open") -> None:
    """Ask this program of PATH for a browser, as most do: its end is awaited, what it says goes nowhere."""
    quiet = subprocess.DEVNULL
    done = subprocess.run([opener, url], stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    log("opened", with_=opener, code=done.returncode)


def finish(code: str | None, state: str) -> NoReturn:
    """End as a login ends that got this code."""
    if code == code_for(state):
        print("signed in as ada@zoo.example", flush=True)
        sys.exit(0)
    print("error: the login failed", file=sys.stderr, flush=True)
    sys.exit(1)


@dataclass
class Visit:
    """One connection to the listener; `method` is empty where it ended before there was a request."""

    connection: socket.socket
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body).items()}

    def answer(self, status: str = "200 OK", body: str = "<h1>You can close this window</h1>", **headers: str) -> None:
        """Answer, and end the connection. An empty header is left out."""
        headers = {"Content_Type": "text/html", "Content_Length": str(len(body)), "Connection": "close"} | headers
        headers = {name: value for name, value in headers.items() if value}
        lines = [f"HTTP/1.1 {status}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        try:
            self.connection.sendall(("\r\n".join([*lines, "", body])).encode())
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            log("gone", target=self.target)
        self.connection.close()


class Listener:
    """A server socket that serves one connection after the other: what is open and silent holds up the rest."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, name: str = "callback") -> None:
        self.name = name
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        self._socket.bind((address, port))
        self._socket.listen(8)
        self.port: int = self._socket.getsockname()[1]
        log("listening", listener=name, address=address, port=self.port)

    def visit(self) -> Visit:
        """The next connection, and the request on it."""
        connection, peer = self._socket.accept()
        log("accepted", listener=self.name, peer=peer[0])
        visit = Visit(connection)
        file = connection.makefile("rb")
        line = file.readline(65536).decode("latin-1").split()
        if len(line) == 3:
            visit.method, visit.target, _ = line
            visit.headers = {name.lower(): value for name, value in parse_headers(BytesIO(_head(file))).items()}
            visit.body = file.read(int(visit.headers.get("content-length", "0"))).decode()
            log(
                "request", listener=self.name, method=visit.method, target=visit.target, host=visit.headers.get("host"),
                cookie=visit.headers.get("cookie"), body=visit.body,
            )  # fmt: skip
        return visit

    def visit_of(self, path: str) -> Visit:
        """The next request for this path; what else comes is answered with 404."""
        while True:
            visit = self.visit()
            if visit.path == path:
                return visit
            visit.answer("404 Not Found", "<h1>Not found</h1>")

    def close(self) -> None:
        self._socket.close()
        log("closed", listener=self.name)


def _head(file: Any) -> bytes:
    lines = []
    while (line := file.readline(65536)) not in {b"\r\n", b"\n", b""}:
        lines.append(line)
    return b"".join(lines) + b"\r\n"


def sign_in(listener: Listener, redirect_uri: str, show: Any, path: str = "/callback") -> NoReturn:
    """The plain login: show the URL, wait for the callback, end."""
    state = new_state()
    show(authorize_url(redirect_uri, state))
    visit = listener.visit_of(path)
    visit.answer()
    finish(visit.query.get("code") if visit.query.get("state") == state else None, state)
