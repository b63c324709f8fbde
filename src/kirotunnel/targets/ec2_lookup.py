"""Asks AWS about instances, and pushes one-time keys to them, with boto3. Everything here blocks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kirotunnel.errors import (
    AWSNotSetUpError,
    AWSRefusedError,
    AWSUnreachableError,
    TargetKindUnavailableError,
)
from kirotunnel.targets.ec2 import EC2Options, Instance, Tools
from kirotunnel.wire.terminal import one_line

_EXPIRED: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_REFUSED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OptInRequired"})
_NOT_THERE: Final = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})


def tools(*, for_endpoint: bool) -> Tools:
    """Which of AWS's programs are installed here. The CLI is asked for its version only where that matters."""
    aws = shutil.which("aws")
    plugin = shutil.which("session-manager-plugin") is not None
    tunnels = aws is not None and (not for_endpoint or not _says(aws, "--version").startswith("aws-cli/1."))
    return Tools(cli=aws is not None, plugin=plugin, tunnels=tunnels)


def _says(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout or done.stderr


class Account:
    """The account that the profile leads to. Its methods raise TargetError (KT2xx)."""

    def __init__(self, options: EC2Options) -> None:
        try:
            import boto3
        except ImportError as exc:
            raise TargetKindUnavailableError("EC2 instances are looked up with boto3, which is not installed") from exc
        self._profile = options.profile
        self._making = threading.Lock()
        with self._translated("the AWS configuration"):
            self._session = boto3.Session(profile_name=options.profile)
        # Every AWS program knows AWS_REGION; boto3 alone knows AWS_DEFAULT_REGION only.
        usual = os.environ.get("AWS_REGION") or self._session.region_name
        regions = options.regions or ((usual,) if usual else ())
        if not regions:
            raise AWSNotSetUpError(
                "no AWS region is set", "name it with --ec2-region or AWS_REGION, or set it with `aws configure`"
            )
        self.regions: Sequence[str] = regions

    def find(self, instance: str | None, tags: Sequence[tuple[str, str]], region: str) -> list[Instance]:
        """The instances of that ID, or with these tags, of one region."""
        asked: dict[str, Any] = {"InstanceIds": [instance]} if instance else {}
        if tags:
            asked["Filters"] = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags]
        client = self._client("ec2", region)
        with self._translated(f"EC2 in {region}"):
            try:
                pages = client.get_paginator("describe_instances").paginate(**asked)
                rows = [row for page in pages for group in page["Reservations"] for row in group["Instances"]]
            except client.exceptions.ClientError as exc:
                if _code(exc) in _NOT_THERE:
                    return []
                raise
        return [_read(row, region) for row in rows]

    def image_name(self, instance: Instance) -> str:
        """The name of its image; empty where that may not be asked."""
        found = self._ask("ec2", instance.region, "describe_images", ImageIds=[instance.image_id])
        return next((one.get("Name", "") for one in (found or {}).get("Images", ())), "")

    def ssm_online(self, instance: Instance) -> bool | None:
        """Whether Session Manager reaches it; None where that may not be asked."""
        only = [{"Key": "InstanceIds", "Values": [instance.id]}]
        found = self._ask("ssm", instance.region, "describe_instance_information", Filters=only)
        return None if found is None else any(one["PingStatus"] == "Online" for one in found["InstanceInformationList"])

    def endpoints(self, instance: Instance) -> tuple[str, ...]:
        """The EC2 Instance Connect Endpoints of its VPC; none where that may not be asked."""
        wanted = {"vpc-id": instance.vpc, "state": "create-complete"}
        only = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
        found = self._ask("ec2", instance.region, "describe_instance_connect_endpoints", Filters=only)
        return tuple(one["InstanceConnectEndpointId"] for one in (found or {}).get("InstanceConnectEndpoints", ()))

    def push_key(self, instance: Instance, user: str, public_key: str) -> None:
        """Have the instance accept that key of that user for the next 60 seconds (EC2 Instance Connect)."""
        with self._translated(f"EC2 Instance Connect in {instance.region}"):
            self._client("ec2-instance-connect", instance.region).send_ssh_public_key(
                InstanceId=instance.id,
                InstanceOSUser=user,
                SSHPublicKey=public_key,
                **({"AvailabilityZone": instance.zone} if instance.zone else {}),
            )

    def _ask(self, service: str, region: str, question: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer; None where it may not be asked, or the service does not know."""
        import botocore.exceptions

        try:
            answer: dict[str, Any] = getattr(self._client(service, region), question)(**arguments)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            return None
        return answer

    def _client(self, service: str, region: str) -> Any:
        import botocore.config

        limits = botocore.config.Config(connect_timeout=5, read_timeout=15, retries={"max_attempts": 2})
        # A session makes one client at a time; regions are asked side by side (boto3's guide on multithreading).
        with self._making, self._translated(f"{service} in {region}"):
            return self._session.client(service, region_name=region, config=limits)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        import botocore.exceptions as boto

        sign_in = f"aws sso login --profile {self._profile}" if self._profile else "aws sso login"
        renew = f"sign in anew with `{sign_in}`, or renew the keys with `aws configure`"
        try:
            yield
        except boto.ClientError as exc:
            said = one_line(str(exc.response.get("Error", {}).get("Message", "")))
            if _code(exc) in _EXPIRED:
                raise AWSNotSetUpError(f"{what} does not take the AWS credentials: {said}", renew) from exc
            if _code(exc) in _REFUSED:
                raise AWSRefusedError(f"{what} refuses {exc.operation_name}: {said}") from exc
            raise AWSRefusedError(f"{what} answers {exc.operation_name} with {_code(exc)}: {said}") from exc
        except boto.ProfileNotFound as exc:
            hint = "`aws configure list-profiles` shows those that there are"
            raise AWSNotSetUpError(one_line(str(exc)), hint) from exc
        except (boto.ConnectionError, boto.HTTPClientError) as exc:
            raise AWSUnreachableError(f"{what} does not answer: {one_line(str(exc))}") from exc
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as exc:
            hint = f"`{sign_in}`, `aws configure`, or set AWS_PROFILE; `aws sts get-caller-identity` must work"
            raise AWSNotSetUpError(f"there are no AWS credentials: {one_line(str(exc))}", hint) from exc
        except boto.InvalidRegionError as exc:
            hint = "name one such as eu-west-1, with --ec2-region, AWS_REGION or `aws configure`"
            raise AWSNotSetUpError(f"{what} cannot be asked: {one_line(str(exc))}", hint) from exc
        except boto.BotoCoreError as exc:
            raise AWSNotSetUpError(f"{what} cannot be asked: {one_line(str(exc))}", renew) from exc
        except EOFError as exc:  # botocore asks for the code of a role with mfa_serial by getpass
            hint = "run on a terminal, or take a profile whose session has its code already"
            raise AWSNotSetUpError(f"{what} wants an MFA code, and nobody can be asked for it", hint) from exc
        except (OSError, ValueError) as exc:  # a credential_process that is not there, an endpoint that is no URL
            raise AWSNotSetUpError(f"{what} cannot be asked: {one_line(str(exc))}") from exc


def _code(exc: Any) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _read(row: dict[str, Any], region: str) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())}
    interfaces = row.get("NetworkInterfaces", ())
    six = [six["Ipv6Address"] for one in interfaces for six in one.get("Ipv6Addresses", ())]
    return Instance(
        id=row["InstanceId"],
        state=row["State"]["Name"],
        region=region,
        zone=row.get("Placement", {}).get("AvailabilityZone", ""),
        name=tags.get("Name", ""),
        public_address=row.get("PublicIpAddress") or None,
        private_address=row.get("PrivateIpAddress") or None,
        v6_address=row.get("Ipv6Address") or next(iter(six), None),
        image_id=row.get("ImageId", ""),
        vpc=row.get("VpcId", ""),
        windows=row.get("Platform", "").lower() == "windows",
    )
