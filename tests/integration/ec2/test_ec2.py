"""EC2 instances as targets: moto has the instances, a real sshd is what their addresses lead to."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from e2e.harness import Run, finish, kirotunnel, start, wait_until
from integration.ec2.cloud import Cloud, ec2_error, json_error, type_of_key
from lab.engine import engine_on
from lab.keys import ClientKeys
from lab.remote import RemoteMachine
from lab.servers import Server

HOME_OF_BASH = "/home/bash"


@pytest.fixture(scope="session")
def clouds() -> Iterator[Cloud]:
    cloud = Cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(clouds: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    clouds.reset()
    for name, value in clouds.environment().items():
        monkeypatch.setenv(name, value)
    return clouds


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An SSH config that knows nothing of EC2."""
    file = tmp_path / "config"
    file.write_text(
        f"Host *\n  UserKnownHostsFile {tmp_path / 'known'}\n  GlobalKnownHostsFile none\n"
        "  StrictHostKeyChecking accept-new\n  IdentityFile none\n  IdentityAgent none\n"
    )
    return file


class Machine:
    """The lab's machine as an instance: its public address leads there, and it takes pushed keys."""

    def __init__(self, remote: RemoteMachine, cloud: Cloud, instance: dict[str, Any]) -> None:
        self.remote, self.address = remote, instance["PublicIpAddress"]
        remote.write("/run/lab/pushed", "")
        remote.run(f"ip addr add {self.address}/32 dev lo")
        subprocess.run(["ip", "route", "add", self.address, "via", remote.address], check=True)
        self.server = remote.sshd(
            extra=[f"ListenAddress {self.address}:22", "AuthorizedKeysFile /run/lab/pushed .ssh/authorized_keys"],
            port=2022,
        )
        cloud.on_push = lambda key: remote.write("/run/lab/pushed", key + "\n")

    def stop(self) -> None:
        self.server.stop()
        subprocess.run(["ip", "route", "del", self.address], check=False)
        self.remote.run(f"ip addr del {self.address}/32 dev lo")


@pytest.fixture
def instance(cloud: Cloud) -> dict[str, Any]:
    return cloud.instance("dev-box")


@pytest.fixture
def machine(cloud: Cloud, instance: dict[str, Any], remote: RemoteMachine) -> Iterator[Machine]:
    remote.install_cli("bash")
    found = Machine(remote, cloud, instance)
    yield found
    found.stop()


def login(config: Path, *arguments: str, **env: str) -> Run:
    """As far as the connection matters: whether somebody is signed in, or what failed."""
    return kirotunnel("login", "-F", str(config), "--json", "--flow", "device", "--timeout", "40", *arguments, env=env)


def is_connected(run: Run) -> bool:
    """The SSH connection stood. What the CLI there does is not asked in these tests."""
    return "connected" in run.names


def plan(config: Path, *arguments: str, **env: str) -> Run:
    return kirotunnel("login", "-F", str(config), "--dry-run", *arguments, env=env)


def failure(run: Run, code: str) -> tuple[str, str]:
    assert (run.code, run.failure) == (4, code), run.stderr
    failed = run.named("failed")[0]
    return failed["message"], failed["hint"]


# --- the connection --------------------------------------------------------------------------------------------------


def test_a_public_address_and_a_key_of_the_persons(
    machine: Machine, instance: dict[str, Any], config: Path, client_keys: ClientKeys, cloud: Cloud
) -> None:
    run = login(config, f"bash@{instance['InstanceId']}", "-i", str(client_keys.plain))
    assert is_connected(run), run.stderr
    assert (run.named("connecting")[0]["host"], run.named("connecting")[0]["user"]) == (machine.address, "bash")
    assert cloud.pushed == []
    assert "its public address" in run.stderr
    known = (config.parent / "known").read_text()
    assert known.startswith(instance["InstanceId"])  # the address may be another's tomorrow


def test_a_one_time_key_is_pushed_where_none_is_at_hand(
    machine: Machine, instance: dict[str, Any], config: Path, cloud: Cloud
) -> None:
    run = login(config, instance["InstanceId"], "-l", "bash")
    assert is_connected(run), run.stderr
    (pushed,) = cloud.pushed
    assert (pushed["InstanceId"], pushed["InstanceOSUser"]) == (instance["InstanceId"], "bash")
    assert pushed["AvailabilityZone"] == instance["Placement"]["AvailabilityZone"]
    assert type_of_key(pushed["SSHPublicKey"]) == "ssh-ed25519"
    machine.server.wait_for_log("Accepted publickey for bash")


