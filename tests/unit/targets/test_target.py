"""What a person types as a target."""

from __future__ import annotations

import pytest

from kirotunnel.errors import TargetError
from kirotunnel.targets.target import SSHTarget, parse_target


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("box", "box"),
        ("box.example.com", "box.example.com"),
        ("ada@box", "ada@box"),
        ("ada@corp@box", "ada@corp@box"),
        ("10.0.0.1", "10.0.0.1"),
        ("ada@10.0.0.1:2222", "ssh://ada@10.0.0.1:2222"),
        ("box:22", "ssh://box:22"),
        ("box:0022", "ssh://box:22"),
        ("box:65535", "ssh://box:65535"),
        ("ssh://box", "box"),
        ("ssh://box/", "box"),
        ("ssh://ada@box:2222", "ssh://ada@box:2222"),
        ("ssh://ada@box:2222/", "ssh://ada@box:2222"),
        ("ssh://[::1]:22", "ssh://[::1]:22"),
        ("[::1]:22", "ssh://[::1]:22"),
        ("ada@[2001:db8::1]:2222", "ssh://ada@[2001:db8::1]:2222"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("ada@[::1]", "ada@::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("ada@::1", "ada@::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("ada@[fe80::1%eth0]", "ada@fe80::1%eth0"),
        ("my_host-1", "my_host-1"),
        ("dev/box", None),
        ("", None),
        (" ", None),
        ("@box", None),
        ("ada@", None),
        ("-oProxyCommand=id", None),
        ("ada@-oProxyCommand=id", None),
        ("-l@box", None),
        ("ssh://-oProxyCommand=id", None),
        ("[-oProxyCommand=id]", None),
        ("ada@[-F]:22", None),
        ("[box]", None),
        ("[box]:22", None),
        ("[::1", None),
        ("::1]", None),
        ("[::1]x", None),
        ("[::1]:", None),
        ("[10.0.0.1]", None),
        ("box:", None),
        ("box:0", None),
        ("box:65536", None),
        ("box:" + "9" * 5000, None),
        ("box:ssh", None),
        ("box:-1", None),
        ("box:22:22", None),
        ("abc:", None),
        ("dead:beef", None),
        ("ssh://::1", None),
        ("ssh://box:22/path", None),
        ("https://box", None),
        ("box name", None),
        ("box\n", None),
        ("box;id", None),
        ("box$(id)", None),
        ("box`id`", None),
        ("box|id", None),
        ("box>x", None),
        ("'box'", None),
        ('"box"', None),
        ("b\\ox", None),
        ("b\x1b[2Jox", None),
        ("$USER@box", None),
    ],
)
def test_a_target_is_a_destination_for_ssh_or_an_error(text: str, destination: str | None) -> None:
    if destination is None:
        with pytest.raises(TargetError) as refusal:
            parse_target(text)
        assert refusal.value.code == "KT201"
        assert refusal.value.message.startswith(repr(text))
        assert refusal.value.message.isprintable()
    else:
        assert parse_target(text) == SSHTarget(text, destination)


@pytest.mark.parametrize(
    ("text", "instance", "user"),
    [
        ("i-0123456789abcdef0", "i-0123456789abcdef0", None),
        ("i-01234567", "i-01234567", None),
        ("ec2-user@i-0123456789abcdef0", "i-0123456789abcdef0", "ec2-user"),
        ("ada@i-01234567:2222", "i-01234567", "ada"),
    ],
)
def test_an_instance_id_is_recognised(text: str, instance: str, user: str | None) -> None:
    found = parse_target(text)
    assert (found.instance, found.user) == (instance, user)


@pytest.mark.parametrize("text", ["i-0123", "i-0123456789abcdeg0", "i-box", "xi-01234567"])
def test_a_name_that_only_looks_like_an_instance_id_is_a_name(text: str) -> None:
    assert parse_target(text).destination == text
    assert parse_target(text).instance is None
