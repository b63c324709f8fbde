"""`kirotunnel run` and `profiles` as they are asked wrongly, or for a plan only: nothing is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.harness import Run, kirotunnel

ACME = 'about = "Acme\'s own"\nprograms = ["acme"]\nports = [8976]\n[gate]\nform_post = true\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "kirotunnel" / "profiles"
    folder.mkdir(parents=True)
    (folder / "acme.toml").write_text(ACME)
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'TARGET'"),
        (("--", "ls"), "Missing argument 'TARGET'"),
        (("box",), "Missing argument '-- COMMAND...'"),
        (("box", "--"), "Missing argument '-- COMMAND...'"),
        (("box", "x", "--", "ls"), "unexpected extra argument (x) before --"),
        (("box", "--json", "--", "ls"), "stdout is the command's own"),
        (("box", "--nothing", "--", "ls"), "No such option"),
        (("box", "--timeout", "0", "--", "ls"), "--timeout"),
    ],
)
def test_a_mistake_in_usage_is_said(arguments: tuple[str, ...], words: str) -> None:
    run = kirotunnel("run", *arguments)
    assert run.code == 2
    assert words in run.stderr


def plan(*arguments: str, environment: dict[str, str]) -> Run:
    run = kirotunnel("run", *arguments, env=environment)
    assert run.code == 0, run.stderr
    return run


def test_a_plan_says_what_would_be_run_and_what_is_known_of_it(environment: dict[str, str]) -> None:
    run = plan("127.0.0.1", "--dry-run", "--", "npx", "acme", "log in", environment=environment)
    assert "run       npx acme 'log in'\n" in run.stdout
    assert f"profile   acme ({environment['XDG_CONFIG_HOME']}/kirotunnel/profiles/acme.toml)" in run.stdout
    assert "npx acme" in run.stdout.partition("by hand")[2]
    other = plan("--dry-run", "127.0.0.1", "ls", "-la", environment=environment)
    assert "run       ls -la\n" in other.stdout
    assert "the general rules" in other.stdout


def test_the_profiles_are_listed_with_where_they_are_from(environment: dict[str, str]) -> None:
    run = kirotunnel("profiles", env=environment)
    assert run.code == 0
    assert "Acme's own" in run.stdout
    assert f"{environment['XDG_CONFIG_HOME']}/kirotunnel/profiles/acme.toml" in run.stdout
    for name in ("kiro-cli", "kirotunnel", "rclone", "wrangler"):
        assert name in run.stdout


def test_one_of_them_is_explained(environment: dict[str, str]) -> None:
    run = kirotunnel("profiles", "acme", env=environment)
    assert run.code == 0
    for words in ("recognises", "8976", "gate.form_post", "hosts that you are asked about, once"):
        assert words in run.stdout


def test_programs_get_an_object_a_line(environment: dict[str, str]) -> None:
    run = kirotunnel("profiles", "--json", env=environment)
    assert run.named("profile")[0]["profile"] == "acme"
    assert run.named("profile")[0]["ports"] == [8976]
    assert run.events[-1]["ok"] is True


@pytest.mark.parametrize(("name", "code"), [("nothing", "KT107"), ("broken", "KT106")])
def test_one_that_is_not_there_or_broken_is_an_error(environment: dict[str, str], name: str, code: str) -> None:
    broken = Path(environment["XDG_CONFIG_HOME"]) / "kirotunnel" / "profiles" / "broken.toml"
    broken.write_text("ports = 7\n")
    run = kirotunnel("profiles", name, env=environment)
    assert run.code == 3
    assert f"error[{code}]" in run.stderr
    if code == "KT106":
        assert f"{broken}, line 1: ports takes a list of whole numbers" in run.stderr
