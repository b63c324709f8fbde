"""`kirotunnel profiles`: which command-line tools are known, from where, and what of each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kirotunnel import events as ev
from kirotunnel.cli.render import write_events

if TYPE_CHECKING:
    from kirotunnel.profiles.profile import Profile


@click.command("profiles")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(name: str | None, *, as_json: bool) -> int:
    """List the command-line tools that kirotunnel knows, or explain what it knows of one.

    Your own profiles are *.toml in the folder profiles/ beside the settings file; one with the name of a built-in
    profile replaces it. A command without a profile works too, by the general rules.
    """
    from kirotunnel.profiles.profile import all_profiles, load_profile, user_directory

    began = time.monotonic()
    profiles = [load_profile(name)] if name else all_profiles()
    if as_json:
        write_events(_events(profiles), None, began)
    elif name:
        click.echo("\n".join(_explained(profiles[0])))
    else:
        click.echo("\n".join(_listed(profiles)))
        click.echo(f"\nYour own are read from {user_directory()}", err=True)
    return 0


def _listed(profiles: list[Profile]) -> Iterator[str]:
    width = max(len(profile.name) for profile in profiles) + 2
    for profile in profiles:
        yield f"{profile.name:<{width}}{profile.about or '-'}"
        yield f"{'':<{width}}{profile.source}"


def _explained(profile: Profile) -> Iterator[str]:
    yield f"{profile.name}: {profile.about}" if profile.about else profile.name
    rows = [(label, text) for label, text in _facts(profile) if text]
    width = max(len(label) for label, _ in rows) + 2
    for label, text in rows:
        yield f"  {label:<{width}}{text}"


def _facts(profile: Profile) -> Iterator[tuple[str, str]]:
    """What there is to say of it; empty texts are not shown."""
    from kirotunnel.profiles.profile import REMOTE_SIGNS, USUAL_OPENERS

    programs = " or ".join(profile.programs or (profile.name,))
    yield "from", profile.source
    yield "recognises", programs + (f" with {profile.arguments}" if profile.arguments else "")
    yield "sign-in pages on", ", ".join(profile.authorize_hosts) or "hosts that you are asked about, once"
    yield "then leads to", ", ".join(profile.answer_hosts)
    yield "fetched by pages on", ", ".join(profile.fetch_hosts)
    yield "callback ports", ", ".join(map(str, profile.ports)) or "any that it chooses"
    yield "callback paths", ", ".join(profile.callback_paths)
    yield "openers", "" if profile.openers == USUAL_OPENERS else ", ".join(profile.openers)
    yield "unsets", "" if profile.unset == REMOTE_SIGNS else ", ".join(profile.unset)
    yield "sets", ", ".join(f"{name}={value}" for name, value in profile.environment.items())
    yield "terminal", {True: "always", False: "never", None: ""}[profile.terminal]
    for key, value in dataclasses.asdict(profile.gate).items():
        yield f"gate.{key}", "" if value is None else str(value).lower()
    yield "signed in when", f"it says {profile.success}" if profile.success else ""
    for way, words in (("login", profile.login), ("whoami", profile.whoami), ("logout", profile.logout)):
        yield way, " ".join((profile.name, *words)) if words else ""


def _events(profiles: list[Profile]) -> Iterator[ev.Event]:
    for profile in profiles:
        yield ev.Profile(
            profile=profile.name,
            source=profile.source,
            about=profile.about,
            programs=profile.programs or (profile.name,),
            arguments=profile.arguments,
            authorize_hosts=profile.authorize_hosts,
            ports=profile.ports,
        )
    yield ev.Result(ok=True, targets=())
