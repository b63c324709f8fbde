"""Asks like a wizard: a menu by arrow keys, a line, a password; says the width of its terminal, and when it changes."""

import getpass
import os
import signal
import sys
import termios
import tty

from keeper import Listener, log, open_in_browser, sign_in


def size(*_: object) -> None:
    columns, rows = os.get_terminal_size()
    print(f"\r\nterminal {columns}x{rows}\r", flush=True)


def keys_up_to_enter(question: str) -> list[str]:
    """Raw from before the question is there: a key between two looks at them is no Ctrl-C, and not lost."""
    fd, before = sys.stdin.fileno(), termios.tcgetattr(sys.stdin)
    tty.setraw(fd)
    try:
        print(f"{question}\r", flush=True)
        keys = []
        while (pressed := os.read(fd, 16)) != b"\r":
            keys.append(pressed.decode())
        return keys
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


signal.signal(signal.SIGWINCH, size)
size()
log("keys", keys=keys_up_to_enter("Where? (arrows, Enter)"))
log("line", text=input("Your name? "))
log("password", text=getpass.getpass("Your PIN? "))
listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
