"""Asks like a wizard: a menu by arrow keys, a line, a password; says the width of its terminal, and when it changes."""

import getpass
import os
import select
import signal
import sys
import termios
import tty

from keeper import Listener, log, open_in_browser, sign_in


def size(*_: object) -> None:
    columns, rows = os.get_terminal_size()
    # Not by `print`: a signal may come in the midst of another, which refuses to be entered again.
    os.write(1, f"\r\nterminal {columns}x{rows}\r\n".encode())


def keys_up_to_enter(question: str) -> list[str]:
    """Raw from before the question is there: a key between two looks at them is no Ctrl-C, and not lost."""
    fd, before = sys.stdin.fileno(), termios.tcgetattr(sys.stdin)
    tty.setraw(fd)
    try:
        print(f"{question}\r", flush=True)
        keys: list[str] = []
        while True:
            ready = select.select([fd, told], [], [])[0]
            if told in ready:
                os.read(told, 16)
            elif (pressed := os.read(fd, 16)) != b"\r":
                keys.append(pressed.decode())
            else:
                return keys
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


# A signal just before a read would be Python's to handle only after it: so a signal is something to read as well.
told, tells = os.pipe()
os.set_blocking(tells, False)
signal.set_wakeup_fd(tells)
signal.signal(signal.SIGWINCH, size)
size()
log("keys", keys=keys_up_to_enter("Where? (arrows, Enter)"))
log("line", text=input("Your name? "))
log("password", text=getpass.getpass("Your PIN? "))
listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", open_in_browser)
