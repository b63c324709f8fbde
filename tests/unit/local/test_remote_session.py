"""Whether the person sits at this machine, told from facts alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.local.remote_session import SessionFacts, remoteness, session_facts

DESK = {"DISPLAY": ":0"}


@pytest.mark.parametrize(
    ("environment", "facts", "kind"),
    [
        (DESK, {}, None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, {}, None),
        ({}, {"platform": "darwin"}, None),
        ({}, {"platform": "win32"}, None),
        ({}, {}, "no-display"),
        ({"DISPLAY": ""}, {}, "no-display"),
        ({}, {"platform": "freebsd14"}, "no-display"),
        (DESK | {"SSH_CLIENT": "1.2.3.4 5 6"}, {}, "ssh"),
        (DESK | {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, {}, "ssh"),
        (DESK | {"SSH_TTY": ""}, {}, "ssh"),
        (DESK | {"SSH_TTY": "/dev/pts/0", "BROWSER": "firefox"}, {}, "ssh"),
        (DESK | {"SSH_AUTH_SOCK": "/tmp/x"}, {}, None),
        (DESK, {"ancestors": ("bash", "su", "sudo", "bash", "sshd", "systemd")}, "ssh"),
        (DESK, {"ancestors": ("zsh", "mosh-server")}, "ssh"),
        (DESK, {"ancestors": ("bash", "gnome-terminal-", "systemd")}, None),
        (DESK, {"kernel": "5.15.153.1-microsoft-standard-wsl2"}, "wsl"),
        (DESK, {"in_container": True}, "container"),
        (DESK | {"container": "podman"}, {}, "container"),
        (DESK | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, "container"),
        (DESK | {"CODESPACES": "true"}, {"in_container": True}, "cloud"),
        (DESK | {"CODESPACES": "true", "BROWSER": "/vscode/browser.sh"}, {}, "cloud"),
        (DESK | {"CODESPACES": "false"}, {}, None),
        (DESK | {"GITPOD_WORKSPACE_ID": "x"}, {}, "cloud"),
        (DESK | {"AWS_EXECUTION_ENV": " CloudShell"}, {}, "cloud"),
        (DESK | {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}, {}, None),
        ({"BROWSER": "x"}, {"in_container": True, "kernel": "microsoft", "ancestors": ("sshd",)}, None),
        ({"BROWSER": " "}, {}, "no-display"),
    ],
)
def test_where_the_person_is(environment: dict[str, str], facts: dict[str, Any], kind: str | None) -> None:
    found = remoteness(SessionFacts(environment=environment, **facts))
    assert (found.kind if found else None) == kind


@given(st.dictionaries(st.text(), st.text()), st.lists(st.text()), st.text())
def test_any_facts_are_decided(environment: dict[str, str], ancestors: list[str], kernel: str) -> None:
    remoteness(SessionFacts(environment=environment, ancestors=tuple(ancestors), kernel=kernel))


def test_the_facts_of_this_process() -> None:
    facts = session_facts({})
    assert facts.environment == {}
    assert facts.ancestors
