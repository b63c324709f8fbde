"""Where the sign-in services are, and which addresses may be given secrets at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kirotunnel.errors import SettingsError
from kirotunnel.wire.redirect import MAX_URL, TrustedHost

PORTAL_URL: Final = "https://app.kiro.dev"
AUTH_SERVICE_URL: Final = "https://prod.us-east-1.auth.desktop.kiro.dev"
PORTAL_VARIABLE: Final = "KIRO_AUTH_PORTAL_URL"
AUTH_SERVICE_VARIABLE: Final = "KIROTUNNEL_AUTH_SERVICE_URL"
SSO_OIDC_VARIABLE: Final = "AWS_ENDPOINT_URL_SSO_OIDC"

_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
# What RFC 3986 allows in a URL, and nothing else: what is opened and called must be one and the same for every parser.
_URL: Final = re.compile(r"https?://[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The bases of the services, without a slash at the end."""

    portal: str = PORTAL_URL
    auth_service: str = AUTH_SERVICE_URL
    sso_oidc: str | None = None
    """None takes AWS's own, by region."""
    trusted: tuple[TrustedHost, ...] = ()
    """Hosts that may be spoken to by http, since the person named them."""

    @classmethod
    def of(cls, environment: Mapping[str, str], trusted: tuple[TrustedHost, ...] = ()) -> Endpoints:
        """As the environment says. Raises SettingsError for a variable that holds no address."""
        given = {
            name: _checked(name, environment[name])
            for name in (PORTAL_VARIABLE, AUTH_SERVICE_VARIABLE, SSO_OIDC_VARIABLE)
            if environment.get(name)
        }
        return cls(
            portal=given.get(PORTAL_VARIABLE, PORTAL_URL),
            auth_service=given.get(AUTH_SERVICE_VARIABLE, AUTH_SERVICE_URL),
            sso_oidc=given.get(SSO_OIDC_VARIABLE),
            # Who sets such a variable has named that host, and may run it without TLS.
            trusted=(*trusted, *(_host_of(url) for url in given.values())),
        )

    def aws(self, region: str) -> str:
        """AWS's SSO OIDC service of a region. Raises SettingsError for what is no region: it becomes a host name."""
        check_region(region)
        if self.sso_oidc:
            return self.sso_oidc
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://oidc.{region}.{suffix}"

    def allows(self, url: str) -> bool:
        """Whether secrets may go to this address: https, or http where it does not leave this machine or was named."""
        if len(url) > MAX_URL or not _URL.fullmatch(url):
            return False
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if not host or "@" in parts.netloc:
            return False
        if parts.scheme == "https" or is_loopback(host):
            return True
        return any(entry.covers(host, port or 80) for entry in self.trusted)


def check_region(region: str) -> None:
    """Raises SettingsError for what is no AWS region."""
    if not _REGION.fullmatch(region):
        raise SettingsError(f"{region[:40]!r} is no AWS region", "a region is a name such as us-east-1")


def is_loopback(host: str) -> bool:
    """Whether that host is this machine, by its name or address alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(variable: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        good = _URL.fullmatch(text) is not None and bool(parts.hostname) and "@" not in parts.netloc and not parts.query
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"{variable} holds no http or https address", f"correct or unset {variable}")
    return text.rstrip("/")


def _host_of(url: str) -> TrustedHost:
    parts = urlsplit(url)
    return TrustedHost(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
