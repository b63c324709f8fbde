"""The laboratory as fixtures: one remote machine for a whole run (for each worker of it), clean for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from lab.keys import ClientKeys
from lab.remote import RemoteMachine
from lab.requirements import require, require_laboratory
from lab.servers import Server

_MAY_LEAVE: Final = "may_leave_remains"
_SETTLING_SECONDS: Final = 10.0
"""What is being cleaned up when a test ends has this long for it."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the laboratory's marker."""
    config.addinivalue_line("markers", f"{_MAY_LEAVE}: the remote may be left unclean by this test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the remote machine as one that needs it."""
    for item in items:
        if "remote_machine" in getattr(item, "fixturenames", ()):
            item.add_marker("remote")


@pytest.fixture(scope="session")
def client_keys(tmp_path_factory: pytest.TempPathFactory) -> ClientKeys:
    """The keys that the remote's users accept."""
    require("ssh-keygen")
    return ClientKeys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def remote_machine(tmp_path_factory: pytest.TempPathFactory, client_keys: ClientKeys) -> Iterator[RemoteMachine]:
    """The machine itself, as the last test left it. Tests want `remote`."""
    require_laboratory()
    with RemoteMachine(tmp_path_factory.mktemp("remote"), keys=client_keys) as machine:
        yield machine


@pytest.fixture(scope="session")
def lasting_server(remote_machine: RemoteMachine) -> Callable[[str], Server]:
    """Servers with default settings, which outlive a test since most want the same. Tests want `sshd`, `dropbear`."""
    servers: dict[str, Server] = {}

    def get(kind: str) -> Server:
        if kind not in servers or not servers[kind].running:
            servers[kind] = remote_machine.sshd() if kind == "sshd" else remote_machine.dropbear()
            remote_machine.keep(servers[kind])
        return servers[kind]

    return get


@pytest.fixture
def remote(request: pytest.FixtureRequest, remote_machine: RemoteMachine) -> Iterator[RemoteMachine]:
    """The remote machine, clean; the test fails if it leaves something there, unless it is marked as allowed to."""
    remote_machine.reset()
    yield remote_machine
    if request.node.get_closest_marker(_MAY_LEAVE) is None:
        remote_machine.restore()
        assert remote_machine.leftovers_after(_SETTLING_SECONDS) == [], "left behind on the remote"


@pytest.fixture
def sshd(remote: RemoteMachine, lasting_server: Callable[[str], Server]) -> Server:
    """An OpenSSH server with its default settings, on the clean remote."""
    return lasting_server("sshd")


@pytest.fixture
def dropbear(remote: RemoteMachine, lasting_server: Callable[[str], Server]) -> Server:
    """A Dropbear server with its default settings, on the clean remote."""
    require("dropbear", "dropbearkey")
    return lasting_server("dropbear")
