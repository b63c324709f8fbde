"""AWS's dialect: requests as its service model has them, and every shape of its errors."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.validate import ParamValidator

from kirotunnel.errors import ServiceRefusedError, ServiceReplyError
from kirotunnel.oauth import aws_sso_oidc as aws
from kirotunnel.oauth.authorization import AuthorizationRequest
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply, Request
from kirotunnel.oauth.session import AwsGrant
from kirotunnel.redaction import Secret

BASE = "https://oidc.us-east-1.amazonaws.com"
START_URL = "https://example.awsapps.com/start"
CLIENT = aws.Registration(client_id="c", client_secret=Secret("s-5ecret"), expires_at=2e9)
GRANT = AwsGrant(start_url=START_URL, region="us-east-1", client_id="c", client_secret=Secret("s-5ecret"))
AUTHORIZATION = AuthorizationRequest(redirect_uri="http://127.0.0.1:40000/oauth/callback")
MODEL = botocore.session.get_session().get_service_model("sso-oidc")


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("RegisterClient", aws.register_request(BASE, START_URL, device=False)),
        ("RegisterClient", aws.register_request(BASE, START_URL, device=True)),
        ("StartDeviceAuthorization", aws.device_request(BASE, CLIENT, START_URL)),
        ("CreateToken", aws.code_request(BASE, CLIENT, AUTHORIZATION, Secret("code"))),
        ("CreateToken", aws.poll_request(BASE, CLIENT, Secret("d"))),
        ("CreateToken", aws.refresh_request(BASE, GRANT, Secret("r"))),
    ],
)
def test_every_request_is_one_of_the_service_model(operation: str, request_: Request) -> None:
    model = MODEL.operation_model(operation)
    assert (request_.method, urlsplit(request_.url).path) == (model.http["method"], model.http["requestUri"])
    assert request_.body is not None
    members = json.loads(request_.body.reveal())
    assert not ParamValidator().validate(members, model.input_shape).has_errors()
    assert set(members) <= set(model.input_shape.members)
    assert {"s-5ecret"} >= {"s-5ecret"} & {repr(request_)}


def test_the_authorize_page_has_scopes_in_the_plural() -> None:
    url = aws.authorize_url(BASE, CLIENT, AUTHORIZATION).reveal()
    query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert "scope" not in query
    assert query["scopes"] == "codewhisperer:completions codewhisperer:analysis codewhisperer:conversations"
    assert query["code_challenge_method"] == "S256"
    assert "codewhisperer%3Acompletions%20" in url


def a_reply(values: object, status: int = 200, **headers: str) -> Reply:
    body = Secret(json.dumps(values).encode())
    fields = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(host="oidc.example", status=status, headers=fields, body=body)


def errors_of_the_model() -> list[tuple[str, dict[str, Any]]]:
    operation = MODEL.operation_model("CreateToken")
    return [(shape.name, dict(shape.metadata)) for shape in operation.error_shapes]


@pytest.mark.parametrize(
    ("shape", "metadata"), errors_of_the_model(), ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("how", ["header", "long header", "__type"])
def test_every_error_shape_is_recognised_in_every_way_that_it_comes(
    shape: str, metadata: dict[str, Any], how: str
) -> None:
    status = metadata.get("error", {}).get("httpStatusCode", 400)
    named = {
        "header": a_reply({}, status, x_amzn_errortype=shape),
        "long header": a_reply({}, status, x_amzn_errortype=f"{shape}:http://internal.amazon.com/x/"),
        "__type": a_reply({"__type": f"com.amazonaws.ssooidc#{shape}"}, status),
    }
    assert aws.error_shape(named[how]) == shape


def test_the_oauth_code_alone_is_enough() -> None:
    assert aws.error_shape(a_reply({"error": "slow_down"}, 400)) == "SlowDownException"


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ("AuthorizationPendingException", "pending"),
        ("SlowDownException", "slow_down"),
        ("ExpiredTokenException", "expired"),
        ("AccessDeniedException", "denied"),
    ],
)
def test_polls(shape: str, answer: str) -> None:
    assert aws.read_poll(a_reply({}, 400, x_amzn_errortype=shape), 0) == answer


def test_a_poll_that_is_refused_for_another_reason() -> None:
    with pytest.raises(ServiceRefusedError, match="InvalidClientException"):
        aws.read_poll(a_reply({}, 401, x_amzn_errortype="InvalidClientException"), 0)


def test_a_wrong_region_is_explained() -> None:
    with pytest.raises(ServiceRefusedError, match="InvalidRequestException, Invalid issuerUrl") as caught:
        aws.read_registration(
            a_reply({"error_description": "Invalid issuerUrl"}, 400, x_amzn_errortype="InvalidRequestException"),
            Endpoints(),
        )
    assert "--region" in caught.value.hint


def test_a_registration_to_text_and_back() -> None:
    assert aws.Registration.load(CLIENT.dump()) == CLIENT
    assert "5ecret" not in repr(CLIENT)
    for text in (
        "",
        "{}",
        "[]",
        "null",
        '{"client_id": 1, "client_secret": "x", "expires_at": 1}',
        CLIENT.dump().reveal()[:-2],
    ):
        assert aws.Registration.load(Secret(text)) is None


def test_a_registration_is_good_until_shortly_before_its_end() -> None:
    assert CLIENT.is_good(2e9 - 3601)
    assert not CLIENT.is_good(2e9 - 3600)


@pytest.mark.parametrize("expires", [None, "soon", True, -1])
def test_a_registration_without_an_end(expires: object) -> None:
    reply = a_reply({"clientId": "c", "clientSecret": "s", "clientSecretExpiresAt": expires})
    with pytest.raises(ServiceReplyError):
        aws.read_registration(reply, Endpoints())


def test_the_service_may_say_where_its_authorize_page_is() -> None:
    values = {"clientId": "c", "clientSecret": "s", "clientSecretExpiresAt": 0}
    client = aws.read_registration(a_reply(values | {"authorizationEndpoint": "https://a.example/x"}), Endpoints())
    assert aws.authorize_url(BASE, client, AUTHORIZATION).reveal().startswith("https://a.example/x?response_type=code")
    assert aws.Registration.load(client.dump()) == client
    with pytest.raises(ServiceReplyError):
        aws.read_registration(a_reply(values | {"authorizationEndpoint": "javascript:x"}), Endpoints())


def test_the_page_of_a_device_code_may_have_a_fragment() -> None:
    page = "https://view.awsapps.com/start/#/device?user_code=ABCD-EFGH"
    values = {"deviceCode": "d", "userCode": "ABCD-EFGH", "verificationUri": page, "verificationUriComplete": page}
    device = aws.read_device(a_reply(values), Endpoints())
    assert (device.page, device.interval_s, device.expires_in_s) == (page, 5, 600)
