"""A profile: what kirotunnel must know of a remote CLI to sign it in. Data, this package's and the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from kirotunnel.directories import own_directory
from kirotunnel.errors import ProfileError, ProfileNotFoundError
from kirotunnel.profiles.reading import Check, TomlFile

BUILT_IN: Final = (
    "kiro-cli", "kirotunnel",
    "aio", "codex", "dagster-cloud", "eas", "firebase", "gcloud", "gemini", "kaggle", "oci", "prefect",
    "rclone", "wrangler",
)  # fmt: skip
"""The profiles in this package, the usual one first."""
BUILT_IN_SOURCE: Final = "built-in"
REMOTE_SIGNS: Final = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY")
"""By these a CLI takes itself for remote, and does not even try its browser flow."""
USUAL_OPENERS: Final = ("xdg-open", "www-browser", "x-www-browser", "sensible-browser", "open", "wslview")
LAUNCHER_WORDS: Final = 3
"""Words at the beginning of a command among which its program is looked for: `npx wrangler login`, `pnpm exec …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLogin:
    """How one method's sign-in by one-time code is started."""

    arguments: tuple[str, ...]
    menu_labels: tuple[str, ...]
    """The rows of the CLI's menu that mean this method, as regular expressions, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the CLI's listener takes beside one callback with its state. None: what the general rules say."""

    form_post: bool | None = None
    """The answer may be posted as a form, though the authorize URL does not ask for it."""
    fragment: bool | None = None
    """The answer is in the fragment of the URL: a page of the CLI's own reads it there and sends it on."""
    pages: bool | None = None
    """The page that the CLI answers with does something by itself: its scripts run, in an origin of their own."""
    start_url_loopback: bool | None = None
    """The sign-in may begin with a page of the CLI's own listener."""
    several_callbacks: bool | None = None
    """More than one callback may come in a run; otherwise the port is closed with the first."""
    ignore_state: bool | None = None
    """The callback does not bring back the state of the URL."""
    answer_timeout_s: float | None = None
    """Seconds that the browser waits for the CLI's answer before it gets a page of ours instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How to read who is signed in from what the CLI's whoami prints: regular expressions, looked for in each line."""

    email: str | None = None
    """Its first group, or all of it, is the e-mail or name."""
    nobody: str | None = None
    """Found: nobody is signed in, whatever the exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One remote CLI, as data."""

    name: str
    source: str = BUILT_IN_SOURCE
    """The file, for one of the user's own."""
    about: str = ""
    """What it is, in one line."""

    # --- recognised by
    programs: tuple[str, ...] = ()
    """Names of its program; none stands for the profile's own name."""
    arguments: str = ""
    """A regular expression that is found in the command line, where not all of its commands are meant."""

    # --- run
    unset: tuple[str, ...] = REMOTE_SIGNS
    """Variables without which the CLI believes itself at home, where it opens a browser."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that are set for it."""
    openers: tuple[str, ...] = USUAL_OPENERS
    """Programs by which the CLI opens a URL."""
    terminal: bool | None = None
    """Whether it needs a terminal, or must not have one; None: as the person's own input is."""

    # --- its sign-in page and its callback
    authorize_hosts: tuple[str, ...] = ()
    """Hosts of its sign-in pages: opened without asking."""
    answer_hosts: tuple[str, ...] = ()
    """Hosts to which its answer to the callback sends the browser, when all is done."""
    fetch_hosts: tuple[str, ...] = ()
    """Hosts of pages whose own scripts send the answer to the CLI's listener, and read what it says."""
    ports: tuple[int, ...] = ()
    """Callback ports of a fixed list, in no particular order; none where any port will do."""
    callback_paths: tuple[str, ...] = ()
    """Exact paths of the callback where the redirect URI names only the origin."""
    gate: Gate = field(default_factory=Gate)
    success: str = ""
    """A regular expression: a line of its output that says it is signed in. Then nothing more is listened for."""

    # --- kirotunnel login, whoami and logout with --cli
    login: tuple[str, ...] = ()
    """Arguments of the login that opens a browser."""
    logout: tuple[str, ...] = ()
    whoami: tuple[str, ...] = ()
    """Arguments; it ends with 0 where somebody is signed in."""
    account: Account = field(default_factory=Account)
    version: tuple[str, ...] = ("--version",)
    revokes: tuple[str, ...] = ()
    """The types of account whose sessions the logout ends at the service, too; the others' it only deletes."""
    revokes_since: tuple[int, ...] = ()
    """The version from which it does."""
    data_directory: str = ""
    """Where the CLI keeps its sessions on Linux, below the home directory."""

    # --- one-time codes and Kiro's ways to sign in
    login_device: tuple[str, ...] = ()
    """Arguments of the login by one-time code."""
    start_url_option: str = ""
    """The option that takes the start URL of IAM Identity Center."""
    region_option: str = ""
    provider_options: tuple[str, ...] = ()
    """The options that take issuer, client ID and scope of an identity provider; empty where the CLI has none."""
    pretend_remote: tuple[str, ...] = ()
    """`NAME=value` that make the CLI believe itself remote, for the one-time code."""
    device_hosts: tuple[str, ...] = ()
    device_since: tuple[int, ...] = ()
    """The version from which remote mode serves Google and GitHub by one-time code."""
    forward_since: tuple[int, ...] = ()
    """The version from which remote mode serves them by port and Enter."""
    device: dict[str, DeviceLogin] = field(default_factory=dict)

    def must_say(self, *keys: str) -> None:
        """Raise ProfileError where one of these is empty: what it is for cannot be done then."""
        for key in keys:
            if not getattr(self, key):
                raise ProfileError(
                    f"the profile {self.name} ({self.source}) has no {key}, so it is good for `kirotunnel run` only",
                    f"write one with {' and '.join(keys)}, see docs/profiles.md; or use "
                    f"`kirotunnel run TARGET -- {self.name} …`",
                )

    def recognises(self, words: Sequence[str]) -> bool:
        """Whether that command is this CLI's."""
        names = {word.rpartition("/")[2] for word in words[:LAUNCHER_WORDS]}
        if names.isdisjoint(self.programs or (self.name,)):
            return False
        return re.search(self.arguments, " ".join(words)) is not None


# --- which there are -------------------------------------------------------------------------------------------------


def profile_for(cli: str) -> Profile:
    """The profile of a CLI that is named as with --cli: by its own name, else kiro-cli's. Raises ProfileError."""
    name = cli.rpartition("/")[2]
    return load_profile(name if name in BUILT_IN or _own_file(name).is_file() else BUILT_IN[0])


def profile_of_command(words: Sequence[str]) -> Profile | None:
    """The profile that recognises this command, the user's own first; None where nothing is known of it."""
    return next((profile for profile in all_profiles() if profile.recognises(words)), None)


def all_profiles() -> list[Profile]:
    """The user's own, by name, then those of this package that none of them replaces. Raises ProfileError."""
    folder = user_directory()
    names = sorted(file.stem for file in folder.glob("*.toml")) if folder.is_dir() else []
    return [load_profile(name) for name in [*names, *(name for name in BUILT_IN if name not in names)]]


def load_profile(name: str) -> Profile:
    """The profile of that name, the user's own first. Raises ProfileNotFoundError, ProfileError."""
    file = _own_file(name)
    if file.is_file():
        try:
            return read_profile(name, str(file), file.read_text(encoding="utf-8"))
        except OSError as exc:
            raise ProfileError(f"{file} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ProfileError(f"{file} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    if name not in BUILT_IN:
        raise ProfileNotFoundError(f"there is no profile {name!r}")
    return _built_in(name)


@cache
def _built_in(name: str) -> Profile:
    text = (resources.files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    return read_profile(name, BUILT_IN_SOURCE, text)


def read_profile(name: str, source: str, text: str) -> Profile:
    """The profile that a text of TOML describes. Raises ProfileError, which names file, line and key."""
    file = TomlFile(f"profile {name}" if source == BUILT_IN_SOURCE else source, text)
    return file.read(Profile, _CHECKS, name=name, source=source)


def user_directory() -> Path:
    """Where the user's own profiles are: beside the settings."""
    return own_directory("config") / "profiles"


def _own_file(name: str) -> Path:
    return user_directory() / f"{name}.toml"


# --- what makes sense ------------------------------------------------------------------------------------------------

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9._+-]+")
_HOST: Final = re.compile(r"(?:\*|[a-z0-9-]+)(?:\.(?:\*|[a-z0-9-]+))+")
_PATH: Final = re.compile(r"/[!$-;=@-~]*")


def _each(pattern: re.Pattern[str], words: str) -> Check:
    def check(values: tuple[Any, ...]) -> str | None:
        wrong = next((value for value in values if not pattern.fullmatch(value)), None)
        return None if wrong is None else f"has {wrong!r}, which is no {words}"

    return check


def _port(values: tuple[int, ...]) -> str | None:
    wrong = next((value for value in values if not 1024 <= value <= 65535), None)
    return None if wrong is None else f"has {wrong}; a callback port is between 1024 and 65535"


def _expression(value: str) -> str | None:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as exc:
        return f"is no regular expression: {exc}"
    return None


def _positive(value: float) -> str | None:
    return None if value > 0 else "is not more than 0"


def _text_of_a_variable(value: str) -> str | None:
    return "has a character that no variable can have" if "\0" in value or "\n" in value else None


_hosts: Final = _each(_HOST, "host name in small letters, with * for a label (no https://, port or path)")
_CHECKS: Final[dict[str, Callable[[Any], str | None]]] = {
    "programs": _each(_PROGRAM, "name of a program"),
    "arguments": _expression,
    "unset": _each(_VARIABLE, "name of a variable"),
    "environment.?": lambda name: None if _VARIABLE.fullmatch(name) else "is no name of a variable",
    "environment.*": _text_of_a_variable,
    "openers": _each(_PROGRAM, "name of a program"),
    "authorize_hosts": _hosts,
    "answer_hosts": _hosts,
    "fetch_hosts": _hosts,
    "device_hosts": _hosts,
    "ports": _port,
    "callback_paths": _each(_PATH, "path, which begins with /"),
    "gate.answer_timeout_s": _positive,
    "success": _expression,
    "account.email": _expression,
    "account.nobody": _expression,
}
