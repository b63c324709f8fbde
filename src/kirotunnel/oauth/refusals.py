"""What a service's refusal means for the person."""

from __future__ import annotations

from kirotunnel.errors import (
    OAuthError,
    ServiceRefusedError,
    ServiceReplyError,
    ServiceUnreachableError,
    SessionEndedError,
    TokenRequestError,
)
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply


def speaks_json(reply: Reply) -> bool:
    """Whether it was the service itself that answered, and not a proxy or a portal on the way."""
    try:
        reply.members()
    except ServiceReplyError:
        return False
    return True


def refused(reply: Reply, said: str, hint: str | None = None) -> OAuthError:
    """A request was refused. Raises ServiceReplyError where it was no service that answered."""
    reply.members()  # raises where it is none
    words = f": {said}" if said else ""
    return ServiceRefusedError(f"{reply.host} refused the request (status {reply.status}){words}", hint)


def code_refused(reply: Reply, said: str) -> OAuthError:
    """An authorization code was refused. Raises ServiceReplyError where it was no service that answered."""
    reply.members()  # raises where it is none
    words = f": {said}" if said else ""
    return TokenRequestError(
        f"{reply.host} refused the authorization code (status {reply.status}){words}",
        "run the command again: each code is good for one use within a few minutes",
    )


def renewal_refused(reply: Reply, said: str, *, ends: bool) -> OAuthError:
    """A refresh token was refused; `ends` where the service says so of the token itself."""
    words = f": {said}" if said else ""
    if ends and speaks_json(reply):
        return SessionEndedError(f"{reply.host} refused to renew the session{words}; you are signed out here")
    return ServiceUnreachableError(
        f"{reply.host} did not renew the session (status {reply.status}){words}",
        "the session is kept; try again later",
    )


def user_code(text: str) -> str:
    """A code that a person must read: short, and of harmless characters. Raises ServiceReplyError for another."""
    if not 4 <= len(text) <= 24 or not all(char.isascii() and (char.isalnum() or char == "-") for char in text):
        raise ServiceReplyError("the service gave a one-time code that nobody could read")
    return text


def page_url(url: str, host: str, endpoints: Endpoints) -> str:
    """A page that a person is sent to. Raises ServiceReplyError for what is no https address."""
    # A fragment is part of AWS's own pages: https://view.awsapps.com/start/#/device?user_code=...
    if not endpoints.allows(url.replace("#", "%23", 1)):
        raise ServiceReplyError(f"{host} wants a page opened that has no https address")
    return url


def optional_page(url: str | None, host: str, endpoints: Endpoints) -> str | None:
    """The same for a page that need not be there."""
    return None if url is None else page_url(url, host, endpoints)
