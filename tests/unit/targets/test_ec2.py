"""The decision how an instance is reached, and as whom: a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kirotunnel.errors import (
    AWSToolMissingError,
    InstanceAmbiguousError,
    InstanceNotFoundError,
    InstanceNotRunningError,
    InstanceUnreachableError,
    TargetError,
)
from kirotunnel.targets.ec2 import (
    EC2Options,
    Instance,
    Tools,
    choose_instance,
    choose_route,
    guess_user,
    parse_tag,
)

BARE = Instance(id="i-0123456789abcdef0", state="running", region="eu-west-1", private_address="10.0.0.7")
PUBLIC = {"public_address": "198.51.100.7"}
SSM = {"ssm_online": True}
NO_SSM = {"ssm_online": False}
EICE = {"endpoints": ("eice-1",)}
V6 = {"v6_address": "2001:db8::7"}
ALL = Tools(cli=True, plugin=True)
OLD = Tools(cli=True, plugin=True, tunnels=False)
CLI = Tools(cli=True, plugin=False)
NONE = Tools(cli=False, plugin=False)


@pytest.mark.parametrize(
    ("facts", "wanted", "tools", "way", "address"),
    [
        (PUBLIC, "auto", ALL, "direct", "198.51.100.7"),
        (PUBLIC | SSM | EICE, "auto", NONE, "direct", "198.51.100.7"),
        (PUBLIC | SSM, "ssm", ALL, "ssm", BARE.id),
        (PUBLIC | EICE, "eice", CLI, "eice", BARE.id),
        (SSM, "auto", ALL, "ssm", BARE.id),
        (SSM | EICE, "auto", ALL, "ssm", BARE.id),
        (SSM | EICE, "auto", CLI, "eice", BARE.id),
        (NO_SSM | EICE, "auto", ALL, "eice", BARE.id),
        (NO_SSM | V6, "auto", ALL, "direct", "2001:db8::7"),
        ({}, "auto", ALL, "ssm", BARE.id),
        ({}, "ssm", ALL, "ssm", BARE.id),
        ({}, "direct", NONE, "direct", "10.0.0.7"),
        (V6, "direct", NONE, "direct", "2001:db8::7"),
    ],
)
def test_the_way(facts: dict[str, Any], wanted: Any, tools: Tools, way: str, address: str) -> None:
    route = choose_route(replace(BARE, **facts), EC2Options(connect=wanted), tools)
    assert (route.way, route.address, route.proxy_command is None) == (way, address, way == "direct")
    assert route.why


@pytest.mark.parametrize(
    ("facts", "wanted", "tools", "error", "said"),
    [
        (NO_SSM, "auto", ALL, InstanceUnreachableError, "--ec2-connect direct` (10.0.0.7)"),
        ({}, "auto", NONE, InstanceUnreachableError, "create-instance-connect-endpoint"),
        (NO_SSM, "ssm", ALL, InstanceUnreachableError, "AmazonSSMManagedInstanceCore"),
        ({}, "eice", ALL, InstanceUnreachableError, "create-instance-connect-endpoint"),
        (SSM, "auto", CLI, AWSToolMissingError, "session-manager-working-with-install-plugin"),
        (SSM, "ssm", CLI, AWSToolMissingError, "session-manager-working-with-install-plugin"),
        (SSM, "auto", NONE, AWSToolMissingError, "getting-started-install"),
        (EICE | NO_SSM, "auto", OLD, AWSToolMissingError, "getting-started-install"),
        (EICE | NO_SSM, "auto", NONE, AWSToolMissingError, "getting-started-install"),
        ({"private_address": None}, "direct", ALL, InstanceUnreachableError, ""),
    ],
)
def test_no_way(facts: dict[str, Any], wanted: Any, tools: Tools, error: type[TargetError], said: str) -> None:
    with pytest.raises(error) as caught:
        choose_route(replace(BARE, **facts), EC2Options(connect=wanted), tools)
    assert said in caught.value.hint
    assert BARE.id in caught.value.message or error is AWSToolMissingError


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("stopped", "aws ec2 start-instances --instance-ids i-0123456789abcdef0 --region eu-west-1"),
        ("stopping", "wait until it has stopped"),
        ("pending", "instance-running"),
        ("shutting-down", "choose another"),
        ("terminated", "choose another"),
    ],
)
def test_an_instance_that_does_not_run(state: str, said: str) -> None:
    with pytest.raises(InstanceNotRunningError, match=f"is {state}") as caught:
        choose_route(replace(BARE, state=state, **PUBLIC), EC2Options(), ALL)
    assert said in caught.value.hint


def test_a_jump_host_of_the_config_leads_to_the_private_address() -> None:
    route = choose_route(replace(BARE, **PUBLIC), EC2Options(), ALL, through_jump=True)
    assert (route.way, route.address) == ("direct", "10.0.0.7")


def test_the_commands_are_those_of_the_manuals() -> None:
    options = EC2Options(connect="ssm", profile="my profile")
    assert choose_route(replace(BARE, **SSM), options, ALL).proxy_command == (
        "aws ssm start-session --target i-0123456789abcdef0 --document-name AWS-StartSSHSession "
        "--parameters portNumber=%p --region eu-west-1 --profile 'my profile'"
    )
    assert choose_route(replace(BARE, **EICE), EC2Options(connect="eice"), ALL).proxy_command == (
        "aws ec2-instance-connect open-tunnel --instance-id i-0123456789abcdef0 --remote-port %p "
        "--instance-connect-endpoint-id eice-1 --region eu-west-1"
    )


@pytest.mark.parametrize(
    ("image", "user"),
    [
        ("al2023-ami-2023.5.20240722.0-kernel-6.1-x86_64", "ec2-user"),
        ("amzn2-ami-hvm-2.0.20240709.1-x86_64-gp2", "ec2-user"),
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240701", "ubuntu"),
        ("ubuntu-pro-server/images/hvm-ssd/ubuntu-jammy-22.04-amd64-pro-server", "ubuntu"),
        ("debian-12-amd64-20240717-1811", "admin"),
        ("RHEL-9.4.0_HVM-20240605-x86_64-82-Hourly2-GP3", "ec2-user"),
        ("suse-sles-15-sp6-v20240705-hvm-ssd-x86_64", "ec2-user"),
        ("bitnami-wordpress-6.6.1-0-linux-debian-12-x86_64-hvm-ebs", "bitnami"),
        ("CentOS Stream 9 x86_64 20240715", "centos"),
        ("Rocky-9-EC2-Base-9.4-20240523.0.x86_64", "rocky"),
        ("Fedora-Cloud-Base-40-1.14.x86_64-hvm-us-east-1-gp3-0", "fedora"),
        ("AlmaLinux OS 9.4.20240805 x86_64", "ec2-user"),
        ("Flatcar-stable-3815.2.5-hvm", "core"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20240624", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2) Version 63.5", "ec2-user"),
        ("aws-parallelcluster-3.9.1-ubuntu-2204-lts-hvm-x86_64", "ubuntu"),
        ("acme-debian-12-base", "admin"),
        ("our-own-image", "ec2-user"),
        ("", "ec2-user"),
    ],
)
def test_the_user_of_an_image(image: str, user: str) -> None:
    found, why = guess_user(replace(BARE, image=image))
    assert found == user
    assert why


def test_windows_has_an_administrator() -> None:
    assert guess_user(replace(BARE, windows=True))[0] == "Administrator"


def test_which_of_several_instances() -> None:
    one, two = replace(BARE, id="i-00000001", name="dev"), replace(BARE, id="i-00000002", name="dev")
    assert choose_instance([one], "x", ["r"]) is one
    assert choose_instance([replace(one, state="stopped"), two], "x", ["r"]) is two
    gone = replace(one, state="terminated")
    assert choose_instance([gone, replace(two, state="stopped")], "x", ["r"]).id == two.id
    assert choose_instance([gone], "x", ["r"]) is gone
    with pytest.raises(InstanceNotFoundError, match="with Name=dev in eu-west-1, us-east-1"):
        choose_instance([], "with Name=dev", ["eu-west-1", "us-east-1"])
    with pytest.raises(InstanceAmbiguousError, match=r"i-00000001 \(dev\).*i-00000002 \(dev\)"):
        choose_instance([one, two], "with Name=dev", ["r"])
    many = [replace(BARE, id=f"i-{number:08x}") for number in range(12)]
    with pytest.raises(InstanceAmbiguousError, match="and 2 more"):
        choose_instance(many, "x", ["r"])


def test_tags() -> None:
    assert parse_tag("Name=dev box") == ("Name", "dev box")
    assert parse_tag("a=b=c") == ("a", "b=c")
    assert parse_tag("empty=") == ("empty", "")
    for bad in ("Name", "=x", ""):
        with pytest.raises(TargetError):
            parse_tag(bad)
