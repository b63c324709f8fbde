"""Settings of the file and the environment: which one counts, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from kirotunnel.errors import SettingsError
from kirotunnel.settings import Setting, Settings, read_settings

OPTIONS: Final = {"method", "trust-url-host", "browser", "timeout"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def settings(file: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    file.write_text(text, encoding="utf-8")
    return read_settings(file, environment or {}, OPTIONS)


@pytest.mark.parametrize(
    ("text", "environment", "target", "value", "origin"),
    [
        pytest.param("", {}, "box", None, None, id="nothing"),
        pytest.param("[defaults]\nmethod='idc'", {}, "box", "idc", "{file}, [defaults]", id="defaults"),
        pytest.param(
            "[defaults]\nmethod='idc'\n[target.box]\nmethod='google'", {}, "box", "google", '{file}, [target."box"]',
            id="the target's table is stronger",
        ),
        pytest.param(
            "[defaults]\nmethod='idc'\n[target.box]\nmethod='google'", {}, "other", "idc", "{file}, [defaults]",
            id="another target's table does not count",
        ),
        pytest.param(
            "[defaults]\nmethod='idc'\n[target.box]\nmethod='google'", {}, None, "idc", "{file}, [defaults]",
            id="no target",
        ),
        pytest.param(
            "[defaults]\nmethod='idc'\n[target.box]\nmethod='google'", {"KIROTUNNEL_METHOD": "github"}, "box", "github",
            "KIROTUNNEL_METHOD", id="the environment is stronger",
        ),
        pytest.param(
            "[target.'ada@box:22']\nmethod='github'", {}, "ada@box:22", "github", '{file}, [target."ada@box:22"]',
            id="a target with signs in it",
        ),
        pytest.param("", {"METHOD": "github"}, "box", None, None, id="a variable of somebody else"),
    ],
)  # fmt: skip
def test_the_strongest_source_counts(
    file: Path, text: str, environment: dict[str, str], target: str | None, value: Any, origin: str | None
) -> None:
    found = settings(file, text, environment).find("method", target)
    assert found == (None if origin is None else Setting(value, origin.format(file=file)))


def test_the_list_of_trusted_hosts_has_a_plural_name_in_the_environment(file: Path) -> None:
    environment = {"KIROTUNNEL_TRUST_URL_HOSTS": "a.example,b.example:8443", "KIROTUNNEL_TRUST_URL_HOST": "c"}
    expected = Setting("a.example,b.example:8443", "KIROTUNNEL_TRUST_URL_HOSTS")
    assert settings(file, "", environment).find("trust-url-host", None) == expected


def test_values_keep_their_kind(file: Path) -> None:
    found = settings(file, "[defaults]\ntimeout=30\ntrust-url-host=['a','b']")
    assert [found.find(name, None) for name in ("timeout", "trust-url-host", "browser")] == [
        Setting(30, f"{file}, [defaults]"),
        Setting(["a", "b"], f"{file}, [defaults]"),
        None,
    ]


def test_a_missing_file_is_no_error(file: Path) -> None:
    assert read_settings(file, {}, OPTIONS) == Settings(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\nmetod='idc'", "{file}, [defaults] has an unknown key 'metod'"),
        ("[defaults]\ntrust_url_host=[]", "{file}, [defaults] has an unknown key 'trust_url_host'"),
        ("[target.box]\n'--method'='idc'", "{file}, [target.\"box\"] has an unknown key '--method'"),
        ("[default]\nmethod='idc'", "{file} has an unknown table [default]"),
        ("method='idc'", "{file} has an unknown table [method]"),
        ("defaults=1", "{file}: defaults is not a table"),
        ("target='box'", "{file}: target is not a table"),
        ("[target]\nbox='x'", '{file}, [target."box"] is not a table'),
        ("[[target]]\nbox='x'", "{file}: target is not a table"),
        ("[defaults\n", "{file} is no TOML: "),
        ("[defaults]\nmethod='a'\nmethod='b'", "{file} is no TOML: "),
        (f"[defaults]\ntimeout={'9' * 5000}", "{file} is no TOML: "),
        (f"[defaults]\nmethod={'[' * 5000}", "{file} is no TOML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_table(file: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings(file, text)
    assert refusal.value.code == "KT101"
    assert refusal.value.message.startswith(message.format(file=file))


def test_a_file_that_is_no_text_or_no_file_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[defaults]")
    with pytest.raises(SettingsError, match=f"{file} is no TOML"):
        read_settings(file, {}, OPTIONS)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(file.parent, {}, OPTIONS)
