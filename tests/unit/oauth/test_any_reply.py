"""Whatever a service sends, it is read or it is one of our errors; and what we sent in confidence is in none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import KirotunnelError
from kirotunnel.oauth import aws_sso_oidc as aws
from kirotunnel.oauth import id_token, openid_provider
from kirotunnel.oauth import kiro_service as kiro
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply
from kirotunnel.oauth.refusals import code_refused, refused, renewal_refused
from kirotunnel.redaction import Secret

SENT = Secret("s3cr3t-that-was-sent")
ENDPOINTS = Endpoints()

READERS: dict[str, Callable[[Reply], Any]] = {
    "kiro tokens": lambda reply: kiro.read_tokens(reply.members(), 0),
    "kiro device": lambda reply: kiro.read_device(reply, ENDPOINTS),
    "kiro poll": lambda reply: kiro.read_poll(reply, 0),
    "aws registration": lambda reply: aws.read_registration(reply, ENDPOINTS),
    "aws device": lambda reply: aws.read_device(reply, ENDPOINTS),
    "aws poll": lambda reply: aws.read_poll(reply, 0),
    "aws error": aws.error_shape,
    "openid tokens": lambda reply: openid_provider.read_tokens(reply.members(), 0),
    "openid device": lambda reply: openid_provider.read_device(reply, ENDPOINTS),
    "openid poll": lambda reply: openid_provider.read_poll(reply, 0),
    "openid keys": id_token.read_keys,
    "refused": lambda reply: str(refused(reply, reply.error_members().quoted("error_description", "message"))),
    "code refused": lambda reply: str(code_refused(reply, reply.error_members().quoted("error_description"))),
    "renewal refused": lambda reply: str(renewal_refused(reply, reply.error_members().quoted("error"), ends=True)),
}
NAMES = st.sampled_from(
    [
        "accessToken",
        "refreshToken",
        "expiresIn",
        "profileArn",
        "email",
        "status",
        "deviceCode",
        "userCode",
        "verificationUri",
        "interval",
        "verificationUriComplete",
        "expiresInMilliseconds",
        "intervalInMilliseconds",
        "clientId",
        "clientSecret",
        "clientSecretExpiresAt",
        "authorizationEndpoint",
        "__type",
        "error",
        "message",
        "error_description",
        "access_token",
        "token_type",
        "expires_in",
        "device_code",
        "user_code",
        "keys",
        "id_token",
        "verification_uri",
        "verification_uri_complete",
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        ["Bearer", "authorized", "https://x.example/", "ABCD-EFGH", SENT.reveal(), f"bad {SENT.reveal()}!"]
    ),
    st.lists(st.text(), max_size=2),
)
BODIES = st.one_of(
    st.dictionaries(NAMES, VALUES).map(lambda values: json.dumps(values).encode()), st.binary(max_size=60)
)
REPLIES = st.builds(
    lambda status, kind, shape, body: Reply(
        host="service.example",
        status=status,
        headers={"content-type": kind, "x-amzn-errortype": shape},
        body=Secret(body),
        unsaid=(SENT,),
    ),
    st.sampled_from([200, 400, 401, 403, 429]),
    st.sampled_from(["application/json", "text/html", ""]),
    st.one_of(st.sampled_from(["SlowDownException", "a#b:c", "#", ":"]), st.text(max_size=8)),
    BODIES,
)


@pytest.mark.parametrize("reader", READERS)
@given(reply=REPLIES)
def test_any_reply_is_read_or_refused(reader: str, reply: Reply) -> None:
    said = ""
    try:
        result = READERS[reader](reply)
        said = repr(result) if isinstance(result, str) else ""
    except KirotunnelError as exc:
        said = f"{exc.message} {exc.hint} {exc.__cause__!r}"
    assert SENT.reveal() not in said or reader == "aws error"