def test_a_one_time_key_is_pushed_where_no_other_is_accepted(
    machine: Machine, instance: dict[str, Any], config: Path, cloud: Cloud, client_keys: ClientKeys
) -> None:
    run = login(config, instance["InstanceId"], "-l", "bash", "-i", str(client_keys.stranger))
    assert is_connected(run), run.stderr
    assert len(cloud.pushed) == 1
    assert "one-time key" in run.stderr


def test_doctor_gets_in_as_a_login_would(
    machine: Machine, instance: dict[str, Any], config: Path, cloud: Cloud
) -> None:
    run = kirotunnel("doctor", "-F", str(config), instance["InstanceId"], "-l", "bash")
    assert f"\n{instance['InstanceId']}\n" in run.stdout, run.stdout
    assert "KT304" not in run.stdout
    assert "/home/bash/.local/bin/kiro-cli" in run.stdout
    assert len(cloud.pushed) == 1


def test_the_private_half_is_nowhere(
    machine: Machine, instance: dict[str, Any], config: Path, cloud: Cloud, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    run = login(config, instance["InstanceId"], "-l", "bash", "-vv")
    assert is_connected(run)
    new = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
    assert [path for path in new if "PRIVATE KEY" in path.read_text(errors="replace")] == []
    assert "PRIVATE KEY" not in run.stderr + run.stdout


def test_an_instance_is_chosen_by_its_tag(
    machine: Machine, instance: dict[str, Any], config: Path, cloud: Cloud
) -> None:
    cloud.instance("other-box")
    run = login(config, "--ec2-tag", "Name=dev-box", "-l", "bash")
    assert is_connected(run), run.stderr
    assert run.events[0]["target"] == "ec2:Name=dev-box"
    assert cloud.pushed[0]["InstanceId"] == instance["InstanceId"]


def test_a_container_on_an_instance(
    machine: Machine, instance: dict[str, Any], config: Path, remote: RemoteMachine, cloud: Cloud
) -> None:
    with engine_on(remote) as engine:
        engine.client("docker")
        run = login(
            config, "--ec2-tag", "Name=dev-box", "-l", "bash", "--container", "web", "--container-engine", "docker"
        )
        assert is_connected(run), run.stderr
        assert [(event["engine"], event["container"]) for event in run.named("container")] == [("docker", "web")]
        assert run.failure == "KT401"  # there is no CLI in it, though there is one beside it
    assert len(cloud.pushed) == 1


# --- aws, the program ------------------------------------------------------------------------------------------------

# The options that AWS's manuals have for these commands; the parameters are checked, then the bytes are passed on.
STAND_IN = """\
#!{python}
import os, socket, sys, threading
expected = {expected!r}
if sys.argv[1:] == ["--version"]:
    sys.exit(print("aws-cli/2.17.0 Python/3.11"))
if sys.argv[1:] != expected:
    sys.exit(f"aws was called with {{sys.argv[1:]}}, not {{expected}}")
far = socket.create_connection(({host!r}, {port}))
def out():
    while data := far.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=out, daemon=True).start()
while data := os.read(0, 65536):
    far.sendall(data)
"""


def stand_in(directory: Path, server: Server, expected: list[str], *, plugin: bool = True) -> str:
    """A PATH with this `aws`, and the plugin or not."""
    directory.mkdir()
    text = STAND_IN.format(python=sys.executable, expected=expected, host=server.host, port=server.port)
    for name in ["aws", *(["session-manager-plugin"] if plugin else [])]:
        program = directory / name
        program.write_text(text)
        program.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def ssm_arguments(instance: str) -> list[str]:
    return [
        "ssm", "start-session", "--target", instance, "--document-name", "AWS-StartSSHSession",
        "--parameters", "portNumber=22", "--region", "eu-west-1",
    ]  # fmt: skip


def endpoint_arguments(instance: str) -> list[str]:
    return [
        "ec2-instance-connect", "open-tunnel", "--instance-id", instance, "--remote-port", "22",
        "--instance-connect-endpoint-id", "eice-0123456789abcdef0", "--region", "eu-west-1",
    ]  # fmt: skip


@pytest.mark.parametrize("wanted", ["auto", "ssm"])
def test_session_manager(
    cloud: Cloud,
    sshd: Server,
    remote: RemoteMachine,
    config: Path,
    tmp_path: Path,
    client_keys: ClientKeys,
    wanted: str,
) -> None:
    remote.install_cli("bash")
    found = cloud.instance(public=wanted == "ssm")["InstanceId"]
    cloud.online.add(found)
    path = stand_in(tmp_path / "bin", sshd, ssm_arguments(found))
    run = login(config, found, "-l", "bash", "-i", str(client_keys.plain), "--ec2-connect", wanted, PATH=path)
    assert is_connected(run), run.stderr
    assert run.named("connecting")[0]["via"] == ["ProxyCommand"]
    assert "Session Manager" in run.stderr


def test_an_instance_connect_endpoint(
    cloud: Cloud, sshd: Server, remote: RemoteMachine, config: Path, tmp_path: Path, client_keys: ClientKeys
) -> None:
    remote.install_cli("bash")
    found = cloud.instance(public=False)["InstanceId"]
    cloud.endpoints.append("eice-0123456789abcdef0")
    expected = endpoint_arguments(found)
    path = stand_in(tmp_path / "bin", sshd, expected, plugin=False)
    run = login(config, found, "-l", "bash", "-i", str(client_keys.plain), PATH=path)
    assert is_connected(run), run.stderr


@pytest.mark.parametrize("wanted", ["auto", "eice"])
def test_an_aws_of_version_1_has_no_tunnels(cloud: Cloud, config: Path, tmp_path: Path, wanted: str) -> None:
    found = cloud.instance(public=False)["InstanceId"]
    cloud.endpoints.append("eice-0123456789abcdef0")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "aws").write_text("#!/bin/sh\necho aws-cli/1.45.11 Python/3.11\n")
    (programs / "aws").chmod(0o755)
    message, hint = failure(login(config, found, "--ec2-connect", wanted, PATH=f"{programs}:/usr/bin:/bin"), "KT209")
    assert "version 2" in message
    assert "getting-started-install" in hint


