"""Only prints its URL, between other words and other addresses (`--no-launch-browser` and its like)."""

from keeper import Listener, sign_in


def show(url: str) -> None:
    print("Welcome to Zoo 1.0! The manual is at https://docs.zoo.example/cli?ref=cli", flush=True)
    print(f"Go to the following link in your browser:\n\n    \x1b[4;34m{url}\x1b[0m\n\nWaiting...", flush=True)


listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", show)
