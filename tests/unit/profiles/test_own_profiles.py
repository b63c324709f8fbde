"""Profiles of the user's own: what they may say, and where a mistake in one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kirotunnel.errors import ProfileError, ProfileNotFoundError
from kirotunnel.profiles.profile import (
    BUILT_IN,
    REMOTE_SIGNS,
    all_profiles,
    load_profile,
    profile_for,
    profile_of_command,
    read_profile,
)

SOURCE = "/home/ada/.config/kirotunnel/profiles/acme.toml"
WHOLE = """\
about = "Acme's command line"
programs = ["acme", "acmectl"]
arguments = '\\blogin\\b'
authorize_hosts = ["login.acme.example", "*.sso.acme.example"]
environment = { ACME_HEADLESS = "0" }

[gate]
fragment = true
answer_timeout_s = 45
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = tmp_path / "kirotunnel" / "profiles"
    made.mkdir(parents=True)
    return made


def test_what_it_does_not_say_is_as_the_general_rules_have_it() -> None:
    acme = read_profile("acme", SOURCE, WHOLE)
    assert (acme.name, acme.source) == ("acme", SOURCE)
    assert acme.gate.fragment is True
    assert acme.gate.answer_timeout_s == 45
    assert acme.gate.form_post is None
    assert acme.unset == REMOTE_SIGNS
    assert acme.environment == {"ACME_HEADLESS": "0"}
    assert acme.terminal is None


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("fragment = true", "fragmnt = true"), 8, "gate.fragmnt is not known here"),
        (("fragment = true", 'fragment = "yes"'), 8, "gate.fragment takes true or false"),
        (("answer_timeout_s = 45", "answer_timeout_s = 0"), 9, "gate.answer_timeout_s is not more than 0"),
        (("answer_timeout_s = 45", "answer_timeout_s = true"), 9, "gate.answer_timeout_s takes a number"),
        (("programs = [", "program = ["), 2, "program is not known here"),
        (('"acmectl"', '"acme ctl"'), 2, "programs has 'acme ctl', which is no name of a program"),
        (('"acmectl"', "7"), 2, "programs takes a list of texts"),
        (("\\blogin\\b", "(login"), 3, "arguments is no regular expression"),
        (("login.acme", "https://login.acme"), 4, "authorize_hosts has 'https://login.acme.example'"),
        (("ACME_HEADLESS", "ACME-HEADLESS"), 5, "environment.ACME-HEADLESS is no name of a variable"),
        (('"0"', "0"), 5, "environment.ACME_HEADLESS takes a text"),
        (("[gate]", "[gates]"), 7, "gates is not known here"),
        (("about = ", "ports = [80]\nabout = "), 1, "ports has 80"),
        (("about = ", "ports = 8976\nabout = "), 1, "ports takes a list of whole numbers"),
        (("about = ", 'gate = "x"\nabout = '), 1, "gate is not a table"),
        (("= 45", f"= 1{'0' * 400}"), 9, "gate.answer_timeout_s takes a number"),
        (
            ("\\blogin\\b", "a{99999999999}"),
            3,
            "arguments is no regular expression: the repetition number is too large",
        ),
        (("\\blogin\\b", "(" * 5000 + ")" * 5000), 3, "arguments is no regular expression: maximum recursion depth"),
    ],
)
def test_a_mistake_is_named_with_its_file_line_and_key(change: tuple[str, str], line: int, words: str) -> None:
    text = WHOLE.replace(*change)
    if "gate = " in text:
        text = text.partition("[gate]")[0]
    with pytest.raises(ProfileError) as caught:
        read_profile("acme", SOURCE, text)
    assert caught.value.message.startswith(f"{SOURCE}, line {line}: {words}")
    assert (caught.value.code, caught.value.exit_code) == ("KT106", 3)


def test_what_is_no_toml_is_named_with_its_line() -> None:
    with pytest.raises(ProfileError, match=r"acme\.toml is no TOML: .*line 3"):
        read_profile("acme", SOURCE, 'about = "x"\nports = [\n[gate]\n')


@pytest.mark.parametrize("text", [f"ports = [{'9' * 5000}]", f"ports = {'[' * 5000}{']' * 5000}", "about = '\x1b[2J'"])
def test_what_no_reader_of_toml_takes_is_an_error_of_ours_that_can_be_shown(text: str) -> None:
    with pytest.raises(ProfileError, match=r"acme\.toml is no TOML: ") as caught:
        read_profile("acme", SOURCE, text)
    assert caught.value.message.isprintable()


def test_a_key_of_any_characters_is_named_by_those_that_can_be_shown() -> None:
    with pytest.raises(ProfileError, match=r"acme\.toml: \ufffd\[2J\ufffd is not known here$"):
        read_profile("acme", SOURCE, '"\\u001b[2J\\u202e" = 1')


def test_a_near_miss_is_told_the_right_key() -> None:
    with pytest.raises(ProfileError) as caught:
        read_profile("acme", SOURCE, "authorise_hosts = []")
    assert "did you mean authorize_hosts?" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("acme", "login"), "acme"),
        (("/opt/acme/bin/acmectl", "--region", "eu", "login"), "acme"),
        (("npx", "acme", "login"), "acme"),
        (("acme", "deploy"), None),
        (("other", "login"), None),
        (("rclone", "authorize", "drive"), "rclone"),
        (("rclone", "ls", "x:"), None),
        (("npx", "wrangler", "login"), "wrangler"),
        (("kiro-cli", "login"), "kiro-cli"),
        (("gcloud", "auth", "application-default", "login"), "gcloud"),
        (("gcloud", "compute", "ssh", "box"), None),
        (("oci", "session", "authenticate", "--region", "us-phoenix-1"), "oci"),
        (("npx", "eas-cli", "login"), "eas"),
        (("npx", "@google/gemini-cli"), "gemini"),
        (("kaggle", "auth", "login"), "kaggle"),
        (("kaggle", "competitions", "list"), None),
        (("prefect", "cloud", "login"), "prefect"),
        (("echo", "a", "b", "wrangler", "login"), None),
    ],
)
def test_a_command_is_recognised_by_its_program_and_arguments(
    folder: Path, words: tuple[str, ...], name: str | None
) -> None:
    (folder / "acme.toml").write_text(WHOLE)
    found = profile_of_command(words)
    assert (found.name if found else None) == name


def test_ones_own_profile_goes_before_that_of_this_package(folder: Path) -> None:
    (folder / "wrangler.toml").write_text('about = "mine"\n')
    assert load_profile("wrangler").about == "mine"
    assert [profile.name for profile in all_profiles()].count("wrangler") == 1
    assert profile_for("~/bin/wrangler").about == "mine"


def test_without_a_file_of_ones_own_there_are_those_of_this_package(folder: Path) -> None:
    assert [profile.name for profile in all_profiles()] == list(BUILT_IN)
    assert profile_for("some-other-cli").name == "kiro-cli"
    with pytest.raises(ProfileNotFoundError, match="there is no profile 'acme'"):
        load_profile("acme")


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "acme.toml").write_bytes(b"about = '\xff'\n")
    with pytest.raises(ProfileError, match=r"acme\.toml is not UTF-8"):
        all_profiles()
