"""docs/profiles.md says what a profile really may say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Final

from kirotunnel.profiles.profile import REMOTE_SIGNS, USUAL_OPENERS, Account, Gate, Profile, read_profile

PAGE: Final = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
KIROS: Final = {
    "login_device", "start_url_option", "region_option", "provider_options", "pretend_remote", "device_hosts",
    "device_since", "forward_since", "device", "revokes", "revokes_since", "data_directory",
}  # fmt: skip
NOT_KEYS: Final = {"name", "source", "account", "gate"}


def documented() -> set[str]:
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([\w.]+)`", row)}


def test_the_example_is_a_profile() -> None:
    text = re.search(r"<!-- example: begin -->\n```toml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    acme = read_profile("acme", "acme.toml", text[1])
    assert acme.recognises(("acmectl", "login"))
    assert acme.gate.fragment
    assert re.search(acme.success, "Logged in as ada@example.com")


def test_every_key_has_its_row_and_no_row_is_of_nothing() -> None:
    keys = {field.name for field in dataclasses.fields(Profile)} - NOT_KEYS - KIROS
    keys |= {f"account.{field.name}" for field in dataclasses.fields(Account)}
    keys |= {field.name for field in dataclasses.fields(Gate)}
    assert documented() == keys


def test_what_goes_without_saying_is_as_the_page_says() -> None:
    for name in (*REMOTE_SIGNS, *USUAL_OPENERS):
        assert f"`{name}`" in PAGE
