"""What is said of a target wherever there is one: which it is, how it is reached, and inside of what."""

from __future__ import annotations

from dataclasses import dataclass, field

from kirotunnel.ssh.config import SSHOptions
from kirotunnel.targets.ec2 import EC2Options
from kirotunnel.wire.containers import Inside


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """Base of the options of every flow with a target."""

    target: str
    ssh: SSHOptions = field(default_factory=SSHOptions)
    ec2: EC2Options = field(default_factory=EC2Options)
    inside: Inside | None = None
    """The container or pod on the target in which all of it happens."""

    @property
    def place(self) -> str:
        """The target as messages call it: with the container on it."""
        return f"{self.inside.describe()} on {self.target}" if self.inside else self.target
