"""What might catch the browser's way to localhost: proxies of environment and system, redirected packets."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from typing import Final

NAMES: Final = ("localhost", "127.0.0.1")
_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """How requests to this machine's own addresses would go."""

    http_proxy: str | None
    """Host and port of the proxy for http, from the environment or the system; no user, no password."""
    caught: tuple[str, ...]
    """The names of this machine that it would be asked for."""
    pac: bool
    """A PAC file is configured: only it knows."""
    loopback_works: bool
    """A connection of ours to a listener of ours on 127.0.0.1 arrived."""


def look_at_proxies() -> ProxyFacts:
    """Read the settings, and try loopback on a port that the system chooses."""
    proxies = urllib.request.getproxies()
    address = proxies.get("http")
    caught = tuple(name for name in NAMES if address and not urllib.request.proxy_bypass(name))
    shown = address.rpartition("://")[2].rpartition("@")[2].strip("/") if address else None
    return ProxyFacts(shown, caught, _has_pac(), loopback_works())


def loopback_works() -> bool:
    """Whether a connection to a listener of our own on 127.0.0.1 really comes to it: no firewall, no redirection."""
    word = secrets.token_bytes(8)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_TIMEOUT_S)
        heard: list[bytes] = []

        def hear() -> None:
            try:
                visitor, _ = listener.accept()
                with visitor:
                    visitor.settimeout(_TIMEOUT_S)
                    heard.append(visitor.recv(8))
            except OSError:
                pass

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=_TIMEOUT_S) as visitor:
                visitor.sendall(word)
                thread.join()
        except OSError:
            thread.join()
    return heard == [word]


def _has_pac() -> bool:
    """Whether the system is set up with a PAC file, as far as it can be asked cheaply."""
    if sys.platform == "win32":
        import winreg

        path = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
                return bool(winreg.QueryValueEx(key, "AutoConfigURL")[0])
        except OSError:
            return False
    if sys.platform == "darwin":
        return re.search(r"ProxyAutoConfigEnable\s*:\s*1", _said("scutil", "--proxy")) is not None
    return "auto" in _said("gsettings", "get", "org.gnome.system.proxy", "mode")


def _said(*command: str) -> str:
    """What a command prints; nothing where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
