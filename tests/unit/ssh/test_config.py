"""From the options that `ssh -G` prints to an endpoint."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

import pytest

from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config import Endpoint, SSHOptions, build_endpoint, jump_specs, parse_options


def endpoint(name: str = "box", **values: str | list[str]) -> Endpoint:
    return build_endpoint(name, {key: [value] if isinstance(value, str) else value for key, value in values.items()})


def test_the_lines_of_ssh_are_read() -> None:
    lines = [
        "host box",
        "HostName 10.0.0.1",
        "port 22",
        "identityfile ~/.ssh/a",
        "identityfile ~/.ssh/b",
        "",
        "sendenv",
    ]
    assert parse_options(lines) == {
        "host": ["box"],
        "hostname": ["10.0.0.1"],
        "port": ["22"],
        "identityfile": ["~/.ssh/a", "~/.ssh/b"],
        "sendenv": [""],
    }
    assert parse_options(["proxycommand nc -X 5 %h %p\n"]) == {"proxycommand": ["nc -X 5 %h %p"]}


def test_an_endpoint_of_nothing_but_a_name() -> None:
    found = endpoint("ada@box")
    assert (found.name, found.host, found.port, found.user) == ("ada@box", "box", 22, getpass.getuser())
    assert found.identity_files == ()
    assert found.proxy_command is None
    assert found.strict_host_key_checking == "ask"
    assert found.alive_interval_s is None
    assert found.describe() == f"{getpass.getuser()}@box"


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"hostname": "10.0.0.1"}, "host", "10.0.0.1"),
        ({"port": "2222"}, "port", 2222),
        ({"user": "ada"}, "user", "ada"),
        ({"identitiesonly": "yes"}, "identities_only", True),
        ({"identitiesonly": "no"}, "identities_only", False),
        ({"hashknownhosts": "true"}, "hash_known_hosts", True),
        ({"stricthostkeychecking": "true"}, "strict_host_key_checking", "yes"),
        ({"stricthostkeychecking": "false"}, "strict_host_key_checking", "no"),
        ({"stricthostkeychecking": "off"}, "strict_host_key_checking", "no"),
        ({"stricthostkeychecking": "accept-new"}, "strict_host_key_checking", "accept-new"),
        ({"connecttimeout": "7"}, "connect_timeout_s", 7.0),
        ({"connecttimeout": "none"}, "connect_timeout_s", None),
        ({"serveraliveinterval": "15"}, "alive_interval_s", 15.0),
        ({"serveraliveinterval": "0"}, "alive_interval_s", None),
        ({"serveralivecountmax": "5"}, "alive_count", 5),
        ({"proxycommand": "none"}, "proxy_command", None),
        ({"proxycommand": "nc %h %p # %r %n 100%%", "user": "ada", "hostname": "10.0.0.1", "port": "2222"},
         "proxy_command", "nc 10.0.0.1 2222 # ada box 100%"),
        ({"hostkeyalias": "alias"}, "key_name", "alias"),
        ({"hostname": "10.0.0.1"}, "key_name", "10.0.0.1"),
        ({"addressfamily": "inet6"}, "address_family", "inet6"),
        ({"bindaddress": "10.0.0.2"}, "bind_address", "10.0.0.2"),
        ({"preferredauthentications": "publickey"}, "preferred_authentications", "publickey"),
        ({"ciphers": "a,b", "macs": "c", "kexalgorithms": "+d"}, "algorithms", {"ciphers": ("a", "b"), "macs": ("c",)}),
        ({"identityagent": "none"}, "identity_agent", None),
        ({"identityagent": "SSH_AUTH_SOCK"}, "identity_agent", "/run/agent"),
        ({}, "identity_agent", "/run/agent"),
        ({"identityagent": "$OTHER_SOCK"}, "identity_agent", "/run/other"),
        ({"identityagent": "${OTHER_SOCK}"}, "identity_agent", "/run/other"),
        ({"identityagent": "$UNSET_SOCK"}, "identity_agent", None),
        ({"identityagent": "/run/%r.sock", "user": "ada"}, "identity_agent", "/run/ada.sock"),
    ],
)  # fmt: skip
def test_an_option_becomes_a_field(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], field: str, expected: Any
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("OTHER_SOCK", "/run/other")
    assert getattr(endpoint(**values), field) == expected


def test_keys_that_exist_are_used_in_order_and_tokens_are_expanded(tmp_path: Path) -> None:
    names = ("id_a", "id_box_ada", f"id_{socket.gethostname()}", "with space")
    for name in names:
        (tmp_path / name).touch()
    written = ["id_a", "missing", "id_%n_%r", "id_%l", "with space"]
    found = endpoint(user="ada", identityfile=[f"{tmp_path}/{name}" for name in written])
    assert found.identity_files == tuple(tmp_path / name for name in names)


def test_the_files_of_known_hosts(tmp_path: Path) -> None:
    assert endpoint(userknownhostsfile="/a /b").known_hosts_files == (Path("/a"), Path("/b"))
    assert endpoint(userknownhostsfile="none").known_hosts_files == ()
    assert endpoint(globalknownhostsfile="/c").global_known_hosts_files == (Path("/c"),)
    spaced = tmp_path / "my hosts"
    spaced.touch()
    assert endpoint(userknownhostsfile=str(spaced)).known_hosts_files == (spaced,)


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("box", {"user": "ada"}, "ada@box"),
        ("box", {"user": "ada", "port": "2222"}, "ada@box:2222"),
        ("ssh://ada@box:2222", {"user": "ada", "port": "2222"}, "ada@box:2222"),
        ("2001:db8::1", {"user": "ada"}, "ada@[2001:db8::1]"),
        ("ssh://ada@[::1]:2222", {"user": "ada", "port": "2222"}, "ada@[::1]:2222"),
    ],
)
def test_an_endpoint_is_shown_as_an_address(name: str, values: dict[str, str], shown: str) -> None:
    assert endpoint(name, **values).describe() == shown


@pytest.mark.parametrize(
    ("jump", "specs"),
    [
        (None, []),
        ("none", []),
        ("None", []),
        ("jump", ["jump"]),
        ("ada@jump", ["ada@jump"]),
        ("jump:2222", ["ssh://jump:2222"]),
        ("ada@jump:2222", ["ssh://ada@jump:2222"]),
        ("[::1]:2222", ["ssh://[::1]:2222"]),
        ("ada@[::1]:2222", ["ssh://ada@[::1]:2222"]),
        ("ssh://ada@jump:2222", ["ssh://ada@jump:2222"]),
        ("a,b:22,c@d", ["a", "ssh://b:22", "c@d"]),
        ("2001:db8::1", ["2001:db8::1"]),
    ],
)
def test_the_hops_of_a_jump(jump: str | None, specs: list[str]) -> None:
    assert jump_specs({} if jump is None else {"proxyjump": [jump]}) == specs


def test_the_options_of_the_command_line_are_those_of_ssh() -> None:
    options = SSHOptions(
        port=2222, user="ada", identity_files=("a", "b"), jump="j", config_file="c", options=("X=1", "Y=2")
    )
    assert options.arguments() == [
        "-F", "c", "-p", "2222", "-l", "ada", "-i", "a", "-i", "b", "-J", "j", "-o", "X=1", "-o", "Y=2",
    ]  # fmt: skip
    assert SSHOptions().arguments() == []
    assert options.for_jump() == SSHOptions(config_file="c")


@pytest.mark.parametrize(
    "given",
    [
        [("-J", "a"), ("-J", "b")],
        [("-o", "ProxyJump=a"), ("-J", "b")],
        [("-o", "proxycommand nc %h %p"), ("-J", "b")],
    ],
)
def test_a_jump_beside_another_way_is_refused_as_ssh_does(given: list[tuple[str, str]]) -> None:
    # `ssh -o ProxyJump=a -J b h`: Only a single -J option is permitted; with a ProxyCommand: Cannot specify -J with it.
    with pytest.raises(SSHConfigError, match="beside another"):
        SSHOptions.from_command_line(given)


def test_what_ssh_will_complain_of_is_left_to_it() -> None:
    assert SSHOptions.from_command_line([("-o", "Port"), ("-p", "6")]).arguments() == ["-p", "6", "-o", "Port"]
