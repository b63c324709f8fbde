"""This machine's own sessions: who is signed in, a token that can be used, and the end of it.

A token is renewed when somebody asks for it and it ends within a minute, by one process while the others wait. What a
service refuses to renew is over, and is removed; what could not be asked for want of a network is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from kirotunnel.errors import (
    KirotunnelError,
    NobodySignedInError,
    OAuthError,
    SessionEndedError,
    SessionStoreBusyError,
    SessionStoreError,
)
from kirotunnel.events import Account, SignedOut
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.oauth import openid_provider
from kirotunnel.oauth.aws_sso_oidc import AwsSsoOidc
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.kiro_service import KiroService
from kirotunnel.oauth.session import AwsGrant, KiroGrant, Method, OpenIdGrant, Session, dump, load, session_key
from kirotunnel.oauth.tokens import TokenSet
from kirotunnel.redaction import Secret

SESSION: Final = "session "
"""How the names of sessions begin in the store; other things are kept there, too."""

FINISH_S: Final = 5.0
"""Seconds that a renewal under way has to finish after Ctrl-C: longer than any service takes that answers at all."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of several accounts is meant; nothing set means the current one."""

    method: Method | None = None
    where: str | None = None
    """Start URL or issuer."""

    @property
    def is_open(self) -> bool:
        """Whether nothing was said."""
        return self.method is None and self.where is None

    def covers(self, session: Session) -> bool:
        """Whether the session is what was asked for."""
        same_method = self.method is None or session.method == self.method
        same_place = self.where is None or (session.where or "").rstrip("/") == self.where.rstrip("/")
        return same_method and same_place

    def describe(self) -> str:
        """For a message."""
        return " ".join(part for part in (self.method, self.where) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutResult:
    """What happened."""

    account: Account
    revoked: bool
    """Whether the service ended it as well."""
    why_not: str = ""
    """Why it did not."""
    remaining: tuple[Account, ...] = ()
    """Who is signed in still."""


class Sessions:
    """The sessions of this machine, in an environment."""

    def __init__(self, environment: SignInEnvironment) -> None:
        self._environment = environment
        self._store = environment.store

    # --- finding -----------------------------------------------------------------------------------------------------

    async def find(self, choice: Choice) -> Session | None:
        """The session that is meant. Raises SessionStoreError."""
        if choice.is_open:
            name = await self._store.current()
            return await self._load(name) if name is not None else None
        names = [name for name in await self._store.names() if name.startswith(SESSION)]
        if choice.method is not None and choice.where is not None:
            exact = SESSION + session_key(choice.method, choice.where)
            names = [name for name in names if name == exact] or names
        for name in reversed(names):  # the newest first
            if choice.method is None or name.split(" ")[1] == choice.method:
                session = await self._load(name)
                if session is not None and choice.covers(session):
                    return session
        return None

    async def all(self) -> tuple[Session, ...]:
        """All of them, the newest last."""
        names = [name for name in await self._store.names() if name.startswith(SESSION)]
        sessions = [await self._load(name) for name in names]
        return tuple(session for session in sessions if session is not None)

    async def _load(self, name: str) -> Session | None:
        text = await self._store.get(name)
        if text is None:
            return None
        try:
            return load(text)
        except ValueError as exc:
            raise SessionStoreError(
                f"the session {name.removeprefix(SESSION)!r} in {self._store.file} is damaged: {exc}"
            ) from None

    async def whoami(self, choice: Choice) -> Account | None:
        """Who is signed in; None where nobody is, or the service no longer agrees. The conversation is told why."""
        conversation = self._environment.conversation
        session = await self.find(choice)
        if session is None:
            conversation.tell("nobody is signed in here")
            return None
        try:
            return (await self.freshened(session)).account
        except (NobodySignedInError, SessionEndedError) as exc:
            conversation.tell(exc.message)
            return None
        except OAuthError as exc:
            conversation.warn(f"the session is kept, and could not be renewed now: {exc.message}")
            return session.account

    # --- a token -----------------------------------------------------------------------------------------------------

    async def fresh(self, choice: Choice) -> Session:
        """The session with a token that can be used.

        Raises NobodySignedInError; SessionEndedError where the service refuses, ServiceUnreachableError where it
        could not be asked and the token is of no use any more.
        """
        session = await self.find(choice)
        if session is None:
            of = f" with {choice.describe()}" if not choice.is_open else ""
            raise NobodySignedInError(f"nobody is signed in here{of}")
        return await self.freshened(session)

    async def freshened(self, session: Session) -> Session:
        """This session with a token that can be used."""
        if session.tokens.is_fresh(self._environment.now()):
            return session
        # What was begun is ended: a renewal that is cut off half-way would lose the refresh token that it was given.
        task = asyncio.ensure_future(self._renew_in_turn(session))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=FINISH_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _renew_in_turn(self, session: Session) -> Session:
        name = SESSION + session.key
        async with self._store.turn(name):
            kept = await self._load(name)  # another process may have renewed or ended it while we waited
            if kept is None:
                raise NobodySignedInError(f"{session.account.describe()} was signed out meanwhile")
            if kept.tokens.is_fresh(self._environment.now()):
                return kept
            try:
                renewed = kept.renewed(await self._renew(kept))
            except SessionEndedError:
                await self._store.remove(name)
                raise
            except KirotunnelError as exc:
                if kept.tokens.is_fresh(self._environment.now(), slack_s=0):
                    _log.debug("not renewed, but good for some seconds more: %s", exc.message)
                    return kept
                raise
            await self._store.replace(name, dump(renewed))
            return renewed

    async def _renew(self, session: Session) -> TokenSet:
        refresh_token = session.tokens.refresh_token
        if refresh_token is None:
            if session.tokens.is_fresh(self._environment.now(), slack_s=0):
                return session.tokens
            raise SessionEndedError(f"the session of {session.account.describe()} expired, and it came without renewal")
        now, endpoints = self._environment.now(), self._environment.endpoints
        async with HttpClient(self._environment.patience) as http:
            match session.grant:
                case KiroGrant():
                    return await KiroService(http, endpoints).renew(refresh_token, now)
                case AwsGrant() as grant:
                    return await AwsSsoOidc(http, endpoints, grant.region).renew(grant, refresh_token, now)
                case OpenIdGrant() as grant:
                    return await openid_provider.renew(http, grant, refresh_token, now)

    # --- keeping and ending ------------------------------------------------------------------------------------------

    async def keep(self, session: Session) -> None:
        """Keep a session that has just begun, and make it the current one. Raises SessionNotSavedError."""
        session = replace(session, signed_in_at=self._environment.now())
        name = SESSION + session.key
        async with contextlib.AsyncExitStack() as turn:
            # Not while another process renews the one before: that would bring it back, or take this one for it.
            try:
                await turn.enter_async_context(self._store.turn(name))
            except SessionStoreBusyError as exc:
                _log.debug("kept all the same, as somebody has just signed in: %s", exc.message)
            await self._store.put(name, dump(session), make_current=True)

    async def make_current(self, session: Session) -> None:
        """The account that is meant when none is named."""
        await self._store.make_current(SESSION + session.key)

    async def end(self, choice: Choice) -> LogoutResult:
        """Sign out: delete here first, then revoke at the service where that can be. Raises NobodySignedInError."""
        session = await self.find(choice)
        if session is None:
            of = f" with {choice.describe()}" if not choice.is_open else ""
            raise NobodySignedInError(f"nobody is signed in here{of}", "there is nothing to sign out of")
        name = SESSION + session.key
        async with self._store.turn(name):  # not while another process renews it: that would bring it back
            session = await self._load(name) or session
            await self._store.remove(name)
        revoked, why_not = await self._revoke(session)
        self._environment.conversation.event(SignedOut(revoked=revoked))
        remaining = tuple(other.account for other in await self.all())
        return LogoutResult(account=session.account, revoked=revoked, why_not=why_not, remaining=remaining)

    async def _revoke(self, session: Session) -> tuple[bool, str]:
        # The session is gone here already: a network that does not work is not waited for as long as elsewhere.
        async with HttpClient(replace(self._environment.patience, attempts=2)) as http:
            revoke = _revocation(session, http, self._environment)
            if isinstance(revoke, str):
                return False, revoke
            try:
                done = await revoke()
            except KirotunnelError as exc:
                return False, exc.message
            return done, "" if done else "the service refused"


def _revocation(
    session: Session, http: HttpClient, environment: SignInEnvironment
) -> Callable[[], Awaitable[bool]] | str:
    """How this session is revoked, or why it cannot be."""
    token: Secret[str] | None = session.tokens.refresh_token
    if token is None:
        return "there is no refresh token to revoke"
    match session.grant:
        case KiroGrant():
            return partial(KiroService(http, environment.endpoints).end, token)
        case OpenIdGrant(revocation_endpoint=None):
            return "the identity provider offers no revocation"
        case OpenIdGrant() as grant:
            return partial(openid_provider.end, http, grant, token)
        case AwsGrant():
            return "AWS offers no revocation for these tokens; end the session in your AWS access portal"
