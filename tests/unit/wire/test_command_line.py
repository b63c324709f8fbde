"""Command lines of others: shown without secrets, and ssh's own options understood."""

from __future__ import annotations

import pytest

from kirotunnel.wire.command_line import SHOWN, parse_ssh, shown_command


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], ""),
        (["/usr/sbin/squid", "-f", "/etc/squid.conf"], "squid -f /etc/squid.conf"),
        (["app", "--password", "hunter2", "-v"], "app --password *** -v"),
        (["app", "--password=hunter2"], "app --password=***"),
        (["app", "--db-password=hunter2", "x"], "app --db-password=*** x"),
        (["env", "API_TOKEN=hunter2", "app"], "env API_TOKEN=*** app"),
        (["sshpass", "-phunter2", "ssh", "-p", "22", "h"], "sshpass -p*** ssh -p *** h"),
        (["mysqld", "-p", "hunter2"], "mysqld -p ***"),
        (["ssh", "-p", "22", "host"], "ssh -p 22 host"),
        (["curl", "https://ada:hunter2@example.com/x"], "curl https://***@example.com/x"),
        (["curl", "-H", "Authorization: Bearer hunter2"], "curl -H Authorization: ***"),
        (
            ["open", "http://localhost:3128/?code=hunter2&state=hunter2"],
            "open http://localhost:3128/?code=***&state=***",
        ),
        (["a\x1b[31mb", "c\nd"], "ab c d"),
    ],
)
def test_a_command_line_is_shown_without_its_secrets(words: list[str], shown: str) -> None:
    assert shown_command(words) == shown
    assert "hunter2" not in shown_command(words)


def test_a_long_command_line_is_cut() -> None:
    assert len(shown_command(["java", *(["-Dx=y"] * 100)])) == SHOWN


@pytest.mark.parametrize(
    ("line", "host", "ports", "tunnel_only"),
    [
        ("ssh -N -L 3128:localhost:3128 box", "box", [3128], True),
        ("ssh -NL 3128:localhost:3128 ada@box", "ada@box", [3128], True),
        ("ssh -fNTL3128:localhost:3128 box", "box", [3128], True),
        ("/usr/bin/ssh -L 127.0.0.1:3128:x:1 -L [::1]:4649:[::1]:2 box -N", "box", [3128, 4649], True),
        ("ssh -D 6588 box", "box", [6588], False),
        ("ssh -J a,b -i key -p 2222 box ls -L 3128:x:1", "box", [], False),
        ("ssh -o BatchMode=yes box", "box", [], False),
    ],
)
def test_an_ssh_command_line_says_where_it_goes_and_what_it_forwards(
    line: str, host: str, ports: list[int], tunnel_only: bool
) -> None:
    ssh = parse_ssh(line.split())
    assert ssh is not None
    assert (ssh.host, ssh.tunnel_only) == (host, tunnel_only)
    assert [port for port in (3128, 4649, 6588) if ssh.forwards_port(port)] == ports


def test_a_forward_may_be_an_option() -> None:
    ssh = parse_ssh(["ssh", "-o", "LocalForward=3128 localhost:3128", "box"])
    assert ssh is not None
    assert ssh.forwards_port(3128)


def test_a_shared_connection_says_so() -> None:
    ssh = parse_ssh(["ssh: /home/ada/.ssh/cm-box [mux]"])
    assert ssh is not None
    assert ssh.is_master


@pytest.mark.parametrize("words", [[], ["sshd", "-D"], ["python3", "ssh"], ["ssh-agent"]])
def test_other_programs_are_no_ssh(words: list[str]) -> None:
    assert parse_ssh(words) is None
