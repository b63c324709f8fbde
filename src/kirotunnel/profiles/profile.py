"""A profile: what kirotunnel must know of a remote CLI to sign it in. Read from TOML in this package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from kirotunnel.errors import InternalError

BUILT_IN: Final = ("kiro-cli", "kirotunnel")
"""The profiles in this package, the usual one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLogin:
    """How one method's sign-in by one-time code is started."""

    arguments: tuple[str, ...]
    menu_labels: tuple[str, ...]
    """The rows of the CLI's menu that mean this method, as regular expressions, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One remote CLI, as data."""

    name: str
    login: tuple[str, ...]
    """Arguments of the login that opens a browser."""
    login_device: tuple[str, ...]
    """Arguments of the login by one-time code."""
    start_url_option: str
    """The option that takes the start URL of IAM Identity Center."""
    region_option: str
    provider_options: tuple[str, ...]
    """The options that take issuer, client ID and scope of an identity provider; empty where the CLI has none."""
    logout: tuple[str, ...]
    revokes: tuple[str, ...]
    """The types of account whose sessions the logout ends at the service, too; the others' it only deletes."""
    revokes_since: tuple[int, ...]
    """The version from which it does."""
    whoami: tuple[str, ...]
    version: tuple[str, ...]
    unset: tuple[str, ...]
    """Variables without which the CLI believes itself at home, where it opens a browser."""
    pretend_remote: tuple[str, ...]
    """`NAME=value` that make the CLI believe itself remote, for the one-time code."""
    openers: tuple[str, ...]
    """Programs by which the CLI opens a URL."""
    ports: tuple[int, ...]
    """Callback ports of the fixed list, in no particular order."""
    data_directory: str
    """Where the CLI keeps its sessions on Linux, below the home directory."""
    callback_paths: tuple[str, ...]
    """Exact paths of the callback where the redirect URI names only the origin."""
    authorize_hosts: tuple[str, ...]
    device_hosts: tuple[str, ...]
    device_since: tuple[int, ...]
    """The version from which remote mode serves Google and GitHub by one-time code."""
    forward_since: tuple[int, ...]
    """The version from which remote mode serves them by port and Enter."""
    device: dict[str, DeviceLogin]


def profile_for(cli: str) -> Profile:
    """The profile of a CLI that is named as with --cli: by its own name, else kiro-cli's."""
    name = cli.rpartition("/")[2]
    return load_profile(name if name in BUILT_IN else BUILT_IN[0])


@cache
def load_profile(name: str) -> Profile:
    """The built-in profile of that name. Raises InternalError where the package lacks it."""
    file = resources.files(__package__) / f"{name}.toml"
    try:
        data: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise InternalError(f"there is no profile {name!r}") from exc
    device = {
        method: DeviceLogin(arguments=tuple(entry["arguments"]), menu_labels=tuple(entry["menu_labels"]))
        for method, entry in data.pop("device").items()
    }
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Profile(device=device, **values)
