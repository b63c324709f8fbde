"""A stand-in for the closed `kiro-cli` binary: it signs in as the observed releases do. For the demo and for tests.

It is not Kiro's program and shares no code with it. It was built from observed behaviour: what the public sources of
one of Kiro's two binaries say, what users reported of the other, and what was measured. One file, standard library
only, any Python from 3.9 on, so that it can be copied to a remote machine: `python3 kiro_cli.py login`.

What it reproduces:
  - `login`, `logout`, `whoami`, `profile` and `--version`, with their output, terminal prompts and exit statuses
  - the portal login with its second leg for Builder ID, IAM Identity Center and external identity providers
  - the callback listeners: ports, paths, answers, budgets of connections, keep-alive, timeouts, one-shot state check
  - the opener: waited for until both of its pipes have ended (Kiro#9964)
  - the remote login of each era, by device code or by a port that the person forwards
  - what it takes for a remote machine, refreshing of expired tokens, Ctrl-C

What it does not:
  - anything but signing in; every profile that it lists is invented, and no API is asked who is signed in
  - the SQLite database, the keychain of macOS, telemetry; the state is `kiro-cli/standin.json` of the data directory
  - the first-run settings, the delays of the real one, macOS's and Windows' ways to open a browser
Where the two binaries differ and the launcher was not seen: from 1.26 on it is given the listeners of `kiro-cli-chat`;
the lines around the forwarded port (1.24 to 2.0) are invented but for the URL's own. A prompt holds the terminal in raw
mode from its first character to its answer; the real one lets go between two keys, and loses what comes just then.

The environment of the real one: SSH_CLIENT, SSH_CONNECTION, SSH_TTY, Q_FAKE_IS_REMOTE, KIRO_FAKE_IS_REMOTE,
KIRO_API_KEY, KIRO_AUTH_PORTAL_URL, AWS_ENDPOINT_URL_SSO_OIDC, XDG_DATA_HOME, PATH, NO_COLOR, TERM.

Its own environment:
  KIRO_STANDIN_VERSION             release to imitate (2.10.0); 1.24 and 2.1 begin new eras
  KIRO_STANDIN_BINARY              `launcher` (kiro-cli) or `chat` (kiro-cli-chat): their words and ports differ
  KIROTUNNEL_AUTH_SERVICE_URL      Kiro's own auth service, for Google and GitHub
  KIRO_STANDIN_SSO_AUTHORIZE_BASE  where a browser reaches AWS's service, if by another address than this machine
  KIRO_STANDIN_PROFILES            JSON list of [name, ARN]: the profiles of an organization
  KIRO_STANDIN_EMAIL               e-mail address of whoami; else what a token's answer calls `email`
  KIRO_STANDIN_LOOPBACK            directory that stands for 127.0.0.1, see `Loopback`
  KIRO_STANDIN_OSRELEASE           file to read instead of /proc/sys/kernel/osrelease
  KIRO_STANDIN_TIMEOUT_SCALE       factor of the callback timeouts (600, 180 and 600 seconds)
  KIRO_STANDIN_LOG                 file for one JSON object per event: bound, opener, opener_done, accepted, request,
                                   callback_ok, state_mismatch, signed_in, exit. It holds codes and states
  KIRO_STANDIN_FAULT               one of these:
    die-before-open die-after-open die-after-callback    ends with status 70, in silence
    no-answer        closes the connection of a callback without an answer, and goes on
    never-accept     listens, but accepts nothing until its time is over
    slow-whoami      whoami takes five seconds more
    whoami-fails     whoami ends with an error
    garbage-output   prints bytes that are no text, and terminal escapes
    endless-output   prints without an end and without a newline
    huge-url bad-scheme private-host unknown-host        opens such a URL instead of the portal's
    many-opens       calls the opener a hundred times, each with another URL
    not-listening    names a port in its URL that it does not listen on
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from email.message import Message
    from types import FrameType, TracebackType

DEFAULT_VERSION: Final = "2.10.0"
PORTAL_URL: Final = "https://app.kiro.dev"
AUTH_SERVICE_URL: Final = "https://prod.us-east-1.auth.desktop.kiro.dev"
BUILDER_ID_START_URL: Final = "https://view.awsapps.com/start"
BUILDER_ID_REGION: Final = "us-east-1"
SCOPES: Final = ("codewhisperer:completions", "codewhisperer:analysis", "codewhisperer:conversations")
KIRO_CLIENT_ID: Final = "Kiro-CLI"
SOCIAL_PROFILE_ARN: Final = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"
"""The profile of everybody who is told none."""
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
EXPIRY_SLACK: Final = 60
"""Seconds by which a token counts as expired before it is."""

# The same ten in both: the portal has a list of them, so there is no eleventh (Kiro#7220).
PORTS: Final = (3128, 4649, 6588, 8008, 9091, 49153, 50153, 51153, 52153, 53153)
OLD_LAUNCHER_PORTS: Final = (49153, 50153, 51153, 52153, 53153, 4649, 6588, 9091, 8008, 3128)

SLICE: Final = 0.1
"""Seconds that one wait lasts at most: a signal that comes just as it begins does not interrupt it."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
ERASE_LINE: Final = "\x1b[2K"
# What is left out without colours. anstream does it for stdout; dialoguer's erasing on stderr stays.
_COLOURS: Final = {1: re.compile(r"\x1b\[[0-9;]*[mK]"), 2: re.compile(r"\x1b\[[0-9;]*m")}


# --- What is imitated -------------------------------------------------------------------------------------------------


