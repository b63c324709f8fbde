"""The one file that sends HTTP, against a server that does what servers should not do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from integration.scripted_server import DROP, SILENCE, ScriptedServer, answer, certificate
from kirotunnel.errors import (
    CertificateError,
    KirotunnelError,
    ServiceReplyError,
    ServiceUnreachableError,
    SettingsError,
)
from kirotunnel.oauth.http import HttpClient, Patience
from kirotunnel.oauth.messages import MAX_REPLY, Reply, get, post_json
from kirotunnel.redaction import Secret


class Pauses(list[float]):
    """Notes the pauses instead of making them."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def hasty(pauses: Pauses | None = None, **changed: float) -> Patience:
    values: dict[str, float] = {"connect_s": 2, "answer_s": 2, "whole_s": 3} | changed
    return Patience(sleep=pauses if pauses is not None else Pauses(), jitter=lambda: 1.0, **values)


async def sent(server: ScriptedServer, patience: Patience, *, once: bool = False) -> Reply:
    async with HttpClient(patience) as http:
        return await http.send(post_json(f"{server.url}/x", {"code": Secret("s3cr3t-code")}), once=once)


async def test_one_request_one_reply() -> None:
    async with ScriptedServer.open([answer(200, b'{"a":"b"}')]) as server:
        reply = await sent(server, hasty())
        assert (reply.status, reply.members().text("a")) == (200, "b")
        (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert body == b'{"code":"s3cr3t-code"}'
        assert b"user-agent: kirotunnel/" in head.lower()
        assert b"accept-encoding: identity" in head.lower()
        assert b"cookie" not in head.lower()


@pytest.mark.parametrize("bad", [answer(503), answer(500, b"<html>"), answer(504), DROP, b"HTTP/1.1 200 OK\r\nConte"])
async def test_trouble_is_tried_again_with_growing_pauses(bad: bytes) -> None:
    pauses = Pauses()
    async with ScriptedServer.open([bad, bad, bad, answer(200)]) as server:
        assert (await sent(server, hasty(pauses))).ok
        assert len(server.requests) == 4
    assert pauses == [0.5, 1.0, 2.0]


async def test_pauses_are_half_chance() -> None:
    assert Patience(jitter=lambda: 0.0).pause(1, None) == 0.25
    assert [Patience(jitter=lambda: 1.0).pause(attempt, None) for attempt in (1, 2, 3, 9)] == [0.5, 1, 2, 8]


@pytest.mark.parametrize("bad", [answer(503), DROP])
async def test_trouble_without_end_is_said_after_four_attempts(bad: bytes) -> None:
    async with ScriptedServer.open([bad]) as server:
        with pytest.raises(ServiceUnreachableError) as caught:
            await sent(server, hasty())
        assert len(server.requests) == 4
        assert caught.value.code == "KT610"
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429])
async def test_a_refusal_is_never_tried_again(status: int) -> None:
    async with ScriptedServer.open([answer(status, Retry_After="1")]) as server:
        assert (await sent(server, hasty())).status == status
        assert len(server.requests) == 1


async def test_a_poll_is_sent_once() -> None:
    async with ScriptedServer.open([answer(503)]) as server:
        with pytest.raises(ServiceUnreachableError):
            await sent(server, hasty(), once=True)
        assert len(server.requests) == 1


async def test_retry_after_is_waited_for_in_seconds_and_as_a_date() -> None:
    pauses = Pauses()
    dated = answer(503, Retry_After="Wed, 21 Oct 2026 07:28:07 GMT", Date="Wed, 21 Oct 2026 07:28:00 GMT")
    async with ScriptedServer.open([answer(503, Retry_After="3"), dated, answer(200)]) as server:
        assert (await sent(server, hasty(pauses))).ok
    assert pauses == [3, 7]


@pytest.mark.parametrize("text", ["soon", "-1", "9" * 40, "Wed, 99 Oct 2026 07:28:07 GMT"])
async def test_a_retry_after_that_says_nothing_is_passed_over(text: str) -> None:
    pauses = Pauses()
    async with ScriptedServer.open([answer(503, Retry_After=text), answer(200)]) as server:
        assert (await sent(server, hasty(pauses))).ok
    assert pauses == [0.5]


