"""Shows words that are a link (OSC 8), and the address nowhere else."""

from keeper import Listener, sign_in


def show(url: str) -> None:
    print(f"To sign in, \x1b]8;id=1;{url}\x1b\\click here\x1b]8;;\x1b\\ please.", flush=True)


listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", show)
