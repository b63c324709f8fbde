"""An authorization server's description of itself: OpenID Connect Discovery 1.0, else RFC 8414."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from kirotunnel.errors import DiscoveryError, ServiceReplyError
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply, Request, get, quotable


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMetadata:
    """What the flows need of it (RFC 8414 §2)."""

    issuer: str
    """As the server writes it: what `iss` is compared with."""
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    sends_iss: bool = False
    """authorization_response_iss_parameter_supported (RFC 9207 §3)."""


def discovery_requests(issuer: str, endpoints: Endpoints) -> tuple[Request, Request]:
    """The requests to try, in order. Raises DiscoveryError for an issuer that is no https address."""
    parts = urlsplit(issuer) if endpoints.allows(issuer) else None
    if parts is None or parts.query or parts.fragment:
        raise DiscoveryError(
            f"the issuer {quotable(issuer, limit=120)!r} is no https address",
            "give --issuer as your identity provider's own page shows it; for one without TLS, name its host "
            "with --trust-url-host",
        )
    path = parts.path.rstrip("/")
    # RFC 8414 §3.1 puts the well-known part before the path of the issuer, OpenID Connect Discovery §4.1 behind it.
    openid = urlunsplit((parts.scheme, parts.netloc, f"{path}/.well-known/openid-configuration", "", ""))
    oauth = urlunsplit((parts.scheme, parts.netloc, f"/.well-known/oauth-authorization-server{path}", "", ""))
    return get(openid), get(oauth)


def read_metadata(reply: Reply, issuer: str, endpoints: Endpoints) -> ProviderMetadata:
    """The metadata, checked. Raises DiscoveryError, ServiceReplyError for what is no JSON object."""
    if not reply.ok:
        raise DiscoveryError(f"{reply.host} has no description of the issuer {issuer} (status {reply.status})")
    members = reply.members()
    named = members.optional_text("issuer") or ""
    # RFC 8414 §3.3: identical. A slash at the end is what people leave out when they type it.
    if named.rstrip("/") != issuer.rstrip("/"):
        said = quotable(named, limit=120) or "nobody"
        raise DiscoveryError(f"the description at {issuer} is that of another issuer, {said}")
    found = {}
    for name in (
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "revocation_endpoint",
        "device_authorization_endpoint",
    ):
        url = members.optional_text(name)
        if url is not None and not endpoints.allows(url):
            raise DiscoveryError(f"the {name} of {issuer} is no https address")
        found[name] = url
    authorization, token = found.pop("authorization_endpoint"), found.pop("token_endpoint")
    if authorization is None or token is None:
        missing = "authorization_endpoint" if authorization is None else "token_endpoint"
        raise DiscoveryError(f"the description of {issuer} has no {missing}")
    return ProviderMetadata(
        issuer=named,
        authorization_endpoint=authorization,
        token_endpoint=token,
        sends_iss=members.value("authorization_response_iss_parameter_supported") is True,
        **found,
    )


def is_missing(reply: Reply) -> bool:
    """Whether the second address is worth a try: the first is not there, or is a page for people."""
    if reply.status in {400, 403, 404, 405, 410}:
        return True
    if not reply.ok:
        return False
    try:
        reply.members()
    except ServiceReplyError:
        return True
    return False