# --- the plan --------------------------------------------------------------------------------------------------------


def test_a_dry_run_explains_and_pushes_nothing(cloud: Cloud, instance: dict[str, Any], config: Path) -> None:
    run = plan(config, instance["InstanceId"])
    assert run.code == 0, run.stderr
    assert f"{instance['InstanceId']} (dev-box) in eu-west-1 is reached by its public address" in run.stdout
    assert "logging in as ubuntu: its image is ubuntu/images" in run.stdout
    assert "a one-time key would be pushed" in run.stdout
    assert "SendSSHPublicKey" not in cloud.asked
    by_hand = next(line for line in run.stdout.splitlines() if line.startswith("by hand")).split(maxsplit=2)[2]
    argv = shlex.split(by_hand)
    shown = subprocess.run(["ssh", "-G", *argv[1:]], capture_output=True, text=True, timeout=20, check=True).stdout
    assert f"hostname {instance['PublicIpAddress']}\n" in shown
    assert "user ubuntu\n" in shown


@pytest.mark.parametrize(("image", "user"), [("amzn2-ami-hvm", "ec2-user"), ("ubuntu/images", "ubuntu")])
def test_the_user_is_guessed_and_said(cloud: Cloud, config: Path, image: str, user: str) -> None:
    found = cloud.instance(image=image)["InstanceId"]
    assert f"logging in as {user}: its image is" in plan(config, found).stdout


@pytest.mark.parametrize("how", ["-l", "@", "config", "-o"])
def test_a_user_that_is_given_is_not_guessed(cloud: Cloud, instance: dict[str, Any], config: Path, how: str) -> None:
    name = instance["InstanceId"]
    if how == "config":
        config.write_text(f"Host i-*\n  User ada\n{config.read_text()}")
    arguments = {"-l": [name, "-l", "ada"], "@": [f"ada@{name}"], "config": [name], "-o": [name, "-o", "User=ada"]}[how]
    shown = plan(config, *arguments).stdout
    assert f"ada@{instance['PublicIpAddress']}" in shown
    assert "logging in as" not in shown
    assert "DescribeImages" not in cloud.asked


