"""What holds a port is called by its name, and only what is one's own and of no use to anybody may be ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kirotunnel.diagnose.suspects import recognise
from kirotunnel.local.ports import PortHolder

ME = PortHolder("127.0.0.1", 3128, 812, "x", "ada", mine=True)


def holder(program: str, *command: str, mine: bool = True, orphan: bool = False) -> PortHolder:
    return replace(ME, program=program, command=command or (program,), mine=mine, orphan=orphan)


@pytest.mark.parametrize(
    ("program", "command", "name"),
    [
        ("docker-proxy", (), "a container's published port"),
        ("com.docker.backe", (), "a container's published port"),
        ("rootlessport", (), "a container's published port"),
        ("code", (), "an editor's port forwarding (VS Code or its kin)"),
        ("Code Helper (Plu", (), "an editor's port forwarding (VS Code or its kin)"),
        ("cursor", (), "an editor's port forwarding (VS Code or its kin)"),
        ("node", ("/home/ada/.vscode-server/bin/x/node",), "VS Code's server"),
        ("node", ("node", "server.js"), "a web or development server"),
        ("kiro-cli", (), "a kiro-cli login of this machine"),
        ("kiro-cli-chat", (), "a kiro-cli login of this machine"),
        ("kiro", (), "the Kiro IDE of this machine"),
        ("Kiro Helper", (), "the Kiro IDE of this machine"),
        ("squid", (), "the Squid proxy, whose own port is 3128"),
        ("(squid-1)", (), "the Squid proxy, whose own port is 3128"),
        ("clash", (), "a Clash proxy or its kin"),
        ("mihomo", (), "a Clash proxy or its kin"),
        ("cntlm", (), "an HTTP proxy"),
        ("java", (), "a web or development server"),
        ("python3", ("python3", "-m", "http.server", "3128"), "a development server in Python"),
        ("python3", ("python3", "mine.py"), "a program running"),
        ("wslrelay.exe", (), "WSL's relay of a port of the Linux side"),
    ],
)
def test_the_usual_suspects_have_names(program: str, command: tuple[str, ...], name: str) -> None:
    suspect = recognise(holder(program, *command))
    assert suspect.name == name
    assert suspect.advice
    assert "{" not in suspect.advice
    assert not suspect.stale


TUNNEL = ("ssh", "-N", "-L", "3128:localhost:3128", "box")


@pytest.mark.parametrize(
    ("command", "mine", "name", "stale"),
    [
        (TUNNEL, True, "a forgotten ssh tunnel to box", True),
        (TUNNEL, False, "another user's ssh tunnel to box", False),
        (("ssh", "-L", "3128:localhost:3128", "box"), True, "an ssh session to box with -L", False),
        (("ssh", "-N", "box"), True, "an ssh connection to box", False),
        (("ssh", "-N", "-L", "9999:x:1", "box"), True, "an ssh connection to box", False),
        (("ssh: /x/cm [mux]",), True, "a shared ssh connection that forwards this port", False),
    ],
)
def test_only_an_own_tunnel_for_this_port_and_nothing_else_is_stale(
    command: tuple[str, ...], mine: bool, name: str, stale: bool
) -> None:
    suspect = recognise(holder("ssh", *command, mine=mine))
    assert (suspect.name, suspect.stale) == (name, stale)


@pytest.mark.parametrize(
    ("command", "mine", "orphan", "stale"),
    [
        (("/x/python", "-m", "kirotunnel", "login", "box"), True, False, False),
        (("/x/python", "-m", "kirotunnel", "login", "box"), True, True, True),
        (("/x/python", "/x/bin/kirotunnel", "login", "box"), True, True, True),
        (("/x/python", "-m", "kirotunnel", "login", "box"), False, True, False),
    ],
)
def test_a_kirotunnel_is_stale_once_nobody_waits_for_it(
    command: tuple[str, ...], mine: bool, orphan: bool, stale: bool
) -> None:
    suspect = recognise(holder("python3", *command, mine=mine, orphan=orphan))
    assert (suspect.kind, suspect.stale) == ("kirotunnel", stale)


def test_a_process_that_cannot_be_seen_is_said_to_be_so() -> None:
    assert "root" in recognise(PortHolder("127.0.0.1", 3128, None, None, "squid")).name