async def test_a_service_that_wants_an_hour_is_not_waited_for() -> None:
    async with ScriptedServer.open([answer(503, Retry_After="3600")]) as server:
        with pytest.raises(ServiceUnreachableError):
            await sent(server, hasty())
        assert len(server.requests) == 1


async def test_silence_ends() -> None:
    async with ScriptedServer.open([SILENCE]) as server:
        with pytest.raises(ServiceUnreachableError, match="in time"):
            await sent(server, hasty(answer_s=0.2), once=True)
        with pytest.raises(ServiceUnreachableError, match="in time"):
            await sent(server, hasty(whole_s=0.2), once=True)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    async with HttpClient(hasty()) as http:
        with pytest.raises(ServiceUnreachableError, match="was not reached") as caught:
            await http.send(get(f"http://127.0.0.1:{port}/?code=s3cr3t"))
    assert "s3cr3t" not in caught.value.message


async def test_no_such_name() -> None:
    async with HttpClient(hasty()) as http:
        with pytest.raises(ServiceUnreachableError, match=r"nowhere\.invalid was not reached"):
            await http.send(get("https://nowhere.invalid/"))


async def test_what_is_too_large_is_not_read() -> None:
    huge = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"[" * (MAX_REPLY + 1)
    async with ScriptedServer.open([huge]) as server:
        with pytest.raises(ServiceReplyError, match="too large"):
            await sent(server, hasty())


async def test_redirects_are_not_followed() -> None:
    async with ScriptedServer.open([answer(302, Location="http://127.0.0.1:1/")]) as server:
        with pytest.raises(ServiceReplyError, match="redirect"):
            await sent(server, hasty())


@pytest.mark.parametrize(
    "reply", [answer(200, Content_Encoding="gzip"), b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 999999 \r\n\r\n"]
)
async def test_what_is_no_proper_reply(reply: bytes) -> None:
    async with ScriptedServer.open([reply]) as server:
        with pytest.raises(KirotunnelError) as caught:
            await sent(server, hasty())
        assert caught.value.code in {"KT610", "KT612"}


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    async with ScriptedServer.open([answer(200)], tls=tls) as server:
        pauses = Pauses()
        with pytest.raises(CertificateError, match="not trusted") as caught:
            await sent(server, hasty(pauses))
        assert (caught.value.code, server.requests, pauses) == ("KT611", [], [])


async def test_a_certificate_of_the_systems_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, authority = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with ScriptedServer.open([answer(200)], tls=tls) as server:
        assert (await sent(server, hasty())).ok


async def test_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, authority = certificate(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with ScriptedServer.open([answer(200)], tls=tls) as server:
        with pytest.raises(CertificateError):
            await sent(server, hasty())


async def test_no_tls_where_it_should_be() -> None:
    async with ScriptedServer.open([answer(200)]) as server:
        server.url = server.url.replace("http:", "https:")
        with pytest.raises(ServiceUnreachableError, match="no TLS"):
            await sent(server, hasty())


async def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer.open([answer(200)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with HttpClient(hasty()) as http:
            assert (await http.send(get("http://service.example/x"))).ok
            assert proxy.requests[0].startswith(b"GET http://service.example/x ")


async def test_a_proxy_is_not_asked_for_this_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer.open([answer(200)]) as server, ScriptedServer.open([answer(502)]) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert (await sent(server, hasty())).ok
        assert proxy.requests == []


async def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer.open([answer(200)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "service.invalid")
        async with HttpClient(hasty()) as http:
            with pytest.raises(ServiceUnreachableError):
                await http.send(get("http://service.invalid/x"), once=True)
        assert proxy.requests == []


async def test_a_proxy_variable_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://x")
    async with HttpClient(hasty()) as http:
        with pytest.raises(SettingsError, match="proxy"):
            await http.send(get("https://service.example/"))