def test_an_image_that_may_not_be_asked_about(cloud: Cloud, instance: dict[str, Any], config: Path) -> None:
    cloud.says["DescribeImages"] = ec2_error("UnauthorizedOperation", "not yours")
    assert "logging in as ec2-user: its image is not known" in plan(config, instance["InstanceId"]).stdout


def test_the_persons_own_way_to_instances_is_taken(cloud: Cloud, config: Path) -> None:
    """As AWS's manual has it: `Host i-*` with a ProxyCommand. AWS is not asked then."""
    config.write_text(f"Host i-*\n  ProxyCommand my-tunnel %h %p\n{config.read_text()}")
    run = plan(config, "i-0123456789abcdef0")
    assert run.code == 0, run.stderr
    assert cloud.asked == []


def test_a_jump_host_of_the_config_leads_to_the_private_address(
    cloud: Cloud, instance: dict[str, Any], config: Path
) -> None:
    run = plan(config, instance["InstanceId"], "-J", "ada@bastion.example.com")
    assert f"ubuntu@{instance['PrivateIpAddress']} via ada@bastion.example.com" in run.stdout


def test_several_regions_are_asked(cloud: Cloud, config: Path) -> None:
    found = cloud.instance("far", region="us-east-2")["InstanceId"]
    run = plan(config, "--ec2-tag", "Name=far", "--ec2-region", "eu-west-1", "--ec2-region", "us-east-2")
    assert f"{found} (far) in us-east-2" in run.stdout
    message, hint = failure(login(config, found), "KT205")
    assert "eu-west-1" in message
    assert "--ec2-region" in hint


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_no_such_instance(cloud: Cloud, config: Path) -> None:
    message, _ = failure(login(config, "i-0123456789abcdef0"), "KT205")
    assert message == "there is no EC2 instance i-0123456789abcdef0 in eu-west-1"
    message, _ = failure(login(config, "--ec2-tag", "Name=none", "--ec2-tag", "Stage=dev"), "KT205")
    assert "with Name=none, Stage=dev" in message


def test_a_stopped_instance(cloud: Cloud, instance: dict[str, Any], config: Path) -> None:
    cloud.ec2().stop_instances(InstanceIds=[instance["InstanceId"]])
    message, hint = failure(login(config, instance["InstanceId"]), "KT206")
    assert message.endswith("is stopped")
    assert f"aws ec2 start-instances --instance-ids {instance['InstanceId']} --region eu-west-1" in hint


def test_a_terminated_instance(cloud: Cloud, instance: dict[str, Any], config: Path) -> None:
    cloud.ec2().terminate_instances(InstanceIds=[instance["InstanceId"]])
    message, _ = failure(login(config, instance["InstanceId"]), "KT206")
    assert message.endswith("is terminated")


def test_several_instances_of_one_tag_are_several_targets(cloud: Cloud, config: Path) -> None:
    ids = [cloud.instance("dev-box")["InstanceId"] for _ in range(2)]
    ids.append(cloud.instance("dev-box", region="us-east-2")["InstanceId"])
    regions = ("--ec2-region", "eu-west-1", "--ec2-region", "us-east-2")
    run = plan(config, "--ec2-tag", "Name=dev-box", *regions)
    assert run.code == 0, run.stderr
    assert {line.split()[1] for line in run.stdout.splitlines() if line.startswith("target")} == set(ids)
    for one in ids:
        assert f"{one} (dev-box) in " in run.stdout
    cloud.ec2().stop_instances(InstanceIds=ids[:1])  # one that is off is no target
    assert ids[0] not in plan(config, "--ec2-tag", "Name=dev-box", *regions).stdout


def test_what_is_for_one_target_names_all_instances_of_a_tag(cloud: Cloud, config: Path) -> None:
    ids = [cloud.instance("dev-box")["InstanceId"] for _ in range(2)]
    run = kirotunnel("attach", "-F", str(config), "--json", "--ec2-tag", "Name=dev-box")
    message, _ = failure(run, "KT207")
    assert all(one in message for one in ids)


def test_no_ssm_agent(cloud: Cloud, config: Path, tmp_path: Path, sshd: Server) -> None:
    found = cloud.instance(public=False)["InstanceId"]
    path = stand_in(tmp_path / "bin", sshd, [])
    _, hint = failure(login(config, found, "--ec2-connect", "ssm", PATH=path), "KT208")
    assert "AmazonSSMManagedInstanceCore" in hint
    _, hint = failure(login(config, found, PATH=path), "KT208")
    assert "--ec2-connect direct" in hint
    _, hint = failure(login(config, found, "--ec2-connect", "eice", PATH=path), "KT208")
    assert "create-instance-connect-endpoint" in hint


