"""What signing in on this machine needs of the world: services, a place for sessions, a person, a browser, time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kirotunnel.directories import own_directory
from kirotunnel.flows.environment import Conversation, Paste, Silence
from kirotunnel.local.browser import Browser, PrintedOnly
from kirotunnel.local.remote_session import Remoteness, remoteness, session_facts
from kirotunnel.local.session_store import SessionStore, Vault
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.http import Patience
from kirotunnel.ssh.prompts import Nobody, Prompts
from kirotunnel.wire.redirect import TrustedHost


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInEnvironment:
    """The world as the flows of this machine's own sessions see it."""

    store: SessionStore
    endpoints: Endpoints = field(default_factory=Endpoints)
    conversation: Conversation = field(default_factory=Silence)
    prompts: Prompts = field(default_factory=Nobody)
    interactive: bool = False
    """Whether a person at a terminal can be asked."""
    browser: Browser = field(default_factory=PrintedOnly)
    remote: Remoteness | None = None
    """Why the browser is probably not on this machine; None where it is."""
    paste: Paste | None = None
    """Given: nothing is listened on here, and the callback is pasted."""
    patience: Patience = field(default_factory=Patience)
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @classmethod
    def real(
        cls,
        *,
        conversation: Conversation,
        prompts: Prompts | None = None,
        browser: Browser | None = None,
        paste: Paste | None = None,
        trusted: tuple[TrustedHost, ...] = (),
    ) -> SignInEnvironment:
        """This machine and the real services, or those that the environment names. Raises SettingsError."""
        return cls(
            store=SessionStore(own_directory("data"), _find_vault),
            endpoints=Endpoints.of(os.environ, trusted),
            conversation=conversation,
            prompts=prompts or Nobody(),
            interactive=prompts is not None,
            browser=browser or PrintedOnly(),
            paste=paste,
            remote=remoteness(session_facts()),
        )


def _find_vault() -> Vault | None:
    from kirotunnel.local.keyring_vault import find_keyring

    return find_keyring()
