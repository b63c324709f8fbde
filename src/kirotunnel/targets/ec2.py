"""How an EC2 instance is reached, and as whom: decided from facts alone. No I/O."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.errors import (
    AWSToolMissingError,
    InstanceAmbiguousError,
    InstanceNotFoundError,
    InstanceNotRunningError,
    InstanceUnreachableError,
    TargetError,
)
from kirotunnel.wire.terminal import one_line

Way = Literal["direct", "ssm", "eice"]

# The user of an image, by how its name begins. AWS: "Manage system users on your Amazon EC2 Linux instance".
_USERS: Final = (
    (("bitnami",), "bitnami"),
    (("ubuntu",), "ubuntu"),
    (("debian",), "admin"),
    (("centos",), "centos"),
    (("fedora",), "fedora"),
    (("rocky",), "rocky"),
    (("kali",), "kali"),
    (("flatcar", "coreos", "fedora-coreos"), "core"),
    (("windows",), "Administrator"),
    (("al2023", "amzn", "rhel", "suse", "opensuse", "almalinux", "ol7", "ol8", "ol9", "freebsd"), "ec2-user"),
)
# What is built on these keeps their user, and often has their name in its own: `Deep Learning AMI (Ubuntu 22.04)`.
_BUILT_ON: Final = (("ubuntu", "ubuntu"), ("debian", "admin"))
_INSTALL_CLI: Final = "install it: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
DEFAULT_USER: Final = "ec2-user"


@dataclass(frozen=True, slots=True, kw_only=True)
class EC2Options:
    """What the command line says of EC2."""

    connect: Literal["auto", "direct", "ssm", "eice"] = "auto"
    tags: tuple[tuple[str, str], ...] = ()
    """Keys and values that the instance must have, all of them; instead of an ID."""
    regions: tuple[str, ...] = ()
    """Where to look; empty for the one that AWS_REGION or the profile names."""
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What AWS says of an instance."""

    id: str
    state: str
    region: str
    zone: str = ""
    name: str = ""
    """Its tag `Name`."""
    public_address: str | None = None
    private_address: str | None = None
    v6_address: str | None = None
    image_id: str = ""
    vpc: str = ""
    image: str = ""
    """The name of its image; empty where that is not known."""
    windows: bool = False
    ssm_online: bool | None = None
    """Session Manager reaches it; None where that could not be asked."""
    endpoints: tuple[str, ...] = ()
    """The EC2 Instance Connect Endpoints of its VPC."""

    def describe(self) -> str:
        """ID and name, for messages."""
        return f"{self.id} ({one_line(self.name)})" if self.name else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """AWS's programs on this machine."""

    cli: bool
    """The AWS CLI, of any version."""
    tunnels: bool = True
    """It is version 2, which alone speaks to Instance Connect Endpoints."""
    plugin: bool
    """The AWS CLI's session-manager-plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way that was chosen."""

    way: Way
    address: str
    """For HostName."""
    proxy_command: str | None
    why: str


