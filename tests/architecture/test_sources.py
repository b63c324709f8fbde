"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

import kirotunnel

PACKAGE: Final = Path(kirotunnel.__path__[0])
SOURCES: Final = sorted(PACKAGE.rglob("*.py"))
ROOT: Final = Path(__file__).parents[2]
TESTS: Final = [
    file
    for file in sorted((ROOT / "tests").rglob("*.py"))
    if not re.search(r"/(\.|node_modules/)", file.relative_to(ROOT).as_posix())
]

# Who may look into a secret: to compare it, to send it where it belongs, to keep it, or to give it to the person's own
# browser or terminal. A new file here is a decision.
MAY_REVEAL: Final = {
    "cli/token.py",
    "flows/login_machine.py",
    "flows/native_login.py",
    "flows/pasted_callback.py",
    "flows/remote_login.py",
    "flows/run.py",
    "flows/sign_in_steps.py",
    "local/keyring_vault.py",
    "local/session_store.py",
    "oauth/authorization.py",
    "oauth/aws_sso_oidc.py",
    "oauth/http.py",
    "oauth/id_token.py",
    "oauth/kiro_service.py",
    "oauth/messages.py",
    "oauth/openid_provider.py",
    "oauth/pkce.py",
    "ssh/askpass.py",
    "ssh/identities.py",
    "oauth/session.py",
    "ssh/connection.py",
    "wire/gate.py",
    "wire/sharing.py",
}


def name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", [*SOURCES, *filter(Path.read_bytes, TESTS)], ids=place)
def test_a_file_says_at_its_door_what_is_inside(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = docstring.partition("\n")[0]
    assert first, "no docstring"
    # A sentence, or the head of a list that follows.
    assert first.endswith((".", ":", "…")) or "\n\n" not in docstring, first


def test_a_secret_is_looked_into_only_where_it_is_needed() -> None:
    found = {name(file) for file in SOURCES if re.search(r"\.reveal\(\)", file.read_text(encoding="utf-8"))}
    assert found - MAY_REVEAL == set()


def test_a_secret_is_never_shown() -> None:
    shown = re.compile(r"(print|echo|log\w*\.\w+|[fF]\"[^\"]*\{[^}]*|Error\([^)]*)[^\n]*\.reveal\(\)")
    assert [name(file) for file in SOURCES if shown.search(file.read_text(encoding="utf-8"))] == ["cli/token.py"]


# A linter or a type checker is silenced for a reason, and the reason stands beside it.
SILENCED: Final = re.compile(
    r"#\s*(?:noqa\b(?P<noqa>:[A-Z0-9, ]+[A-Z0-9])?|type:\s*ignore(?P<ignored>\[[\w, -]+\])?)(?P<why>.*)"
)


@pytest.mark.parametrize("file", [*SOURCES, *TESTS], ids=place)
def test_whoever_silences_a_check_says_which_and_why(file: Path) -> None:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if found := SILENCED.search(line):
            assert found["noqa"] or found["ignored"], f"line {number}: which check?"
            assert re.search(r"\w{3}", found["why"]), f"line {number}: why?"


def test_a_time_limit_loses_no_cancellation() -> None:
    """Python 3.11's `wait_for` does, in the moment of the answer; and only the first Ctrl-C cancels."""
    assert [name(file) for file in SOURCES if "asyncio.wait_for(" in file.read_text()] == []


def test_whatever_the_package_names_is_there() -> None:
    missing = [each for each in kirotunnel.__all__ if not hasattr(kirotunnel, each)]
    assert missing == []
    assert {"login", "LoginResult", "Account", "Event", "KirotunnelError"} <= set(kirotunnel.__all__)
    assert set(kirotunnel.__all__) <= set(dir(kirotunnel))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = kirotunnel.nothing


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
