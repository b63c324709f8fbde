"""The options that say where a target is: given together, empty, or by the settings. Nothing is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.harness import kirotunnel


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["box", "--container", "web", "--pod", "web-0"], 2, "--container or --pod, not both"),
        (["box", "--container-engine", "podman"], 2, "--container-engine goes with --container"),
        # A variable without a value must not lead to the host itself, or to this machine.
        (["box", "--container", ""], 2, "it is empty"),
        (["--container", ""], 2, "it is empty"),
        (["localhost", "--pod", ""], 2, "it is empty"),
        (["box", "--container", "-it"], 4, "'-it' is no name of a container"),
        (["box", "--container", "web", "--container-engine", "lxc"], 4, "no container engine that is known"),
        (["box", "--container", "web", "--ec2-connect", "ssm"], 4, "--ec2-connect is for EC2 instances"),
        (["localhost", "--container", "web", "--ec2-connect", "ssm"], 4, "--ec2-connect is for EC2 instances"),
        (["localhost", "--container", "web", "--ec2-tag", "Name=x"], 2, "TARGET or --ec2-tag, not both"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: list[str], code: int, words: str) -> None:
    run = kirotunnel("login", *arguments)
    assert run.code == code, run.stderr
    assert words in run.stderr


@pytest.mark.parametrize("command", ["whoami", "logout", "attach", "doctor", "run"])
@pytest.mark.parametrize(
    "arguments", [["--container", "web", "--pod", "web-0"], ["--container", ""], ["--container-engine", "podman"]]
)
def test_every_command_says_so(command: str, arguments: list[str]) -> None:
    run = kirotunnel(command, *arguments, "box", *(["--", "ls"] if command == "run" else []))
    assert run.code == 2, run.stderr


@pytest.fixture
def file(scrubbed_environment: Path) -> Path:
    found = scrubbed_environment / ".config" / "kirotunnel" / "config.toml"
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def plan(*arguments: str, **env: str) -> str:
    run = kirotunnel("login", *arguments, "--dry-run", env=env)
    assert run.code == 0, run.stderr
    return run.stdout


def test_a_way_to_instances_that_is_set_for_all_is_no_mistake_elsewhere(file: Path) -> None:
    file.write_text('[defaults]\nec2-connect = "ssm"\n')
    assert "connect   " in plan("127.0.0.1")
    assert "enter     container web" in plan("localhost", "--container", "web")
    assert "connect   " in plan("127.0.0.1", KIROTUNNEL_EC2_CONNECT="eice")
    run = kirotunnel("login", "127.0.0.1", "--ec2-connect", "ssm")
    assert run.code == 4


@pytest.mark.parametrize(
    ("text", "env", "entered"),
    [
        ('[defaults]\ncontainer = "web"\n[target.box]\npod = "web-0"\n', {}, "pod web-0"),
        ('[defaults]\npod = "web-0"\n[target.box]\ncontainer = "web"\n', {}, "container web"),
        ('[target.box]\npod = "web-0"\n', {"KIROTUNNEL_CONTAINER": "web"}, "container web"),
        ('[target.box]\npod = "web-0"\n', {"KIROTUNNEL_CONTAINER": ""}, "pod web-0"),
        ('[defaults]\ncontainer = "web"\n[target.box]\ncontainer = ""\n', {}, None),
    ],
)
@pytest.mark.parametrize("others", [[], ["other"]])
def test_of_container_and_pod_the_stronger_source_counts(
    file: Path, text: str, env: dict[str, str], entered: str | None, others: list[str]
) -> None:
    file.write_text(text)
    shown = plan("box", *others, **env).partition("target    other")[0]
    if entered is None:
        assert "enter" not in shown
    else:
        assert f"enter     {entered}, by" in shown


def test_two_of_one_source_are_a_mistake(file: Path) -> None:
    file.write_text('[target.box]\ncontainer = "web"\npod = "web-0"\n')
    run = kirotunnel("login", "box", "--dry-run")
    assert (run.code, "not both" in run.stderr) == (2, True)