def test_no_plugin_and_no_aws(cloud: Cloud, config: Path, tmp_path: Path, sshd: Server) -> None:
    found = cloud.instance(public=False)["InstanceId"]
    cloud.online.add(found)
    path = stand_in(tmp_path / "bin", sshd, [], plugin=False)
    message, hint = failure(login(config, found, PATH=path), "KT209")
    assert "session-manager-plugin" in message
    assert "https://docs.aws.amazon.com/" in hint
    message, _ = failure(login(config, found, PATH="/usr/bin:/bin"), "KT209")
    assert "AWS CLI" in message


def test_no_credentials(cloud: Cloud, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _, hint = failure(login(config, "i-0123456789abcdef0"), "KT210")
    assert "aws sso login" in hint


@pytest.mark.parametrize("code", ["RequestExpired", "ExpiredToken", "AuthFailure"])
def test_expired_credentials(cloud: Cloud, config: Path, code: str) -> None:
    cloud.says["DescribeInstances"] = ec2_error(code, "The security token included in the request is expired", 400)
    message, hint = failure(login(config, "i-0123456789abcdef0"), "KT210")
    assert "expired" in message
    assert "aws sso login" in hint


def test_an_expired_sign_in_of_the_profile(
    cloud: Cloud, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "aws"
    profile.write_text(
        "[profile work]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = dev\nregion = eu-west-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _, hint = failure(login(config, "i-0123456789abcdef0", "--ec2-profile", "work"), "KT210")
    assert "aws sso login --profile work" in hint


def test_a_profile_has_the_keys_and_the_region_and_aws_is_called_with_it(
    cloud: Cloud,
    sshd: Server,
    remote: RemoteMachine,
    config: Path,
    tmp_path: Path,
    client_keys: ClientKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote.install_cli("bash")
    found = cloud.instance(public=False)["InstanceId"]
    cloud.online.add(found)
    (tmp_path / "config.aws").write_text("[profile work]\nregion = eu-west-1\n")
    (tmp_path / "keys").write_text("[work]\naws_access_key_id = OFWORK\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config.aws"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    path = stand_in(tmp_path / "bin", sshd, [*ssm_arguments(found), "--profile", "work"])
    key = ["-l", "bash", "-i", str(client_keys.plain)]
    run = login(config, found, *key, "--ec2-profile", "work", PATH=path)
    assert is_connected(run), run.stderr
    assert cloud.keys_used == {"OFWORK"}


def test_no_region_and_no_such_profile(cloud: Cloud, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message, hint = failure(login(config, "i-0123456789abcdef0", "--ec2-profile", "nobody"), "KT210")
    assert "nobody" in message
    assert "list-profiles" in hint
    monkeypatch.delenv("AWS_REGION")
    _, hint = failure(login(config, "i-0123456789abcdef0"), "KT210")
    assert "--ec2-region" in hint


@pytest.mark.parametrize(
    ("profile", "env", "code", "said", "hint"),
    [
        ("credential_process = /no/such/program", {}, "KT210", "/no/such/program", "get-caller-identity"),
        ("role_arn = arn:aws:iam::1:role/x\nsource_profile = gone", {}, "KT210", "gone", "--profile work"),
        (
            "role_arn = arn:aws:iam::1:role/x\nmfa_serial = arn:aws:iam::1:mfa/x\nsource_profile = keys\n"
            "[profile keys]\naws_access_key_id = x\naws_secret_access_key = y", {}, "KT210", "MFA code", "terminal",
        ),
        ("", {"AWS_REGION": "eu west"}, "KT210", "eu west", "--ec2-region"),
        ("[[", {}, "KT210", "parse", "aws configure"),
        ("", {"AWS_ENDPOINT_URL": "no-url"}, "KT210", "no-url", "get-caller-identity"),
        ("", {"AWS_ENDPOINT_URL": "https://a.invalid", "HTTPS_PROXY": "http://127.0.0.1:9"}, "KT212", "proxy", "PROXY"),
    ],
)  # fmt: skip
def test_an_aws_that_is_set_up_wrongly(
    cloud: Cloud,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    env: dict[str, str],
    code: str,
    said: str,
    hint: str,
) -> None:
    file = tmp_path / "aws"
    file.write_text(f"[profile work]\nregion = eu-west-1\n{profile}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    if profile:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    arguments = ["--ec2-profile", "work"] if profile else []
    message, told = failure(login(config, "i-0123456789abcdef0", *arguments, **env), code)
    assert said in message
    assert hint in told


def test_a_code_that_aws_asks_for_leaves_the_terminal_as_it_was(
    cloud: Cloud, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore asks for it by getpass, in a thread that does not hear of a Ctrl-C."""
    file = tmp_path / "aws"
    file.write_text(
        "[profile work]\nregion = eu-west-1\nrole_arn = arn:aws:iam::1:role/x\nmfa_serial = arn:aws:iam::1:mfa/x\n"
        "source_profile = keys\n[profile keys]\naws_access_key_id = x\naws_secret_access_key = y\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    words = ["-m", "kirotunnel", "login", "-F", str(config), "i-0123456789abcdef0", "--ec2-profile", "work"]
    person = pexpect.spawn(
        "/bin/sh", ["-c", f"trap : INT; {shlex.join([sys.executable, *words])}; stty -a"], timeout=60
    )
    person.expect("Enter MFA code")
    assert wait_until(lambda: not person.getecho())
    person.sendintr()
    person.expect("[ ;]echo[ ;]")
    person.expect(pexpect.EOF)


def test_no_permission(cloud: Cloud, config: Path) -> None:
    cloud.says["DescribeInstances"] = ec2_error(
        "UnauthorizedOperation", "You are not authorized to perform this operation."
    )
    message, hint = failure(login(config, "i-0123456789abcdef0"), "KT211")
    assert "DescribeInstances" in message
    assert hint


def test_no_permission_to_push_a_key(cloud: Cloud, instance: dict[str, Any], config: Path) -> None:
    cloud.says["SendSSHPublicKey"] = json_error("AccessDeniedException", "User is not authorized")
    message, _ = failure(login(config, instance["InstanceId"]), "KT211")
    assert "SendSSHPublicKey" in message


def test_aws_does_not_answer(cloud: Cloud, config: Path) -> None:
    run = login(config, "i-0123456789abcdef0", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    failure(run, "KT212")


@pytest.fixture
def silence() -> Iterator[str]:
    """An AWS that takes every connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_wait_for_an_aws_that_is_silent(
    cloud: Cloud, config: Path, silence: str, number: signal.Signals
) -> None:
    process = start("login", "-F", str(config), "--json", "i-0123456789abcdef0", env={"AWS_ENDPOINT_URL": silence})
    assert wait_until(lambda: connections_to(silence) > 0, 60)
    process.send_signal(number)
    time.sleep(0.5)
    process.send_signal(number)  # as people do who see nothing happen at once
    run = finish(process, 15)
    assert run.code == 128 + number
    assert run.names[-1] == "result"


def test_the_time_limit_does_not_wait_for_it_either(cloud: Cloud, config: Path, silence: str) -> None:
    arguments = ["login", "-F", str(config), "--json", "--timeout", "3", "i-0123456789abcdef0"]
    run = kirotunnel(*arguments, env={"AWS_ENDPOINT_URL": silence}, timeout=28)
    assert (run.code, run.failure) == (9, "KT701"), run.stderr


def connections_to(url: str) -> int:
    """How many there are to that port of this machine."""
    wanted = f":{int(url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(wanted) and row[3] == "01" for row in rows)


def test_without_the_extra(cloud: Cloud, config: Path, tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text("raise ImportError('not installed')\n")
    _, hint = failure(login(config, "i-0123456789abcdef0", PYTHONPATH=str(tmp_path)), "KT204")
    assert "kirotunnel[aws]" in hint


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["box", "--ec2-connect", "ssm"], 4),
        (["i-0123456789abcdef0", "--ec2-tag", "Name=x"], 2),
        (["--ec2-tag", "Name"], 4),
        (["i-0123456789abcdef0", "--ec2-connect", "teleport"], 2),
    ],
)
def test_options_that_do_not_go_together(cloud: Cloud, config: Path, arguments: list[str], code: int) -> None:
    assert login(config, *arguments).code == code
