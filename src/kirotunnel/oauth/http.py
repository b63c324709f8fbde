"""Send requests to the sign-in services: the one place of the product that speaks HTTP as a client.

5xx, timeouts and broken connections are tried again, with growing pauses and jitter, or as long as Retry-After says;
4xx never. No redirects, no cookies, no compression, a limit on what is read. Certificates are always checked, against
the system's authorities; proxies are those of the environment, and never used for this machine itself.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Self

from kirotunnel.errors import CertificateError, ServiceReplyError, ServiceUnreachableError, SettingsError
from kirotunnel.oauth.messages import MAX_REPLY, Reply, Request
from kirotunnel.redaction import Secret
from kirotunnel.version import __version__

if TYPE_CHECKING:
    import httpx

USER_AGENT: Final = f"kirotunnel/{__version__}"
ATTEMPTS: Final = 4
"""How often a request is sent at most."""
CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 20.0
WHOLE_TIMEOUT_S: Final = 30.0
"""For one attempt: a server that sends a byte every few seconds is none."""
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 8.0
MAX_RETRY_AFTER_S: Final = 30.0
"""A service that wants more time than this is told to the person instead of waited for."""
_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how long; tests bring their own."""

    attempts: int = ATTEMPTS
    first_pause_s: float = FIRST_PAUSE_S
    connect_s: float = CONNECT_TIMEOUT_S
    answer_s: float = ANSWER_TIMEOUT_S
    whole_s: float = WHOLE_TIMEOUT_S
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Seconds before the next attempt, after so many."""
        if retry_after is not None:
            return retry_after
        longest = min(self.first_pause_s * (1 << (attempt - 1)), MAX_PAUSE_S)
        return longest * (0.5 + 0.5 * self.jitter())  # half of it random: many clients must not come back as one


class HttpClient:
    """Sends requests, for the time of an `async with`. The connection library is loaded with the first of them."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def send(self, request: Request, *, once: bool = False) -> Reply:
        """Send it; `once` for polls, which come again anyway.

        Raises ServiceUnreachableError, CertificateError, or ServiceReplyError for what is no proper HTTP reply.
        """
        patience, attempt = self._patience, 1
        attempts = 1 if once else patience.attempts
        while True:
            try:
                reply = await self._send_once(request)
            except CertificateError:
                raise
            except ServiceUnreachableError:
                if attempt >= attempts:
                    raise
                retry_after = None
            else:
                retry_after = _retry_after(reply)
                too_long = retry_after is not None and retry_after > MAX_RETRY_AFTER_S
                if reply.status < 500 or attempt >= attempts or too_long:
                    return _usable(reply)
            await patience.sleep(patience.pause(attempt, retry_after))
            attempt += 1

    async def _send_once(self, request: Request) -> Reply:
        import httpx

        try:
            async with asyncio.timeout(self._patience.whole_s):
                return await self._exchange(request)
        except (httpx.TimeoutException, TimeoutError) as exc:
            raise ServiceUnreachableError(f"{request.host} did not answer in time") from exc
        except (httpx.TransportError, OSError) as exc:
            raise _unreachable(request, exc) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise ServiceReplyError(f"the answer of {request.host} is no HTTP answer ({type(exc).__name__})") from exc

    async def _exchange(self, request: Request) -> Reply:
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **dict(request.headers)}
        content = request.body.reveal() if request.body is not None else None
        async with self._connected().stream(request.method, request.url, headers=headers, content=content) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise ServiceReplyError(f"{request.host} answered in an encoding that it was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_REPLY:
                    raise ServiceReplyError(f"the answer of {request.host} is too large (more than {MAX_REPLY} bytes)")
            return Reply(
                host=request.host,
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=Secret(bytes(body)),
                unsaid=request.unsaid,
            )

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> httpx.AsyncClient:
        import httpx
        import truststore

        timeout = httpx.Timeout(self._patience.answer_s, connect=self._patience.connect_s)
        authorities = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            return httpx.AsyncClient(
                verify=authorities,
                timeout=timeout,
                follow_redirects=False,
                trust_env=True,  # HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
                mounts={name: httpx.AsyncHTTPTransport(verify=authorities) for name in _LOOPBACK},
            )
        except (ValueError, httpx.InvalidURL) as exc:
            raise SettingsError(
                "a proxy variable holds an address that cannot be used",
                "correct or unset HTTPS_PROXY, HTTP_PROXY and ALL_PROXY",
            ) from exc


def _unreachable(request: Request, exc: Exception) -> ServiceUnreachableError:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateError(f"the certificate of {request.host} is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return ServiceUnreachableError(
                f"no TLS connection to {request.host}: {(cause.reason or 'error').replace('_', ' ').lower()}",
                "something between here and the service does not speak TLS as it should: a proxy, a captive portal",
            )
        cause = cause.__cause__ or cause.__context__
    return ServiceUnreachableError(f"{request.host} was not reached: {_words(exc)}")


def _words(exc: BaseException) -> str:
    """Why, in the system's words where it has some. The library's own texts may have more in them than is wanted."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return {"ConnectError": "no connection", "RemoteProtocolError": "the connection broke off"}.get(
        type(exc).__name__, type(exc).__name__
    )


def _usable(reply: Reply) -> Reply:
    if reply.status >= 500 or reply.status < 200:
        raise ServiceUnreachableError(
            f"{reply.host} is in trouble (status {reply.status})", "the service has a problem; try again later"
        )
    if 300 <= reply.status < 400:
        raise ServiceReplyError(
            f"{reply.host} answered with a redirect, which is never followed (status {reply.status})"
        )
    return reply


def _retry_after(reply: Reply) -> float | None:
    """Seconds or a date (RFC 9110 §10.2.3); a date is taken against the server's own clock."""
    text = reply.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal() and len(text) < 9:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        now = parsedate_to_datetime(reply.headers.get("date", ""))
        return max((when - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
