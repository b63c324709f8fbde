"""Draws its URL over several rows, broken hard at the width of the terminal (full-screen CLIs)."""

import os

from keeper import Listener, sign_in


def show(url: str) -> None:
    width = os.get_terminal_size().columns
    rows = [url[at : at + width] for at in range(0, len(url), width)]
    print(
        "\x1b[2J\x1b[HSign in with this address:\r\n\r\n" + "\r\n".join(rows) + "\r\n\r\nPress Esc to cancel",
        flush=True,
    )


listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", show)