def parse_tag(text: str) -> tuple[str, str]:
    """Read `Key=Value`. Raises TargetError."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise TargetError(f"{text!r} is no tag", "give it as --ec2-tag Key=Value, such as --ec2-tag Name=dev-box")
    return key, value


def choose_instance(found: Sequence[Instance], asked: str, regions: Sequence[str]) -> Instance:
    """The one that is meant. Raises InstanceNotFoundError, InstanceAmbiguousError."""
    present = [one for one in found if one.state != "terminated"] or list(found)
    running = [one for one in present if one.state == "running"]
    chosen = running or present
    if not chosen:
        raise InstanceNotFoundError(f"there is no EC2 instance {asked} in {', '.join(regions)}")
    if len(chosen) > 1:
        listed = "; ".join(f"{one.describe()} in {one.region}, {one.state}" for one in chosen[:10])
        more = f"; and {len(chosen) - 10} more" if len(chosen) > 10 else ""
        raise InstanceAmbiguousError(f"{len(chosen)} EC2 instances are {asked}: {listed}{more}")
    return chosen[0]


def guess_user(instance: Instance) -> tuple[str, str]:
    """The user to log in as, and why that one."""
    if instance.windows:
        return "Administrator", "it runs Windows"
    # `ubuntu/images/hvm-ssd/ubuntu-jammy…`, `RHEL-9.4…`, `bitnami-wordpress-…-debian-12…`: the beginning counts.
    name = instance.image.lower().rpartition("/")[2]
    for beginnings, user in _USERS:
        if name.startswith(beginnings):
            return user, f"its image is {one_line(instance.image, 80)}"
    for system, user in _BUILT_ON:
        if system in name:
            return user, f"its image is {one_line(instance.image, 80)}"
    if not instance.image:
        return DEFAULT_USER, "its image is not known, and most have this one"
    return DEFAULT_USER, f"nothing is known of its image {one_line(instance.image, 80)}, and most have this one"


def choose_route(instance: Instance, options: EC2Options, tools: Tools, *, through_jump: bool = False) -> Route:
    """How to reach it. Raises InstanceNotRunningError, InstanceUnreachableError, AWSToolMissingError."""
    _must_run(instance)
    if options.connect == "direct" or (options.connect == "auto" and through_jump):
        return _direct(instance, through_jump=through_jump)
    if options.connect == "ssm":
        return _ssm(instance, options, tools)
    if options.connect == "eice":
        return _eice(instance, options, tools)
    if instance.public_address:
        return _direct(instance, through_jump=False)
    # What is known to work here comes first; then what works once a program is installed, whose name is then said.
    if instance.ssm_online and tools.cli and tools.plugin:
        return _ssm(instance, options, tools)
    if instance.endpoints:
        return _eice(instance, options, tools)
    if instance.v6_address:
        return _direct(instance, through_jump=False)
    if instance.ssm_online or (instance.ssm_online is None and tools.cli and tools.plugin):
        return _ssm(instance, options, tools)
    raise InstanceUnreachableError(
        f"{instance.describe()} has no public address, its SSM agent is not registered with Session Manager, and its "
        "VPC has no EC2 Instance Connect Endpoint",
        f"with a VPN to its network use `--ec2-connect direct` ({instance.private_address}); else give it an "
        "instance profile with AmazonSSMManagedInstanceCore, or its VPC an endpoint with "
        "`aws ec2 create-instance-connect-endpoint`",
    )


def _must_run(instance: Instance) -> None:
    if instance.state == "running":
        return
    said = f"{instance.describe()} in {instance.region} is {instance.state}"
    wait = f"`aws ec2 wait instance-running --instance-ids {instance.id} --region {instance.region}`"
    hints = {
        "stopped": f"`aws ec2 start-instances --instance-ids {instance.id} --region {instance.region}`, then {wait}",
        "stopping": f"wait until it has stopped, then `aws ec2 start-instances --instance-ids {instance.id}`",
        "pending": f"it is starting: {wait}, then run this again",
    }
    raise InstanceNotRunningError(said, hints.get(instance.state, "it does not come back; choose another instance"))


def _direct(instance: Instance, *, through_jump: bool) -> Route:
    if through_jump and instance.private_address:
        why = "its private address, through the jump host of the SSH config"
        return Route(way="direct", address=instance.private_address, proxy_command=None, why=why)
    for address, why in (
        (instance.public_address, "its public address"),
        (instance.v6_address, "its IPv6 address"),
        (instance.private_address, "its private address: it has no public one, so this needs a VPN to its network"),
    ):
        if address:
            return Route(way="direct", address=address, proxy_command=None, why=why)
    raise InstanceUnreachableError(f"{instance.describe()} has no address")


def _ssm(instance: Instance, options: EC2Options, tools: Tools) -> Route:
    if instance.ssm_online is False:
        raise InstanceUnreachableError(
            f"the SSM agent of {instance.describe()} is not registered with Session Manager, or not online",
            "give it an instance profile with AmazonSSMManagedInstanceCore, and see that amazon-ssm-agent runs there; "
            f"`aws ssm describe-instance-information --region {instance.region}` must list it",
        )
    _need_cli(tools, "Session Manager")
    if not tools.plugin:
        raise AWSToolMissingError(
            f"Session Manager's session-manager-plugin is not installed; {instance.describe()} is reached through it",
            "install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/"
            "session-manager-working-with-install-plugin.html",
        )
    words = ["aws", "ssm", "start-session", "--target", instance.id, "--document-name", "AWS-StartSSHSession"]
    words += ["--parameters", "portNumber=%p", *_where(instance, options)]
    return Route(way="ssm", address=instance.id, proxy_command=shlex.join(words), why="Session Manager")


def _eice(instance: Instance, options: EC2Options, tools: Tools) -> Route:
    if not instance.endpoints:
        raise InstanceUnreachableError(
            f"the VPC of {instance.describe()} has no EC2 Instance Connect Endpoint",
            "make one with `aws ec2 create-instance-connect-endpoint --subnet-id SUBNET`, or choose another way with "
            "--ec2-connect",
        )
    _need_cli(tools, "an EC2 Instance Connect Endpoint")
    if not tools.tunnels:
        raise AWSToolMissingError(
            "the AWS CLI here is version 1, and only version 2 speaks to EC2 Instance Connect Endpoints", _INSTALL_CLI
        )
    words = ["aws", "ec2-instance-connect", "open-tunnel", "--instance-id", instance.id, "--remote-port", "%p"]
    words += ["--instance-connect-endpoint-id", instance.endpoints[0], *_where(instance, options)]
    why = f"the EC2 Instance Connect Endpoint {instance.endpoints[0]}"
    return Route(way="eice", address=instance.id, proxy_command=shlex.join(words), why=why)


def _need_cli(tools: Tools, what: str) -> None:
    if not tools.cli:
        raise AWSToolMissingError(
            f"{what} is spoken to by the AWS CLI, which is not installed",
            _INSTALL_CLI,
        )


def _where(instance: Instance, options: EC2Options) -> list[str]:
    profile = ["--profile", options.profile] if options.profile else []
    return ["--region", instance.region, *profile]