class Edition(NamedTuple):
    """Which release of which of the two binaries this run imitates."""

    text: str
    numbers: tuple[int, ...]
    is_launcher: bool
    """`kiro-cli` itself; else `kiro-cli-chat`, which has the same commands in other words."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Edition:
        """What the environment asks for."""
        text = environ.get("KIRO_STANDIN_VERSION") or DEFAULT_VERSION
        numbers = tuple(int(number) for number in re.findall(r"\d+", text)[:3])
        return cls(text, numbers, environ.get("KIRO_STANDIN_BINARY", "launcher") != "chat")

    def since(self, *numbers: int) -> bool:
        """Whether it is that release or a later one."""
        return self.numbers >= numbers

    @property
    def era(self) -> int:
        """1: no social sign-in on a remote; 2: with a forwarded port (1.24); 3: by device code (2.1)."""
        return 3 if self.since(2, 1) else 2 if self.since(1, 24) else 1

    @property
    def ports(self) -> tuple[int, ...]:
        """The callback ports in the order in which they are tried.

        The launcher began at 49153 and was seen at 3128 from 1.26.2 on (Kiro#6113, #6255, #9964).
        """
        return OLD_LAUNCHER_PORTS if self.is_launcher and not self.since(1, 26) else PORTS


class CliError(Exception):
    """Ends the command with `error: <message>` on stderr and status 1."""


class PanicError(Exception):
    """Nobody reads the output any more, and Rust's println! panics."""


class UsageError(Exception):
    """Ends the command with this text on stderr and status 2, as clap does."""


# --- The test log -----------------------------------------------------------------------------------------------------


class EventLog:
    """What happened, one JSON object a line, for tests. It holds codes and states: it is no log for people."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def write(self, event: str, **fields: object) -> None:
        """Append one event. Each is one write to a file in append mode, so processes may share the file."""
        if not self._path:
            return
        line = json.dumps({"event": event, **fields}) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


# --- The terminal -----------------------------------------------------------------------------------------------------


class Console:
    """stdout and stderr. Colours vanish where there is no terminal; moving and hiding the cursor does not."""

    def __init__(self, environ: Mapping[str, str], edition: Edition) -> None:
        plain = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
        self._coloured = {fd: os.isatty(fd) and not plain for fd in (1, 2)}
        self._edition = edition

    def out(self, text: str = "", end: str = "\n") -> None:
        """Print on stdout."""
        self._write(1, text + end)

    def err(self, text: str = "", end: str = "\n") -> None:
        """Print on stderr."""
        self._write(2, text + end)

    def error(self, message: str, *, verbose: bool = False) -> None:
        """Print what ended the command; verbose, as a chain of causes."""
        label = paint("error:", "1;31" if self._edition.is_launcher else "31")
        self.err(f"{label} \n   0: {message}\n\nLocation:\n   unknown" if verbose else f"{label} {message}")

    def emphasis(self, text: str) -> str:
        """A code or a URL that somebody must read."""
        return paint(text, "1" if self._edition.is_launcher else "38;5;252")

    def command(self, text: str) -> str:
        """A command that somebody may type."""
        return paint(text, "35" if self._edition.is_launcher else "38;5;141")

    def spinner(self, text: str) -> Spinner:
        """Start a spinner with this text behind it."""
        return Spinner(self, text)

    def choose(self, prompt: str, items: Sequence[str]) -> int | None:
        """The index of what was chosen; None where nothing was.

        Without a terminal at stdout it is the first item, and nobody is told (KiroCrew#3221).
        """
        if not os.isatty(1):
            return 0
        if not os.isatty(2):
            raise CliError("Failed to choose")
        theme = Theme(self._edition)
        with Keyboard() as keyboard:
            self.err(f"{HIDE_CURSOR}{theme.prompt(prompt)}")
            chosen = self._pick(keyboard, theme, items)
        self._erase(len(items) + 1)
        answer = "" if chosen is None else f"{theme.answer(prompt, items[chosen])}\n"
        self.err(f"{answer}{SHOW_CURSOR}", end="")
        return chosen

    def _pick(self, keyboard: Keyboard, theme: Theme, items: Sequence[str]) -> int | None:
        active = 0
        while True:
            self.err("\n".join(theme.item(item, active=row == active) for row, item in enumerate(items)))
            key = keyboard.read()
            if key in Keyboard.DONE:
                return active if key in ("enter", " ") else None
            active = (active + Keyboard.STEPS.get(key, 0)) % len(items)
            self._erase(len(items))

    def ask(self, prompt: str, initial: str) -> str:
        """A line of text, which begins as `initial`. Without a terminal at stdout it is empty, whatever it began as."""
        if not os.isatty(1):
            return ""
        if not os.isatty(2):
            raise CliError("IO error: not a terminal")
        theme = Theme(self._edition)
        with Keyboard() as keyboard:
            self.err(f"{theme.prompt(prompt)} {initial}", end="")
            text = self._edit(keyboard, initial)
        self.err(f"\r{ERASE_LINE}{theme.answer(prompt, text)}")
        return text

    def _edit(self, keyboard: Keyboard, text: str) -> str:
        # An empty line is no answer.
        while (key := keyboard.read()) != "enter" or not text:
            if key == "interrupt":
                raise CliError("IO error: read interrupted")
            if key == "backspace" and text:
                text = text[:-1]
                self.err("\b \b", end="")
            elif len(key) == 1:
                text += key
                self.err(key, end="")
        return text

    def _erase(self, lines: int) -> None:
        """Erase these many lines, and stand where the first of them was."""
        self.err(f"\x1b[{lines}A" + f"\r{ERASE_LINE}\x1b[1B" * lines + f"\x1b[{lines}A", end="")

    def _write(self, fd: int, text: str) -> None:
        data = (text if self._coloured[fd] else _COLOURS[fd].sub("", text)).encode()
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError as exc:
            raise PanicError(f"failed printing: {exc.strerror}") from exc


def paint(text: str, code: str) -> str:
    """The text in a colour (ECMA-48's SGR)."""
    return f"\x1b[{code}m{text}\x1b[0m"


class Theme:
    """How dialoguer's prompts look in each of the binaries."""

    def __init__(self, edition: Edition) -> None:
        self._is_launcher = edition.is_launcher

    def prompt(self, text: str) -> str:
        """The question. The chat binary has blanked the signs around it."""
        return f"{paint('?', '35')} {paint(text, '1')} {paint('›', '90')}" if self._is_launcher else f" {text} "

    def item(self, text: str, *, active: bool) -> str:
        """A row of a menu."""
        if not active:
            return f"  {text}"
        return paint(f"❯ {text}", "35" if self._is_launcher else "1;38;5;141")

    def answer(self, prompt: str, text: str) -> str:
        """What stands there once it is answered."""
        return f"{paint('✔', '32')} {paint(prompt, '1')} {paint('·', '90')} {paint(text, '32')}"


class Keyboard:
    """Keys, one at a time: from stdin where that is a terminal, else from /dev/tty. What is piped in is no key.

    While it is entered the terminal gives each key at once and shows none. Ctrl-C is a key here, and no signal.
    """

    DONE: Final = ("enter", " ", "escape", "q", "interrupt")
    """The keys that end a menu."""
    STEPS: Final = {"down": 1, "\t": 1, "j": 1, "up": -1, "backtab": -1, "k": -1}
    _NAMES: Final = {b"\r": "enter", b"\n": "enter", b"\x03": "interrupt", b"\x7f": "backspace", b"\x08": "backspace"}
    _SEQUENCES: Final = {b"[A": "up", b"[B": "down", b"[Z": "backtab", b"": "escape"}

    _REST_S: Final = 0.05
    """Seconds for the rest of a key's sequence to come."""

    def __init__(self) -> None:
        try:
            self._fd = 0 if os.isatty(0) else os.open("/dev/tty", os.O_RDWR)
        except OSError as exc:
            raise CliError(f"IO error: {exc.strerror} (os error {exc.errno})") from exc

    def __enter__(self) -> Keyboard:
        import termios

        self._before = termios.tcgetattr(self._fd)
        settings = termios.tcgetattr(self._fd)
        settings[0] &= ~termios.ICRNL
        settings[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        # TCSADRAIN keeps what was typed ahead.
        termios.tcsetattr(self._fd, termios.TCSADRAIN, settings)
        return self

    def __exit__(self, *exc: object) -> None:
        import termios

        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def read(self) -> str:
        """A character, or the name of a key; empty for a key without a name here."""
        try:
            return self._key()
        except OSError as exc:
            raise CliError(f"IO error: {exc.strerror} (os error {exc.errno})") from exc

    def _key(self) -> str:
        data = os.read(self._fd, 1)
        if not data:
            raise CliError("IO error: unexpected end of file")
        if data == b"\x1b":
            return self._SEQUENCES.get(self._rest_of_sequence(), "")
        if data[0] >= 0xC0:
            data += os.read(self._fd, 1 + (data[0] >= 0xE0) + (data[0] >= 0xF0))
        return self._NAMES.get(data) or data.decode("utf-8", "replace")

    def _rest_of_sequence(self) -> bytes:
        import select

        rest = b""
        # What does not come with the Esc does not belong to it; a network may bring it in two pieces.
        while len(rest) < 2 and select.select([self._fd], [], [], self._REST_S)[0]:
            rest += os.read(self._fd, 1)
        return rest


def start_thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    """Start a thread that no signal is delivered to.

    Python runs handlers in the main thread. Where another one takes the signal, the main thread sleeps on.
    """
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class Spinner:
    """A line that is written anew ten times a second, on stdout, terminal or not. Use it as a context manager."""

    FRAMES: Final = ("▰▱▱▱▱▱▱", "▰▰▱▱▱▱▱", "▰▰▰▱▱▱▱", "▰▰▰▰▱▱▱", "▰▰▰▰▰▱▱", "▰▰▰▰▰▰▱", "▰▰▰▰▰▰▰", "▰▱▱▱▱▱▱")
    INTERVAL: Final = 0.1

    def __init__(self, console: Console, text: str) -> None:
        self._console = console
        self._text = text
        self._stopped = threading.Event()

    def __enter__(self) -> Spinner:
        self._console.out(HIDE_CURSOR, end="")
        self._thread = start_thread(self._spin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped.is_set():
            self._end()
            # The text stays without a newline, so what is printed next is glued to it (Kiro#3963, #6255).
            self._console.out(f"{ERASE_LINE}\r{self._text}", end="")

    def stop(self) -> None:
        """Stop, and leave the last frame standing without a newline."""
        self._end()

    def stop_with_message(self, message: str) -> None:
        """Stop, and put a line in its place."""
        self._end()
        self._console.out(f"{ERASE_LINE}\r{message}")

    def _end(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._console.out(f"\r{self.FRAMES[0]}{self._text}{SHOW_CURSOR}", end="")

    def _spin(self) -> None:
        number = 0
        # Without a reader the real one goes on silently: its thread is lost, not the login.
        with contextlib.suppress(PanicError):
            while not self._stopped.is_set():
                self._console.out(f"\r{self.FRAMES[number % len(self.FRAMES)]}{self._text}", end="")
                number += 1
                self._stopped.wait(self.INTERVAL)


# --- The loopback -----------------------------------------------------------------------------------------------------


class Listener:
    """A listening socket on 127.0.0.1."""

    def __init__(self, sock: socket.socket, port: int, claim: Path | None) -> None:
        self.socket = sock
        self.port = port
        """The number that others connect to."""
        self._claim = claim

    def close(self) -> None:
        """Listen no more."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.unlink(missing_ok=True)
        self.socket.close()


class Loopback:
    """Where 127.0.0.1 is: this machine's own, or a directory that stands for one.

    There, listening on 127.0.0.1:P means to listen on a free port E and to make the file `127.0.0.1:P` with `E PID\\n`.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._listeners: list[Listener] = []

    def listen(self, port: int) -> Listener:
        """Listen on 127.0.0.1, with 0 on any port; OSError where the port is in use."""
        import socket

        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # tokio sets it too: connections that linger in TIME_WAIT do not block the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0 if self._directory else port))
            sock.listen(1024)
            real = int(sock.getsockname()[1])
            port = port or (_free_port() if self._directory else real)
            listener = Listener(sock, port, self._claim(port, real))
        except OSError:
            sock.close()
            raise
        self._listeners.append(listener)
        return listener

    def close(self) -> None:
        """Close every listener."""
        while self._listeners:
            self._listeners.pop().close()

    def _claim(self, port: int, real: int) -> Path | None:
        if not self._directory:
            return None
        path = Path(self._directory, f"127.0.0.1:{port}")
        if _is_stale(path):
            path.unlink(missing_ok=True)
        # Written aside, then linked: who sees the name sees its line, and link() refuses a taken one as O_EXCL does.
        draft = Path(self._directory, f".claim-{os.getpid()}-{real}")
        draft.write_text(f"{real} {os.getpid()}\n", encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
        finally:
            draft.unlink(missing_ok=True)
        return path


def _free_port() -> int:
    """A port that nobody has; not the one that we listen on in truth, which the tunnel could not have as well."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _is_stale(path: Path) -> bool:
    """Whether the process that listens according to this file is gone."""
    try:
        os.kill(int(path.read_text(encoding="ascii").split()[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return False


# --- The callback listener --------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """What is looked at of an HTTP request."""

    method: str
    path: str
    query: str | None
    keeps_alive: bool


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Callback(NamedTuple):
    """The request that ended the wait: its path and its query's parameters."""

    path: str
    params: dict[str, str]


class Verdict(NamedTuple):
    """What a request leads to."""

    reply: Reply | None
    """None drops the connection without an answer."""
    callback: Callback | None = None


class Rules(NamedTuple):
    """How a leg of the login listens."""

    leg: str
    budget: int
    """TCP connections that are accepted in all; then the listener is closed, whatever came over them."""
    keep_alive: bool
    timeout: float
    """Seconds, from when the opener returned."""
    grace: float
    """Seconds that the answer of a good callback has to reach the browser."""
    timeout_message: str
    closed_message: str
    """The error when every accepted connection was closed without a callback."""


class CallbackServer:
    """Accepts connections, while it is entered, until its budget of them is used up."""

    MAX_HEAD: Final = 64 * 1024

    def __init__(self, listener: Listener, rules: Rules, judge: Callable[[Request], Verdict], tools: Tools) -> None:
        self._listener = listener
        self._rules = rules
        self._judge = judge
        self._tools = tools
        self._changed = threading.Condition()
        self._callback: Callback | None = None
        self._senders = 1
        """Who may still bring a callback: the accepting thread and each open connection."""

    def __enter__(self) -> CallbackServer:
        import socket

        self._wake, woken = socket.socketpair()
        self._thread = start_thread(self._accept, woken)
        return self

    def __exit__(self, *exc: object) -> None:
        self._wake.close()
        self._thread.join()

    def callback(self) -> Callback:
        """The first callback, good or bad; CliError where none came."""
        deadline = time.monotonic() + self._rules.timeout
        with self._changed:
            while not self._callback:
                if not self._senders:
                    raise CliError(self._rules.closed_message)
                if time.monotonic() >= deadline:
                    raise CliError(self._rules.timeout_message)
                self._changed.wait(min(SLICE, max(0.0, deadline - time.monotonic())))
            return self._callback

    def _accept(self, woken: socket.socket) -> None:
        import select

        try:
            # ValueError: the listener was closed by a signal, and has no file descriptor any more.
            with contextlib.suppress(OSError, ValueError):
                for number in range(1, self._rules.budget + 1):
                    if woken in select.select([self._listener.socket, woken], [], [])[0]:
                        break
                    connection, _ = self._listener.socket.accept()
                    self._tools.log.write("accepted", leg=self._rules.leg, n=number)
                    self._join()
                    start_thread(self._serve, connection)
        finally:
            self._listener.close()
            woken.close()
            self._leave()

    def _join(self) -> None:
        with self._changed:
            self._senders += 1

    def _leave(self) -> None:
        with self._changed:
            self._senders -= 1
            self._changed.notify_all()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                buffer = bytearray()
                while self._answer_one(connection, buffer):
                    pass
        finally:
            self._leave()

    def _answer_one(self, connection: socket.socket, buffer: bytearray) -> bool:
        """Read and answer a request; whether another one may follow."""
        head = _read_head(connection, buffer, self.MAX_HEAD)
        if head is None:
            return False
        request = _parse_head(head)
        if request is None:
            _send(connection, Reply(400), "GET", keeps_alive=False)
            return False
        self._tools.log.write(
            "request", leg=self._rules.leg, method=request.method, path=request.path, query=request.query
        )
        verdict = self._judge(request)
        keeps_alive = self._rules.keep_alive and request.keeps_alive
        reply = None if verdict.callback and self._tools.fault == "no-answer" else verdict.reply
        try:
            if reply is not None:
                _send(connection, reply, request.method, keeps_alive=keeps_alive)
        finally:
            if verdict.callback:  # after the answer: the login may end the process as soon as it knows
                with self._changed:
                    self._callback = self._callback or verdict.callback
                    self._changed.notify_all()
        return reply is not None and keeps_alive


def _read_head(connection: socket.socket, buffer: bytearray, limit: int) -> bytes | None:
    """A request's head and, dropped, its body; None where the other side is done or says too much."""
    while b"\r\n\r\n" not in buffer:
        data = connection.recv(65536)
        if not data or len(buffer) > limit:
            return None
        buffer += data
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    found = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head)
    missing = (int(found[1]) if found else 0) - len(rest)
    buffer[:] = rest[len(rest) + missing :] if missing < 0 else b""
    while missing > 0:
        data = connection.recv(min(missing, 65536))
        if not data:
            return None
        missing -= len(data)
    return head


def _parse_head(head: bytes) -> Request | None:
    """The request; None where it is no HTTP/1."""
    lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(
        r"([!-~]+) (?:https?://[^/?\s]*)?([/*][^ ?#]*)(?:\?([^ #]*))?(?:#[^ ]*)? HTTP/1\.([01])", lines[0]
    )
    if found is None:
        return None
    headers = [line.lower().partition(":") for line in lines[1:]]
    connection = ",".join(value for name, _, value in headers if name == "connection")
    chunked = any(name == "transfer-encoding" for name, _, _ in headers)
    wanted = "keep-alive" in connection if found[4] == "0" else "close" not in connection
    return Request(found[1], found[2], found[3], wanted and not chunked)


def _send(connection: socket.socket, reply: Reply, method: str, *, keeps_alive: bool) -> None:
    from http import HTTPStatus

    headers = [*reply.headers, ("content-length", str(len(reply.body)))]
    if not keeps_alive:
        headers.append(("connection", "close"))
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    connection.sendall(head + (b"" if method == "HEAD" else reply.body))


def parse_query(query: str, *, plus_is_space: bool) -> dict[str, str]:
    """The parameters: split at `&`, then at the first `=`; what has none is no parameter."""
    from urllib.parse import unquote

    pairs = [pair.split("=", 1) for pair in query.split("&") if "=" in pair]
    return {name: unquote(value.replace("+", " ") if plus_is_space else value) for name, value in pairs}


# --- HTTP, as a client ------------------------------------------------------------------------------------------------


class TransportError(Exception):
    """No answer came: name resolution, connection or TLS."""


class Answer(NamedTuple):
    """What a service answered."""

    status: int
    headers: Mapping[str, str]
    """By name in small letters."""
    text: str

    @property
    def is_good(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The object that it holds; without one, nothing."""
        try:
            value = json.loads(self.text)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def send(url: str, *, body: bytes | None = None, content_type: str = "", timeout: float = 30.0) -> Answer:
    """GET the URL, or POST the body to it; any status is an answer. TransportError where there is none."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request as HttpRequest
    from urllib.request import urlopen

    headers = {"User-Agent": "Kiro-CLI", **({"Content-Type": content_type} if content_type else {})}
    try:
        # The services' addresses are what the test or the demo says; a wrong scheme is its own mistake.
        with urlopen(HttpRequest(url, data=body, headers=headers), timeout=timeout) as reply:  # noqa: S310 - see above
            return Answer(reply.status, _lowered(reply.headers), reply.read().decode("utf-8", "replace"))
    except HTTPError as exc:
        with exc:
            return Answer(exc.code, _lowered(exc.headers), exc.read().decode("utf-8", "replace"))
    except (URLError, OSError, ValueError) as exc:
        raise TransportError(f"error sending request for url ({url})") from exc


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def post_json(url: str, fields: Mapping[str, object]) -> Answer:
    """POST a JSON object."""
    return send(url, body=json.dumps(fields).encode(), content_type="application/json")


def post_form(url: str, fields: Mapping[str, str]) -> Answer:
    """POST a form."""
    from urllib.parse import urlencode

    return send(url, body=urlencode(fields).encode(), content_type="application/x-www-form-urlencoded")


def percent_encode(text: str) -> str:
    """The text with everything but letters, digits and `-._~` escaped."""
    from urllib.parse import quote

    return quote(text, safe="")


# --- PKCE -------------------------------------------------------------------------------------------------------------


class Pkce(NamedTuple):
    """The secrets of one leg (RFC 7636)."""

    state: str
    verifier: str
    challenge: str

    @classmethod
    def new(cls) -> Pkce:
        """Ten letters and digits of state; 32 bytes of verifier, challenged by S256."""
        import base64
        import hashlib
        import secrets
        import string

        def encode(data: bytes) -> str:
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        state = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(10))
        verifier = encode(secrets.token_bytes(32))
        return cls(state, verifier, encode(hashlib.sha256(verifier.encode()).digest()))


# --- What is kept -----------------------------------------------------------------------------------------------------

SSO_TOKEN: Final = "kirocli:odic:token"  # noqa: S105 - the name of a key; its typo is the real one's
REGISTRATION: Final = "kirocli:odic:device-registration"
SOCIAL_TOKEN: Final = "kirocli:social:token"  # noqa: S105 - the name of a row
EXTERNAL_TOKEN: Final = "kirocli:external-idp:token"  # noqa: S105 - the name of a row
PROFILE: Final = "api.codewhisperer.profile"
START_URL: Final = "auth.idc.start-url"
REGION: Final = "auth.idc.region"


class Store:
    """A JSON file in the place of the real one's SQLite database, under the same keys."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        data = environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
        self.path = Path(data, "kiro-cli", "standin.json")

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._read().get(key)

    def update(self, changes: Mapping[str, object]) -> None:
        """Set these keys; None removes one."""
        values = {**self._read(), **changes}
        self._write({key: value for key, value in values.items() if value is not None})

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def _write(self, values: Mapping[str, object]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f".standin.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(values, indent=2), encoding="utf-8")
        draft.replace(self.path)


# --- The tools of a command -------------------------------------------------------------------------------------------


PANICKED: Final = 101
"""The exit status of a Rust program that has panicked."""
CRASHED: Final = 70
"""The exit status of the faults that end the program."""


class OpenerError(Exception):
    """The browser's opener is missing, or it said no."""


class Tools:
    """What every command works with: the environment, read once, and the objects made from it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.edition = Edition.of(environ)
        self.log = EventLog(environ.get("KIRO_STANDIN_LOG"))
        self.console = Console(environ, self.edition)
        self.loopback = Loopback(environ.get("KIRO_STANDIN_LOOPBACK"))
        self.store = Store(environ)
        self.fault = environ.get("KIRO_STANDIN_FAULT", "")
        self.portal_url = environ.get("KIRO_AUTH_PORTAL_URL") or PORTAL_URL
        self._scale = float(environ.get("KIRO_STANDIN_TIMEOUT_SCALE") or 1)
        self._interrupt_exits = False

    def seconds(self, timeout: float) -> float:
        """One of the login's timeouts, as this run wants it."""
        return timeout * self._scale

    def open_browser(self, url: str, leg: str) -> None:
        """Run the opener, and wait for its end and for the end of both of its pipes; OpenerError where it failed.

        Whoever keeps one of the pipes open, such as a browser in the foreground, blocks the login here (Kiro#9964).
        """
        self.die_if("die-before-open")
        opener = "wslview" if in_wsl(self.environ) else "xdg-open"
        self.log.write("opener", leg=leg, url=url)
        try:
            status = _run_opener(opener, url)
        except OSError as exc:
            raise OpenerError(f"{exc.strerror} (os error {exc.errno})") from exc
        self.log.write("opener_done", leg=leg, status=status)
        self.die_if("die-after-open")
        if status != 0:
            raise OpenerError("Failed to open URL")

    def die_if(self, fault: str) -> None:
        """End at once, without a word, if this is the fault that was asked for."""
        if self.fault == fault:
            self.end_at_once(CRASHED)

    def end_at_once(self, status: int) -> NoReturn:
        """End without any tidying but that of the loopback's directory."""
        self.loopback.close()
        self.log.write("exit", code=status)
        os._exit(status)

    def obey_signals(self) -> None:
        """Be killed by signals as any program, but leave no file in the loopback's directory."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextlib.contextmanager
    def exit_on_interrupt(self) -> Iterator[None]:
        """Exit with 1 on Ctrl-C, for as long as this is entered; else it kills, and the cursor stays hidden."""
        self._interrupt_exits = True
        try:
            yield
        finally:
            self._interrupt_exits = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupt_exits:
            self.end_at_once(1)
        self.loopback.close()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def listen(self, leg: str, ports: Sequence[int]) -> Listener | None:
        """Listen on the first of these ports that is free; None where none is."""
        for port in ports:
            with contextlib.suppress(OSError):
                listener = self.loopback.listen(port)
                self.log.write("bound", leg=leg, port=listener.port)
                return listener
        return None

    def keep_token(self, kind: str, token: Mapping[str, object]) -> None:
        """Store a token that was just got."""
        self.store.update({kind: token})
        self.log.write("signed_in", kind=kind)

    def check_state(self, leg: str, expected: str, actual: str) -> None:
        """CliError where the callback belongs to another login. The first callback decides: there is no second try."""
        if actual == expected:
            self.log.write("callback_ok", leg=leg)
            return
        self.log.write("state_mismatch", leg=leg, expected=expected, actual=actual)
        if self.edition.is_launcher:
            raise CliError(f"OAuth error: OAuth state mismatch: expected={expected}, actual={actual}")
        raise CliError(f"OAuth state mismatch. Actual: {actual} | Expected: {expected}")


def _run_opener(opener: str, url: str) -> int:
    """The opener's status, once it has ended and both of its pipes have; OSError where it cannot be started."""
    import subprocess

    with subprocess.Popen([opener, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=SLICE)
                return process.returncode


def in_wsl(environ: Mapping[str, str]) -> bool:
    """Whether the kernel is WSL's. No variable can deny it (Kiro#11461), but for this stand-in's own."""
    try:
        path = Path(environ.get("KIRO_STANDIN_OSRELEASE") or "/proc/sys/kernel/osrelease")
        release = path.read_text(encoding="utf-8").lower()
    except OSError:
        return False
    return "microsoft" in release or "wsl" in release


def is_remote(tools: Tools) -> bool:
    """Whether the login takes itself for one on a remote machine. Empty variables count; containers are not noticed."""
    environ, edition = tools.environ, tools.edition
    names = ["SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "Q_FAKE_IS_REMOTE"]
    first_launcher = edition.is_launcher and edition.era == 1
    if not first_launcher:
        names.append("KIRO_FAKE_IS_REMOTE")
    in_cloudshell = first_launcher and environ.get("AWS_EXECUTION_ENV", "").strip().lower() == "cloudshell"
    return in_cloudshell or any(name in environ for name in names) or in_wsl(environ)


# --- Leg 1: the portal ------------------------------------------------------------------------------------------------

PORTAL_PATHS: Final = ("/oauth/callback", "/signin/callback")


class PortalLogin(NamedTuple):
    """A portal sign-in that waits for its callback."""

    listener: Listener
    pkce: Pkce
    url: str

    @classmethod
    def start(cls, tools: Tools) -> PortalLogin:
        """Bind the callback port; CliError where all ten are in use."""
        listener = tools.listen("portal", tools.edition.ports)
        if listener is None:
            raise CliError("OAuth error: All callback ports are in use. Please close some applications and try again.")
        pkce = Pkce.new()
        query = (
            f"state={pkce.state}&code_challenge={pkce.challenge}&code_challenge_method=S256"
            f"&redirect_uri={percent_encode(f'http://localhost:{listener.port}')}"
            f"{'&from_amazon_internal=true' if _is_installed(tools, 'mwinit') else ''}&redirect_from=kirocli"
        )
        return cls(listener, pkce, _portal_url(tools, query, listener.port))

    def wait(self, tools: Tools) -> Callback:
        """The callback of the portal, checked; CliError where it is not what it should be."""
        rules = _portal_rules(tools)
        if tools.fault == "never-accept":
            time.sleep(rules.timeout)
            raise CliError(rules.timeout_message)
        with CallbackServer(self.listener, rules, _PortalJudge(tools), tools) as server:
            callback = server.callback()
        time.sleep(rules.grace)
        tools.die_if("die-after-callback")
        tools.check_state("portal", self.pkce.state, callback.params.get("state", ""))
        if "error" in callback.params:
            raise CliError(_portal_error(callback.params))
        return callback


def _portal_url(tools: Tools, query: str, port: int) -> str:
    """Where the browser goes, or where the fault that was asked for sends it."""
    if tools.fault == "bad-scheme":
        return "file:///etc/passwd"
    if tools.fault == "huge-url":
        return f"{tools.portal_url}/signin?{query}&padding={'A' * 100_000}"
    if tools.fault == "not-listening":
        other = PORTS[PORTS.index(port) - 1]
        query = query.replace(f"%3A{port}&", f"%3A{other}&")
    hosts = {"private-host": "https://192.168.1.1", "unknown-host": "https://sign-in.example.net"}
    return f"{hosts.get(tools.fault, tools.portal_url)}/signin?{query}"


def _is_installed(tools: Tools, program: str) -> bool:
    directories = tools.environ.get("PATH", "").split(os.pathsep)
    return any(os.access(Path(directory, program), os.X_OK) for directory in directories if directory)


def _portal_rules(tools: Tools) -> Rules:
    modern = tools.edition.since(1, 26)
    return Rules(
        leg="portal",
        budget=3,
        keep_alive=not modern,
        timeout=tools.seconds(600),
        grace=0.2 if modern else 0,
        timeout_message="OAuth error: Auth portal timed out"
        if tools.edition.is_launcher
        else "Timeout waiting for authentication to complete",
        closed_message="OAuth error: Failed to receive callback",
    )


class _PortalJudge:
    """Answers the requests of the portal's leg."""

    def __init__(self, tools: Tools) -> None:
        self._portal = tools.portal_url
        self._plus_is_space = tools.edition.since(1, 26)

    def __call__(self, request: Request) -> Verdict:
        if request.path not in PORTAL_PATHS:
            return Verdict(self._redirect("Invalid callback path"))
        if request.query is None:
            return Verdict(None)
        params = parse_query(request.query, plus_is_space=self._plus_is_space)
        problem = params.get("error_description", params.get("error"))
        # The state is not looked at yet: a stranger's callback is told `success`, and then ends the login.
        return Verdict(self._redirect(problem if "error" in params else None), Callback(request.path, params))

    def _redirect(self, problem: str | None) -> Reply:
        status = "success" if problem is None else "error"
        url = f"{self._portal}/signin?auth_status={status}&redirect_from=kirocli"
        if problem is not None:
            url += f"&error_message={percent_encode(problem)}"
        return Reply(302, (("location", url), ("cache-control", "no-store")))


def _portal_error(params: Mapping[str, str]) -> str:
    """What a callback with an `error` says to the person."""
    provider, code = params.get("login_option", ""), params["error"]
    described = params.get("error_description", "").split(";")[0].replace("+", " ").strip()
    sentences = {
        "access_denied": f"{provider} denied access to Kiro. Please ensure you grant all required permissions.",
        "invalid_request": "Authentication failed due to an invalid request. Please try again.",
        "unauthorized_client": "The application is not authorized. Please contact support.",
        "server_error": f"{provider} login is temporarily unavailable. Please try again later.",
        "invalid_scope": "The requested permissions are invalid. Please contact support.",
    }
    sentence = sentences.get(code) or described or f"Authentication failed: {code}. Please try again."
    return f"{'Authentication failed' if provider in PROVIDERS else 'OAuth error'}: {sentence}"


# --- Leg 2: the identity provider -------------------------------------------------------------------------------------

FINAL_PAGE: Final = b"<!doctype html><title>Kiro CLI</title><h1>You can close this window</h1>\n"


class _IdentityProviderJudge:
    """Answers the requests of a second leg."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, request: Request) -> Verdict:
        if request.path == "/index.html":
            return Verdict(Reply(200, (("content-type", "text/html"), ("connection", "close")), FINAL_PAGE))
        if request.path not in ("/oauth/callback", "/oauth/callback/"):
            return Verdict(Reply(404))
        params = parse_query(request.query or "", plus_is_space=False)
        if "error" in params:
            problem = f"?error={percent_encode(params['error'])}"
        else:
            problem = "" if {"code", "state"} <= params.keys() else "?error=missing_parameters"
        # 127.0.0.1, even where the redirect URI said localhost.
        location = f"http://127.0.0.1:{self._port}/index.html{problem}"
        return Verdict(Reply(302, (("location", location),)), Callback(request.path, params))


def wait_for_code(tools: Tools, listener: Listener, rules: Rules, state: str) -> str:
    """The authorization code of a second leg; CliError where the callback is not what it should be."""
    with CallbackServer(listener, rules, _IdentityProviderJudge(listener.port), tools) as server:
        params = server.callback().params
        if "error" in params:
            raise CliError(f"OAuth error: {params['error']}: {params.get('error_description', '')}")
        if not {"code", "state"} <= params.keys():
            raise CliError("OAuth error: Missing code or state")
        tools.check_state(rules.leg, state, params["state"])
        # Until here the listener is open, for the page that the browser was sent to.
        time.sleep(rules.grace)
    return params["code"]


# --- Google and GitHub ------------------------------------------------------------------------------------------------

PROVIDERS: Final = {"google": "Google", "github": "GitHub"}


def auth_service(tools: Tools) -> str:
    """Where Kiro's own auth service is. The settings of the directory one works in can redirect it (2.1)."""
    if not tools.edition.is_launcher and tools.edition.since(2, 1):
        for directory in (Path.cwd(), Path.home()):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                text = (directory / ".kiro/settings/cli.json").read_text(encoding="utf-8")
                return str(json.loads(text)["api.kiroauth.service"])
    return (tools.environ.get("KIROTUNNEL_AUTH_SERVICE_URL") or AUTH_SERVICE_URL).rstrip("/")


def exchange_social_code(tools: Tools, login: PortalLogin, callback: Callback) -> str:
    """Turn the portal's code into a stored token; the provider."""
    provider = callback.params["login_option"]
    if "code" not in callback.params:
        raise CliError("No code received on redirect")
    # The path is the callback's, and the login option stands there, too; the code is bound to exactly this (Kiro#6113).
    redirect_uri = f"http://localhost:{login.listener.port}{callback.path}?login_option={percent_encode(provider)}"
    fields = {"code": callback.params["code"], "code_verifier": login.pkce.verifier, "redirect_uri": redirect_uri}
    answer = call_auth_service(tools, "/oauth/token", fields)
    if not answer.is_good:
        if tools.edition.is_launcher:
            raise CliError(f"OAuth error: Token exchange failed: HTTP {answer.status} - {answer.text}")
        raise CliError(f"Authentication failed: Token exchange failed: {answer.text}")
    tools.keep_token(SOCIAL_TOKEN, social_token(tools, provider, answer.json()))
    return provider


def call_auth_service(tools: Tools, path: str, fields: Mapping[str, object]) -> Answer:
    """Make one call; CliError where no answer comes."""
    try:
        return post_json(f"{auth_service(tools)}{path}", fields)
    except TransportError as exc:
        raise CliError(str(exc)) from exc


def social_token(tools: Tools, provider: str, answer: Mapping[str, Any]) -> dict[str, object]:
    """The token that the auth service answered; CliError where it names no profile (1.28.3)."""
    if not answer.get("profileArn") and tools.edition.since(1, 28, 3):
        raise CliError("Social login failed: no profile ARN returned by the auth service")
    return {
        "access_token": answer.get("accessToken"),
        "expires_at": expiry(answer.get("expiresIn")),
        "refresh_token": answer.get("refreshToken"),
        "provider": provider,
        "profile_arn": answer.get("profileArn"),
        "email": answer.get("email"),
    }


def expiry(seconds: object) -> float:
    """When a token expires that lives for these many seconds, a number or a text with one; an hour is supposed."""
    try:
        return time.time() + float(str(seconds))
    except ValueError:
        return time.time() + 3600


def sign_in_by_kiro_device(tools: Tools, provider: str) -> None:
    """Kiro's own device flow for Google and GitHub (2.1): no port, and the first bad answer ends it."""
    console, name = tools.console, PROVIDERS[provider]
    fields = {"clientId": KIRO_CLIENT_ID, "loginProvider": {"github": "Github"}.get(provider, name)}
    answer = call_auth_service(tools, "/oauth/device/authorization", fields)
    if not answer.is_good:
        raise CliError(f"Authentication failed: Device authorization failed: HTTP {answer.status} - {answer.text}")
    device = answer.json()
    console.out()
    console.out(f"To sign in with {name}, visit:")
    console.out(f"  {console.emphasis(str(device.get('verificationUriComplete')))}")
    console.out()
    console.out(f"And confirm the code: {console.emphasis(str(device.get('userCode')))}")
    console.out()
    with tools.exit_on_interrupt(), console.spinner(" Waiting for authorization...") as spinner:
        token = _poll_kiro_device(tools, device)
        tools.keep_token(SOCIAL_TOKEN, social_token(tools, provider, token))
        spinner.stop_with_message(f"Signed in with {name}")


def _poll_kiro_device(tools: Tools, device: Mapping[str, Any]) -> dict[str, Any]:
    """The answer that holds the tokens; CliError where it does not come."""
    deadline = time.monotonic() + float(device.get("expiresInMilliseconds") or 300_000) / 1000
    interval = max(float(device.get("intervalInMilliseconds") or 0), 1000) / 1000
    fields = {"deviceCode": device.get("deviceCode"), "clientId": KIRO_CLIENT_ID}
    status = "authorization_pending"
    while status == "authorization_pending" and time.monotonic() < deadline:
        time.sleep(interval)
        answer = call_auth_service(tools, "/oauth/device/poll", fields)
        if not answer.is_good:
            raise CliError(f"Device flow error: HTTP {answer.status}: {answer.text}")
        status = str(answer.json().get("status"))
        if status == "authorized":
            return {"profileArn": SOCIAL_PROFILE_ARN, "expiresIn": 3600, **answer.json()}
    if status in ("authorization_pending", "expired_token"):
        raise CliError("Device code expired. Please try again.")
    raise CliError(f"Device flow error: {status}")


# --- Builder ID and IAM Identity Center -------------------------------------------------------------------------------


class SsoClient:
    """Calls AWS's SSO OIDC service, and keeps what it answers."""

    ATTEMPTS: Final = 3
    """Of each call, as the SDK makes them when the service fails or no answer comes."""

    def __init__(self, tools: Tools, start_url: str | None, region: str | None) -> None:
        self._tools = tools
        self._start_url = start_url
        self._region = BUILDER_ID_REGION if region is None else region
        custom = tools.environ.get("AWS_ENDPOINT_URL_SSO_OIDC")
        self._endpoint = (custom or f"https://oidc.{self._region}.amazonaws.com").rstrip("/")

    def authorize_url(self, registration: Mapping[str, Any], redirect_uri: str, pkce: Pkce) -> str:
        """Where the browser goes. The parameter is called `scopes` here."""
        base = (self._tools.environ.get("KIRO_STANDIN_SSO_AUTHORIZE_BASE") or self._endpoint).rstrip("/")
        parameters = {
            "response_type": "code",
            "client_id": str(registration["client_id"]),
            "redirect_uri": redirect_uri,
            "scopes": " ".join(SCOPES),
            "state": pkce.state,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
        }
        query = "&".join(f"{name}={_escape_all(value)}" for name, value in parameters.items())
        return f"{base}/authorize?{query}"

    def register(self, redirect_uri: str | None = None) -> dict[str, Any]:
        """A client: for the browser with its redirect URI, else for device codes. Those are kept and used again."""
        kept = self._tools.store.get(REGISTRATION) or {}
        if redirect_uri is None and self._fits(kept):
            return dict(kept)
        fields: dict[str, object] = {"clientName": self._client_name(), "clientType": "public", "scopes": SCOPES}
        if redirect_uri is not None:
            fields["issuerUrl"] = self._start_url or BUILDER_ID_START_URL
            fields["redirectUris"] = [redirect_uri]
            fields["grantTypes"] = ["authorization_code", "refresh_token"]
        answer = self.call("/client/register", fields).json()
        registration = {
            "client_id": answer.get("clientId"),
            "client_secret": answer.get("clientSecret"),
            "client_secret_expires_at": answer.get("clientSecretExpiresAt"),
            "region": self._region,
            "oauth_flow": self._flow(redirect_uri),
            "scopes": list(SCOPES),
        }
        self._tools.store.update({REGISTRATION: registration})
        return registration

    def start_device(self, registration: Mapping[str, Any]) -> dict[str, Any]:
        """A device code for the start URL."""
        start_url = self._start_url or BUILDER_ID_START_URL
        return self.call("/device_authorization", {**_secrets(registration), "startUrl": start_url}).json()

    def create_token(self, registration: Mapping[str, Any], grant: Mapping[str, object]) -> dict[str, object]:
        """A token for a grant; PendingError where a device code is not confirmed yet."""
        answer = self.call("/token", {**_secrets(registration), **grant}).json()
        return {
            "access_token": answer.get("accessToken"),
            "expires_at": expiry(answer.get("expiresIn")),
            "refresh_token": answer.get("refreshToken"),
            "region": self._region,
            "start_url": self._start_url,
            "oauth_flow": registration["oauth_flow"],
            "scopes": list(SCOPES),
            "email": answer.get("email"),
        }

    def call(self, path: str, fields: Mapping[str, object]) -> Answer:
        """Make one call; CliError in the words of the binary where it fails."""
        if not self._region:
            # What an unanswered prompt leads to (Kiro#6120); the later words are those of 2.22.
            late = self._tools.edition.since(2, 22)
            raise CliError("invalid value for field: region" if late else "dispatch failure")
        for attempt in range(1, self.ATTEMPTS + 1):
            with contextlib.suppress(TransportError):
                answer = post_json(f"{self._endpoint}{path}", fields)
                if answer.is_good:
                    return answer
                if answer.status < 500 or attempt == self.ATTEMPTS:
                    raise self._service_error(answer)
            if attempt < self.ATTEMPTS:
                time.sleep(0.1 * 2**attempt)
        raise CliError("dispatch failure")

    def _service_error(self, answer: Answer) -> ServiceError:
        shape = (answer.headers.get("x-amzn-errortype") or "").partition(":")[0]
        if shape == "AuthorizationPendingException":
            return PendingError(shape, "Nobody has confirmed the device code yet")
        described = answer.json().get("error_description")
        message = f"{shape}: {described}" if described else shape
        return ServiceError(shape, "service error" if self._tools.edition.is_launcher else message or "service error")

    def _client_name(self) -> str:
        early = self._tools.edition.is_launcher and not self._tools.edition.since(1, 24)
        return "Amazon Q Developer for command line" if early else "Kiro CLI"

    def _flow(self, redirect_uri: str | None) -> str:
        if redirect_uri is None:
            return "DeviceCode"
        return "PKCE" if self._tools.edition.is_launcher else "Pkce"

    def _fits(self, kept: Mapping[str, Any]) -> bool:
        same = kept.get("region") == self._region and kept.get("oauth_flow") == "DeviceCode"
        return same and float(kept.get("client_secret_expires_at") or 0) > time.time() + EXPIRY_SLACK


class ServiceError(CliError):
    """The service answered, with an error."""

    def __init__(self, shape: str, message: str) -> None:
        super().__init__(message)
        self.shape = shape


class PendingError(ServiceError):
    """Nobody has confirmed the device code yet."""


def _secrets(registration: Mapping[str, Any]) -> dict[str, object]:
    return {"clientId": registration.get("client_id"), "clientSecret": registration.get("client_secret")}


def _escape_all(text: str) -> str:
    """Percent-encoding of everything that is no letter and no digit."""
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)


def sso_rules(tools: Tools) -> Rules:
    """One connection, three minutes. 1.26 gave the browser more time for the last page."""
    launcher, modern = tools.edition.is_launcher, tools.edition.since(1, 26)
    return Rules(
        leg="sso",
        budget=1,
        keep_alive=True,
        timeout=tools.seconds(180),
        grace=0.5 if modern else 0.2,
        timeout_message="Timeout waiting for authentication to complete",
        # One silent connection of a browser is enough for this (aws/amazon-q-developer-cli#2750).
        closed_message="No code received on redirect"
        if launcher or not modern
        else "OAuth error: Callback channel closed",
    )


def sign_in_by_sso(tools: Tools, start_url: str, region: str) -> None:
    """Leg 2 of Builder ID and IAM Identity Center: in the browser, or by device code where there is no opener."""
    client = SsoClient(tools, start_url, region)
    listener = tools.listen("sso", [0])
    if listener is None:
        raise CliError("OAuth error: All callback ports are in use")
    redirect_uri = f"http://127.0.0.1:{listener.port}/oauth/callback"
    pkce = Pkce.new()
    registration = client.register(redirect_uri)
    try:
        tools.open_browser(client.authorize_url(registration, redirect_uri, pkce), "sso")
    except OpenerError:
        listener.close()
        sign_in_by_device(tools, start_url, region)
        return
    with tools.exit_on_interrupt(), tools.console.spinner(" Logging in...") as spinner:
        code = wait_for_code(tools, listener, sso_rules(tools), pkce.state)
        grant = {"grantType": "authorization_code", "code": code, "codeVerifier": pkce.verifier}
        token = client.create_token(registration, {**grant, "redirectUri": redirect_uri})
        tools.keep_token(SSO_TOKEN, token)
        spinner.stop_with_message("Device authorized" if tools.edition.is_launcher else "Logged in")


def sign_in_by_device(tools: Tools, start_url: str | None, region: str | None) -> None:
    """AWS's device flow (RFC 8628)."""
    console = tools.console
    client = SsoClient(tools, start_url, region)
    registration = client.register()
    device = client.start_device(registration)
    console.out()
    console.out("Confirm the following code in the browser")
    console.out(f"Code: {console.emphasis(str(device.get('userCode')))}")
    console.out()
    _show_device_url(tools, str(device.get("verificationUriComplete")))
    with tools.exit_on_interrupt(), console.spinner(" Logging in...") as spinner:
        try:
            tools.keep_token(SSO_TOKEN, _poll_sso_device(client, registration, device))
        except CliError:
            spinner.stop()
            raise
        spinner.stop_with_message("Device authorized" if tools.edition.is_launcher else "Logged in")


def _poll_sso_device(
    client: SsoClient, registration: Mapping[str, Any], device: Mapping[str, Any]
) -> dict[str, object]:
    """The token, once the code is confirmed. Anything but `pending` is final, SlowDown too."""
    grant = {"grantType": DEVICE_CODE_GRANT, "deviceCode": device.get("deviceCode")}
    while True:
        time.sleep(float(device.get("interval") or 1))
        with contextlib.suppress(PendingError):
            return client.create_token(registration, grant)


def _show_device_url(tools: Tools, url: str) -> None:
    # Outside of SSH an opener that exits 0 is believed, and nobody is told the URL (Kiro#10975, #10817).
    if not is_remote(tools):
        with contextlib.suppress(OpenerError):
            tools.open_browser(url, "device")
            return
    tools.console.out(f"Open this URL: {url}")


# --- External identity providers --------------------------------------------------------------------------------------


def sign_in_by_external_idp(tools: Tools, portal: Callback, portal_port: int) -> None:
    """Leg 2 of an organization's own identity provider (1.26.1): OpenID Connect, on another port of the ten."""
    issuer, client_id, scopes = (_required(portal.params, name) for name in ("issuer_url", "client_id", "scopes"))
    discovery = _discover(issuer)
    listener = tools.listen("external-idp", [port for port in tools.edition.ports if port != portal_port])
    if listener is None:
        raise CliError("OAuth error: All callback ports are in use")
    redirect_uri = f"http://localhost:{listener.port}/oauth/callback"
    pkce = Pkce.new()
    scope = scopes if "offline_access" in scopes.split() else f"{scopes} offline_access"
    parameters: dict[str, str] = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "state": pkce.state,
        "scope": scope,
        **{name: portal.params[name] for name in ("login_hint", "audience") if name in portal.params},
    }
    query = "&".join(f"{name}={percent_encode(value)}" for name, value in parameters.items())
    try:
        tools.open_browser(f"{discovery['authorization_endpoint']}?{query}", "external-idp")
    except OpenerError as exc:
        raise CliError(f"OAuth error: Failed to open browser: {exc}") from exc
    with tools.exit_on_interrupt(), tools.console.spinner(" Authenticating with External IdP...") as spinner:
        code = wait_for_code(tools, listener, external_rules(tools), pkce.state)
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "code_verifier": pkce.verifier,
        }
        token = {"issuer_url": issuer, "token_endpoint": discovery["token_endpoint"], "client_id": client_id}
        tools.keep_token(EXTERNAL_TOKEN, get_external_token(token, fields))
        spinner.stop_with_message("Logged in with External IdP")


def external_rules(tools: Tools) -> Rules:
    """Three connections, ten minutes."""
    return Rules(
        leg="external-idp",
        budget=3,
        keep_alive=True,
        timeout=tools.seconds(600),
        grace=0.5,
        timeout_message="Timeout waiting for authentication to complete",
        closed_message="OAuth error: Callback channel closed",
    )


def get_external_token(token: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, object]:
    """The token, with what its endpoint answers to this form of a public client; CliError where it refuses."""
    try:
        answer = post_form(str(token["token_endpoint"]), fields)
    except TransportError as exc:
        raise CliError(f"OAuth error: {exc}") from exc
    if not answer.is_good:
        raise RefusedError(f"OAuth error: Token exchange failed: {answer.text}")
    got = answer.json()
    return {
        **token,
        "access_token": got.get("access_token"),
        "expires_at": expiry(got.get("expires_in")),
        "refresh_token": got.get("refresh_token") or token.get("refresh_token"),
        "email": got.get("email") or token.get("email"),
    }


class RefusedError(CliError):
    """A token endpoint said no."""


def _discover(issuer: str) -> dict[str, str]:
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        answer = send(url)
    except TransportError as exc:
        raise CliError(f"OAuth error: {exc}") from exc
    if not answer.is_good:
        raise CliError(f"OAuth error: OIDC discovery failed: {answer.status}")
    found = {name: answer.json().get(name) for name in ("authorization_endpoint", "token_endpoint")}
    for name, value in found.items():
        if not isinstance(value, str):
            raise CliError(f"OAuth error: OIDC discovery failed: no {name}")
    return {name: str(value) for name, value in found.items()}


def _required(params: Mapping[str, str], name: str, kind: str = "external_idp") -> str:
    if name not in params:
        raise CliError(f"OAuth error: Missing {name} for {kind} auth")
    return params[name]


# --- Profiles ---------------------------------------------------------------------------------------------------------

SAMPLE_PROFILE: Final = ("Sample", "arn:aws:codewhisperer:us-east-1:000000000000:profile/SAMPLE")


class Profile(NamedTuple):
    """What an organization gives its people."""

    name: str
    arn: str


def choose_profile(tools: Tools, *, always_ask: bool = False) -> None:
    """List the profiles, and keep the chosen one. The token is kept already, whatever happens here."""
    with tools.console.spinner(" Fetching profiles...") as spinner:
        listed = tools.environ.get("KIRO_STANDIN_PROFILES")
        profiles = [Profile(*row) for row in (json.loads(listed) if listed else [SAMPLE_PROFILE])]
        # The launcher of 1.20 goes on without a word; what its successors do was not seen.
        if not profiles and (tools.edition.since(1, 26) or not tools.edition.is_launcher):
            raise CliError("No profiles available. Please contact your administrator.")
        spinner.stop_with_message("")
    if not profiles:
        return
    asks = always_ask or len(profiles) > 1
    chosen = _ask_for_profile(tools, profiles) if asks else profiles[0]
    tools.store.update({PROFILE: {"profile_name": chosen.name, "arn": chosen.arn}})


def _ask_for_profile(tools: Tools, profiles: Sequence[Profile]) -> Profile:
    known = tools.store.get(PROFILE) or {}
    active = next((profile for profile in profiles if profile.arn == known.get("arn")), None)
    rows = [f"{profile.name} (arn: {profile.arn}){' (active)' * (profile is active)}" for profile in profiles]
    index = tools.console.choose("Select an IAM Identity Center profile", rows)
    launcher = tools.edition.is_launcher
    if index is None and launcher:
        raise CliError("No profile selected.")
    if index is None:
        which = "active profile" if active else "first profile"
        chosen = active or profiles[0]
        tools.console.err(f"No selection made, defaulting to {which}: {chosen.name}")
        return chosen
    tools.console.err(f"Set profile: {profiles[index].name}" if launcher else "Profile set")
    return profiles[index]


# --- Who is signed in -------------------------------------------------------------------------------------------------


class Account(NamedTuple):
    """Who is signed in, as whoami says it."""

    plain: str
    fields: dict[str, object]


def account(tools: Tools) -> Account | None:
    """Who is signed in: the first of the kinds that has a token, refreshed if it had expired."""
    for kind, describe in (
        (SSO_TOKEN, _sso_account),
        (SOCIAL_TOKEN, _social_account),
        (EXTERNAL_TOKEN, _external_account),
    ):
        token = live_token(tools, kind)
        if token:
            return _with_email(tools, describe(tools, token), token)
    # Refused by login since 1.27.3; whoami names it last.
    if tools.environ.get("KIRO_API_KEY"):
        return _with_email(tools, Account("Authenticated with API key", {"accountType": "ApiKey"}), {})
    return None


def _sso_account(tools: Tools, token: Mapping[str, Any]) -> Account:
    place = {"region": token["region"], "startUrl": token["start_url"]}
    if token["start_url"] in (None, BUILDER_ID_START_URL):
        return Account("Logged in with Builder ID", {"accountType": "BuilderId", **place})
    plain = f"Logged in with IAM Identity Center ({token['start_url']})"
    return Account(plain, {"accountType": "IamIdentityCenter", **place})


def _social_account(tools: Tools, token: Mapping[str, Any]) -> Account:
    name = PROVIDERS[token["provider"]]
    if tools.edition.is_launcher:
        return Account(f"Logged in with {name}", {"accountType": f"Social{name}"})
    return Account(f"Logged in with {name}", {"accountType": "Social", "provider": name})


def _external_account(tools: Tools, token: Mapping[str, Any]) -> Account:
    return Account("Logged in with External IdP", {"accountType": "ExternalIdP"})


def _with_email(tools: Tools, found: Account, token: Mapping[str, Any]) -> Account:
    """With the e-mail address, where it is known; earlier than 1.25 there was none."""
    if not tools.edition.since(1, 25):
        return found
    email = tools.environ.get("KIRO_STANDIN_EMAIL") or token.get("email")
    return Account(f"{found.plain}\nEmail: {email}" if email else found.plain, {**found.fields, "email": email})


def live_token(tools: Tools, kind: str) -> dict[str, Any] | None:
    """The token of that kind, refreshed if it had expired; None where there is none, or no new one to be had."""
    token: dict[str, Any] | None = tools.store.get(kind)
    if not token or float(token["expires_at"]) > time.time() + EXPIRY_SLACK:
        return token
    refresh = {SSO_TOKEN: _refreshed_sso, SOCIAL_TOKEN: _refreshed_social, EXTERNAL_TOKEN: _refreshed_external}[kind]
    try:
        new = refresh(tools, token) if token.get("refresh_token") else None
    except (ServiceError, RefusedError) as exc:
        # A refusal costs the token; only being asked to slow down, and not being answered, do not.
        if getattr(exc, "shape", "") != "SlowDownException":
            tools.store.update({kind: None})
        return None
    except CliError:
        return None
    if new is not None:
        tools.store.update({kind: new})
    return new


def _refreshed_sso(tools: Tools, token: Mapping[str, Any]) -> dict[str, object] | None:
    registration = tools.store.get(REGISTRATION) or {}
    if any(registration.get(name) != token[name] for name in ("region", "oauth_flow")):
        return None
    client = SsoClient(tools, token["start_url"], token["region"])
    return client.create_token(registration, {"grantType": "refresh_token", "refreshToken": token["refresh_token"]})


def _refreshed_social(tools: Tools, token: Mapping[str, Any]) -> dict[str, object]:
    answer = call_auth_service(tools, "/refreshToken", {"refreshToken": token["refresh_token"]})
    if not answer.is_good:
        raise RefusedError(answer.text)
    return social_token(tools, token["provider"], {"profileArn": token["profile_arn"], **answer.json()})


def _refreshed_external(tools: Tools, token: Mapping[str, Any]) -> dict[str, object]:
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": str(token["refresh_token"]),
        "client_id": str(token["client_id"]),
    }
    return get_external_token(token, fields)


# --- login ------------------------------------------------------------------------------------------------------------

NO_SOCIAL: Final = (
    "Social login is not supported in remote environments. Please use BuilderID or Identity Center authentication."
)


def login(tools: Tools, options: Mapping[str, str]) -> None:
    """`kiro-cli login`."""
    if _is_signed_in(tools):
        raise CliError(f"Already logged in, please logout with {tools.console.command('kiro-cli logout')} first")
    make_noise(tools)
    if is_remote(tools) or "use-device-flow" in options:
        login_remotely(tools, options)
    else:
        login_locally(tools)


def _is_signed_in(tools: Tools) -> bool:
    found = account(tools)
    return found is not None and (found.fields["accountType"] != "ApiKey" or tools.edition.since(1, 27, 3))


def make_noise(tools: Tools) -> None:
    """Print what no terminal wants, if that is the fault that was asked for."""
    if tools.fault == "garbage-output":
        noise = b"\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1bP1$r\xff\xfe\x00\x9b31m\xc3(" + os.urandom(4096)
        os.write(1, noise)
        os.write(2, noise)
    if tools.fault == "endless-output":
        start_thread(_write_for_ever)


def _write_for_ever() -> None:
    with contextlib.suppress(OSError):
        while True:
            os.write(1, b"all work and no newline " * 2048)


def login_locally(tools: Tools) -> None:
    """The portal in the browser of this machine; the options are not looked at (Kiro#3940)."""
    text = " Opening auth portal and logging in..."
    if tools.edition.is_launcher:
        text = f"{paint(' Opening browser... | Press', '38;5;8')} {paint('(^) + C', '38;5;13')}"
        text += paint(" to cancel", "38;5;8")
    with tools.console.spinner(text) as spinner:
        try:
            portal = PortalLogin.start(tools)
        except CliError as exc:
            raise _give_up(tools, spinner, "Failed to initialize auth portal.", str(exc)) from exc
        try:
            tools.open_browser(portal.url, "portal")
            for number in range(99 if tools.fault == "many-opens" else 0):
                tools.open_browser(f"{portal.url}&page={number}", "portal")
        except OpenerError as exc:
            if not tools.edition.is_launcher:
                raise CliError(f"OAuth error: Failed to open browser: {exc}") from exc
            raise _give_up(tools, spinner, "Failed to open browser for authentication.", str(exc)) from exc
        finish_portal(tools, spinner, portal, portal.wait(tools))


def _give_up(tools: Tools, spinner: Spinner, problem: str, message: str) -> CliError:
    """The end where the portal cannot be opened: no device flow by itself, and no URL for anybody (Kiro#10885)."""
    if tools.edition.is_launcher:
        spinner.stop()
        tools.console.err(problem)
        tools.console.err("Please try again with: kiro-cli login --use-device-flow")
    return CliError(message)


def finish_portal(tools: Tools, spinner: Spinner, portal: PortalLogin, callback: Callback) -> None:
    """Do what the person chose at the portal."""
    option = callback.params.get("login_option", "")
    if option in PROVIDERS:
        exchange_social_code(tools, portal, callback)
        spinner.stop_with_message(_social_done(tools, PROVIDERS[option]))
        return
    kinds = {"builderid": "builderId", "awsidc": "awsIdc", "internal": "internal"}
    if tools.edition.since(1, 26, 1):
        kinds["external_idp"] = "external_idp"
    if option not in kinds:
        raise CliError(f"OAuth error: Unknown login_option: {option}")
    if option == "external_idp":
        spinner.stop_with_message("")
        sign_in_by_external_idp(tools, callback, portal.listener.port)
    else:
        place = [_required(callback.params, name, kinds[option]) for name in ("issuer_url", "idc_region")]
        spinner.stop_with_message("")
        sign_in_by_sso(tools, *place)
    finish_organization(tools, has_profiles=option != "builderid")


def finish_organization(tools: Tools, *, has_profiles: bool) -> None:
    """The end of every sign-in but the social ones."""
    if has_profiles:
        choose_profile(tools)
    if tools.edition.is_launcher:
        tools.console.err("Logged in successfully")


def _social_done(tools: Tools, name: str) -> str:
    if not tools.edition.is_launcher:
        return f"Logged in with {name}"
    tail = paint('(use "kiro-cli logout" to logout)', "38;5;8")
    return f"{paint('✓', '32')} Signed in with {name} {tail}"


class Menu(NamedTuple):
    """The question of the remote login, and its rows: label and method."""

    prompt: str
    rows: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, edition: Edition) -> Menu:
        """What that release shows: labels, order and number have changed twice."""
        if edition.era == 3:
            providers = (("Use with Google", "google"), ("Use with GitHub", "github"))
            rows = (("Use with Builder ID", "builder-id"), *providers, ("Use with Your Organization", "idc"))
            return cls("Select login method", rows)
        free, pro = ("Use for Free with Builder ID", "builder-id"), ("Use with Pro license", "idc")
        if not edition.is_launcher:
            return cls("Select login method (Social login not available in remote environment)", (free, pro))
        if edition.era == 2:
            social = ("Use for Free with Google or GitHub", "social")
            return cls("Select login method", (free, social, pro))
        return cls("Select login method", (("Use with Builder ID", "builder-id"), ("Use with IDC Account", "idc")))


def login_remotely(tools: Tools, options: Mapping[str, str]) -> None:
    """The login of a machine that has no browser of its own."""
    method = _method(tools, options)
    if method in PROVIDERS:
        sign_in_by_kiro_device(tools, method)
    elif method == "social":
        sign_in_by_forwarded_port(tools)
    else:
        place = _ask_for_organization(tools, options) if method == "idc" else (None, None)
        sign_in_by_device(tools, *place)
        finish_organization(tools, has_profiles=method == "idc")


def _method(tools: Tools, options: Mapping[str, str]) -> str:
    """How to sign in: as the options say, else as the person says."""
    if "social" in options and (tools.edition.era == 1 or (tools.edition.era == 2 and not tools.edition.is_launcher)):
        raise CliError(NO_SOCIAL)
    # --social is not looked at: no option preselects Google or GitHub.
    if "license" in options:
        return "builder-id" if options["license"] == "free" else "idc"
    if "identity-provider" in options and "region" in options:
        return "idc"
    menu = Menu.of(tools.edition)
    index = tools.console.choose(menu.prompt, [label for label, _ in menu.rows])
    if index is None:
        raise CliError("No login method selected")
    return menu.rows[index][1]


def _ask_for_organization(tools: Tools, options: Mapping[str, str]) -> tuple[str, str]:
    """Start URL and region. The options are what the prompts begin with, not the answers (Kiro#4243)."""
    kept = tools.store
    start_url = tools.console.ask("Enter Start URL", options.get("identity-provider") or kept.get(START_URL) or "")
    region = tools.console.ask("Enter Region", options.get("region") or kept.get(REGION) or "").strip()
    # Without a terminal both are empty, and that is kept for the next time.
    kept.update({START_URL: start_url, REGION: region})
    return start_url, region


def sign_in_by_forwarded_port(tools: Tools) -> None:
    """Google and GitHub on a remote from 1.24 to 2.0: the person forwards the port, and opens the URL.

    Of the lines before the URL only their sense was reported: a port, and that Enter is waited for.
    """
    try:
        portal, console = PortalLogin.start(tools), tools.console
    except CliError as exc:
        raise CliError("Failed to bind callback port") from exc
    console.out(f"Port: {portal.listener.port}")
    console.out("Forward this port from your local machine to this one.")
    console.out("Press Enter to continue")
    _wait_for_enter()
    console.out("Open this URL in your local browser:")
    console.out(f"  {portal.url}")
    with console.spinner(" Logging in...") as spinner:
        finish_portal(tools, spinner, portal, portal.wait(tools))


def _wait_for_enter() -> None:
    while os.read(0, 1) not in (b"", b"\n", b"\r"):
        pass


# --- The other commands -----------------------------------------------------------------------------------------------


def logout(tools: Tools, options: Mapping[str, str]) -> None:
    """`kiro-cli logout`."""
    social = tools.store.get(SOCIAL_TOKEN)
    tools.store.update(dict.fromkeys((SSO_TOKEN, REGISTRATION, SOCIAL_TOKEN, EXTERNAL_TOKEN, PROFILE)))
    if social and tools.edition.since(1, 29, 7):
        with contextlib.suppress(CliError):
            call_auth_service(tools, "/logout", {"refreshToken": social.get("refresh_token")})
    say = tools.console.out if tools.edition.is_launcher else tools.console.err
    product = "Kiro CLI" if tools.edition.is_launcher else "Kiro"
    say("You are now logged out")
    say(f"Run {tools.console.command('kiro-cli login')} to log back in to {product}")


def whoami(tools: Tools, options: Mapping[str, str]) -> None:
    """`kiro-cli whoami`."""
    if tools.fault == "slow-whoami":
        time.sleep(5)
    if tools.fault == "whoami-fails":
        raise CliError("Failed to open database: database is locked")
    found = account(tools)
    tools.console.out(_whoami_text(found, options.get("format", "plain")))
    if found is None:
        raise SystemExit(1)
    profile = tools.store.get(PROFILE)
    if profile and found.fields["accountType"] == "IamIdentityCenter":
        # In plain text and on stdout, whatever the format (seen in 2.21.0).
        tools.console.out(f"\nProfile:\n{profile['profile_name']}\n{profile['arn']}")


def _whoami_text(found: Account | None, style: str) -> str:
    if style == "plain":
        return found.plain if found else "Not logged in"
    fields: dict[str, object] = found.fields if found else {"account": None}
    if style == "json-pretty":
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False)
    return json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def profile(tools: Tools, options: Mapping[str, str]) -> None:
    """`kiro-cli profile`."""
    found = account(tools)
    if found is None:
        raise CliError("You are not logged in, please log in with kiro-cli login")
    if found.fields["accountType"] not in ("IamIdentityCenter", "ExternalIdP"):
        whom = "IAM Identity Center" if tools.edition.is_launcher else "Pro"
        raise CliError(f"This command is only available for {whom} users")
    choose_profile(tools, always_ask=True)


# --- The command line -------------------------------------------------------------------------------------------------


class Command(NamedTuple):
    """A command, and its options: those with a value, the values where they are few; None for a switch."""

    run: Callable[[Tools, Mapping[str, str]], None]
    options: Mapping[str, tuple[str, ...] | None]


_LOGIN_OPTIONS: Final[dict[str, tuple[str, ...] | None]] = {
    "license": ("free", "pro"),
    "identity-provider": (),
    "region": (),
    "social": ("google", "github"),
    "use-device-flow": None,
}
COMMANDS: Final = {
    "login": Command(login, _LOGIN_OPTIONS),
    "logout": Command(logout, {}),
    "whoami": Command(whoami, {"format": ("plain", "json", "json-pretty")}),
    "profile": Command(profile, {}),
}
_SHORT: Final = {"-f": "--format", "-v": "--verbose", "-h": "--help", "-V": "--version"}


def parse_options(name: str, arguments: Sequence[str]) -> dict[str, str]:
    """The options of a command, by their long names; UsageError in clap's words where they are wrong."""
    known = {**COMMANDS[name].options, "verbose": None, "help": None}
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = _SHORT.get(word, word).partition("=")
        long = option[2:]
        if not option.startswith("--") or long not in known:
            raise UsageError(f"unexpected argument '{word}' found\n\nUsage: kiro-cli {name} [OPTIONS]")
        choices = known[long]
        if choices is not None:
            shown = f"{option} <{long.upper().replace('-', '_')}>"
            if not equals and not rest:
                raise UsageError(f"a value is required for '{shown}' but none was supplied")
            value = value if equals else rest.pop(0)
            if choices and value not in choices:
                allowed = ", ".join(choices)
                raise UsageError(f"invalid value '{value}' for '{shown}'\n  [possible values: {allowed}]")
        found[long] = value
    return found


def run(tools: Tools, arguments: Sequence[str]) -> int:
    """Run a command; its exit status."""
    name, *rest = arguments or ["--help"]
    if _SHORT.get(name, name) == "--version":
        tools.console.out(f"kiro-cli {tools.edition.text}")
        return 0
    if name in COMMANDS:
        options = parse_options(name, rest)
        if "help" not in options:
            return _run_command(tools, COMMANDS[name], options)
    elif _SHORT.get(name, name) != "--help":
        raise UsageError(f"unrecognized subcommand '{name}'\n\nUsage: kiro-cli [OPTIONS] [COMMAND]")
    tools.console.out(f"Usage: kiro-cli {name if name in COMMANDS else '[COMMAND]'} [OPTIONS]")
    return 0


def _run_command(tools: Tools, command: Command, options: Mapping[str, str]) -> int:
    try:
        command.run(tools, options)
    except CliError as exc:
        tools.console.error(str(exc), verbose="verbose" in options)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    tools = Tools(os.environ)
    tools.obey_signals()
    status = PANICKED
    try:
        status = run(tools, sys.argv[1:] if arguments is None else arguments)
    except UsageError as exc:
        tools.console.error(f"{exc}\n\nFor more information, try '--help'.")
        status = 2
    except SystemExit as exc:
        status = int(exc.code or 0)
    except PanicError:
        pass
    finally:
        tools.loopback.close()
        tools.log.write("exit", code=status)
    return status


if __name__ == "__main__":
    sys.exit(main())
