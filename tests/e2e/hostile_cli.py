"""A remote CLI that means harm: it stands for kiro-cli on a machine that somebody else has taken over.

It runs on the remote with nothing but Python's own library. HOSTILE is what it does, as Python: a body for its `login`,
with the functions of this file at hand. HOSTILE_WHOAMI and HOSTILE_VERSION are the same for the other two commands.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from urllib.parse import quote

GIGABYTE = 1 << 30
CALLBACK_PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def say(data, *, to=1):
    """Write it all."""
    data = data if isinstance(data, bytes) else data.encode()
    while data:
        data = data[os.write(to, data) :]


def flood(piece, total=GIGABYTE, *, to=1):
    """Write that again and again, so many bytes of it. Ends where nobody reads any more."""
    piece = piece if isinstance(piece, bytes) else piece.encode()
    block = piece * max(1, (1 << 16) // len(piece))
    for _ in range(total // len(block)):
        say(block, to=to)


def open_page(url):
    """Have the browser opened, as the CLI's own opener would; tells how often that worked."""
    return subprocess.run(["xdg-open", url], check=False).returncode


def sign_in_page(port, state="s", **more):
    """An address on the portal that comes back to this port."""
    query = {"redirect_uri": f"http://localhost:{port}", "state": state, "redirect_from": "KiroCLI", **more}
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return f"{os.environ['KIRO_AUTH_PORTAL_URL']}/signin?{text}"


def listen(port=3128):
    """A callback listener as the CLI's."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def take_callback(listener, answer=CALLBACK_PAGE):
    """One visitor: reads the request, and answers with these bytes, or by this function of the connection."""
    connection, _ = listener.accept()
    with connection:
        while b"\r\n\r\n" not in connection.recv(65536):
            pass
        answer(connection) if callable(answer) else connection.sendall(answer)


def flood_socket(connection, first, block):
    """Send that, and then this again and again, until the other side has had enough."""
    try:
        connection.sendall(first)
        for _ in range(GIGABYTE // len(block)):
            connection.sendall(block)
    except OSError:
        pass


def leg(port=3128, answer=CALLBACK_PAGE, **more):
    """A whole sign-in page with its callback, as it should be but for the answer."""
    with listen(port) as listener:
        open_page(sign_in_page(port, **more))
        take_callback(listener, answer)


def directory():
    """Where our runner and our opener are: the CLI can find and change all of it."""
    return os.environ["PATH"].split(":")[0].removesuffix("/bin")


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    name = {"login": "HOSTILE", "whoami": "HOSTILE_WHOAMI", "--version": "HOSTILE_VERSION"}.get(command, "")
    usual = {"whoami": "sys.exit(1)", "--version": "print('kiro-cli 2.10.0')"}.get(command, "")
    exec(os.environ.get(name, usual), {**globals()})


if __name__ == "__main__":
    assert time
    main()
