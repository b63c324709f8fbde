"""What holds for every test: an empty home, nothing of the developer's environment, and the laboratory's fixtures."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Final

import pytest

from lab.own_network import enter_own_network

pytest_plugins = ["lab.fixtures", "canary"]

# Whatever changes what kirotunnel, ssh, a browser or an HTTP client does. CI's own variables and PATH stay.
_FOREIGN: Final = re.compile(
    r"KIRO|AWS_|Q_|SSH_|XDG_|GIT_SSH"
    r"|(BROWSER|DISPLAY|WAYLAND_DISPLAY|NO_COLOR|FORCE_COLOR|CLICOLOR|CLICOLOR_FORCE|COLUMNS|LINES|DOCKER_HOST|KUBECONFIG)$"
    r"|(https?|ftp|all|no)_proxy$",
    re.IGNORECASE,
)


def pytest_configure(config: pytest.Config) -> None:
    """Give each process that runs tests a network of its own; with xdist that is each worker.

    And the signals back that `nohup` or a shell's background took from it: programs under test would inherit that.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        enter_own_network()


@pytest.fixture(autouse=True)
def scrubbed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty home, and take from it what the developer's shell has set. Gives the home."""
    for name in [name for name in os.environ if _FOREIGN.match(name)]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    places = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_STATE_HOME": home / ".local" / "state",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_RUNTIME_DIR": tmp_path / "run",
    }
    for name, place in places.items():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        monkeypatch.setenv(name, str(place))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")  # never the developer's own
    return home
