"""Prints a short address and opens the full one: the redirect is in that alone (one CLI of those that were tried)."""

from keeper import PROVIDER, Listener, open_in_browser, sign_in


def show(url: str) -> None:
    print(f"Opening {PROVIDER}/login?from=cli in your browser", flush=True)
    open_in_browser(url)


listener = Listener()
sign_in(listener, f"http://localhost:{listener.port}/callback", show)
