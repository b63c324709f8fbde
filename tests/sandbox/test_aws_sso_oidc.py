"""AWS's SSO OIDC service is what AWS's own SDK takes for it: answers, pages, and every error as its exception."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3
import httpx
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from kirotunnel.sandbox.aws_sso_oidc import DEVICE_CODE_GRANT, ERRORS
from kirotunnel.sandbox.behaviour import Behaviour
from kirotunnel.sandbox.robot import sign_in
from kirotunnel.sandbox.services import SignInServices
from sandbox.sign_in_client import BUILDER_ID, SCOPES, START_URL, CallbackListener, Clock, Pkce, http_client

MODEL = ServiceModel(Loader().load_service_model("sso-oidc", "service-2"), "sso-oidc")
OPERATION_ERRORS = [
    (operation, shape.name)
    for operation in MODEL.operation_names
    for shape in MODEL.operation_model(operation).error_shapes
]
REDIRECT_URI = "http://127.0.0.1:41234/oauth/callback"
GRANT_TYPES = ["authorization_code", "refresh_token", DEVICE_CODE_GRANT]


class Aws:
    """boto3's client, off the event loop."""

    def __init__(self, services: SignInServices) -> None:
        self.base = services.public_url
        config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, proxies={})
        self.client: Any = boto3.client(
            "sso-oidc", region_name="us-east-1", endpoint_url=services.public_url, config=config
        )
        self.registered: dict[str, str] = {}

    async def call(self, operation: str, **parameters: object) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(getattr(self.client, operation), **parameters)
        return answer

    async def fails(self, operation: str, error: str, **parameters: object) -> ClientError:
        with pytest.raises(getattr(self.client.exceptions, error)) as caught:
            await self.call(operation, **parameters)
        failure: ClientError = caught.value
        return failure

    async def register(self, **changed: object) -> dict[str, str]:
        wanted: dict[str, object] = {
            "clientName": "Kiro CLI",
            "clientType": "public",
            "scopes": SCOPES,
            "issuerUrl": START_URL,
            "redirectUris": [REDIRECT_URI],
            "grantTypes": GRANT_TYPES,
            **changed,
        }
        answer = await self.call(
            "register_client", **{name: value for name, value in wanted.items() if value is not None}
        )
        self.registered = {"clientId": answer["clientId"], "clientSecret": answer["clientSecret"]}
        return self.registered

    async def start_device(self, start_url: str = BUILDER_ID) -> dict[str, Any]:
        return await self.call("start_device_authorization", startUrl=start_url, **self.registered)

    def device_token(self, device: dict[str, Any]) -> dict[str, str]:
        return {**self.registered, "grantType": DEVICE_CODE_GRANT, "deviceCode": device["deviceCode"]}

    def authorize_url(self, pkce: Pkce, redirect_uri: str = REDIRECT_URI, **changed: str) -> str:
        query = {
            "response_type": "code",
            "client_id": self.registered["clientId"],
            "redirect_uri": redirect_uri,
            "scopes": " ".join(SCOPES),
            "state": "abcdefghij",
            **pkce.query,
            **changed,
        }
        return f"{self.base}/authorize?{urlencode({name: value for name, value in query.items() if value})}"


class CodeFlow:
    """A PKCE sign-in, up to the code."""

    def __init__(self, aws: Aws) -> None:
        self.aws, self.pkce, self.redirect_uri, self.code = aws, Pkce(), "", ""

    async def until_code(self, **registration: object) -> None:
        async with CallbackListener.open("/index.html") as listener:
            self.redirect_uri = f"http://127.0.0.1:{listener.port}/oauth/callback"
            await self.aws.register(**{"redirectUris": [self.redirect_uri], **registration})
            url = self.aws.authorize_url(self.pkce, self.redirect_uri)
            await sign_in(url, method="builder-id")
        (callback, *_) = listener.requests
        path, _, query = callback.target.partition("?")
        assert path == "/oauth/callback"
        answer = dict(parse_qsl(query))
        assert list(answer) == ["code", "state"]
        assert answer["state"] == "abcdefghij"
        self.code = answer["code"]

    def token(self, **changed: str) -> dict[str, str]:
        return {
            **self.aws.registered,
            "grantType": "authorization_code",
            "code": self.code,
            "codeVerifier": self.pkce.verifier,
            "redirectUri": self.redirect_uri,
            **changed,
        }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(clock: Clock) -> AsyncIterator[SignInServices]:
    async with SignInServices(clock=clock) as running:
        yield running


@pytest.fixture
def aws(services: SignInServices) -> Aws:
    return Aws(services)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def code_flow(aws: Aws) -> CodeFlow:
    flow = CodeFlow(aws)
    await flow.until_code()
    return flow


# --- what works ------------------------------------------------------------------------------------------------------


async def test_a_client_is_registered(aws: Aws, clock: Clock) -> None:
    answer = await aws.call("register_client", clientName="Kiro CLI", clientType="public", scopes=SCOPES)
    assert answer["clientId"]
    assert answer["clientSecret"]
    assert answer["clientIdIssuedAt"] == int(clock.now)
    assert answer["clientSecretExpiresAt"] == int(clock.now + 90 * 86400)
    assert answer["authorizationEndpoint"] == f"{aws.base}/authorize"
    assert answer["tokenEndpoint"] == f"{aws.base}/token"


@pytest.mark.parametrize(("start_url", "email"), [(BUILDER_ID, "alan"), (START_URL, "katherine")])
async def test_a_device_code_gives_tokens_once_it_is_confirmed(
    aws: Aws, services: SignInServices, http: httpx.AsyncClient, start_url: str, email: str
) -> None:
    await aws.register(grantTypes=None, redirectUris=None, issuerUrl=None)
    device = await aws.start_device(start_url)
    assert device["verificationUri"] == f"{aws.base}/start/device"
    assert device["verificationUriComplete"] == f"{aws.base}/start/device?user_code={device['userCode']}"
    assert (device["expiresIn"], device["interval"]) == (600, 1)
    await aws.fails("create_token", "AuthorizationPendingException", **aws.device_token(device))
    report = await sign_in(device["verificationUriComplete"], method="builder-id")
    assert report.ok
    raw = await http.post(f"{aws.base}/token", json=aws.device_token(device))
    assert raw.json()["email"] == f"{email}@example.com"
    await aws.fails("create_token", "InvalidGrantException", **aws.device_token(device))
    assert services.seen == [
        ("aws-sso-oidc", "RegisterClient"),
        ("aws-sso-oidc", "StartDeviceAuthorization"),
        ("aws-sso-oidc", "CreateToken"),
        ("aws-sso-oidc", "device page"),
        ("aws-sso-oidc", "device code confirmed"),
        ("aws-sso-oidc", "device decision"),
        ("aws-sso-oidc", "CreateToken"),
        ("aws-sso-oidc", "CreateToken"),
    ]


async def test_an_authorization_code_gives_tokens(code_flow: CodeFlow) -> None:
    tokens = await code_flow.aws.call("create_token", **code_flow.token())
    assert tokens["accessToken"]
    assert tokens["refreshToken"]
    assert tokens["tokenType"] == "Bearer"
    assert tokens["expiresIn"] == 3600


async def test_answers_have_the_types_of_the_model(code_flow: CodeFlow, http: httpx.AsyncClient) -> None:
    aws = code_flow.aws
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "RegisterClient": ("/client/register", {"clientName": "x", "clientType": "public"}),
        "StartDeviceAuthorization": ("/device_authorization", {**aws.registered, "startUrl": BUILDER_ID}),
        "CreateToken": ("/token", code_flow.token()),
    }
    for operation, (path, body) in calls.items():
        answer = (await http.post(aws.base + path, json=body)).json()
        answer.pop("email", None)
        shape = MODEL.operation_model(operation).output_shape
        assert ParamValidator().validate(answer, shape).generate_report() == ""
        assert set(answer) <= set(shape.members)


async def test_refresh_tokens_rotate(code_flow: CodeFlow) -> None:
    aws = code_flow.aws
    first = await aws.call("create_token", **code_flow.token())
    refresh = {**aws.registered, "grantType": "refresh_token", "refreshToken": first["refreshToken"]}
    second = await aws.call("create_token", **refresh)
    assert second["refreshToken"] != first["refreshToken"]
    await aws.fails("create_token", "InvalidGrantException", **refresh)


async def test_a_redirect_uri_registered_without_a_port_is_good_for_every_port(aws: Aws) -> None:
    flow = CodeFlow(aws)
    await flow.until_code(redirectUris=["http://127.0.0.1/oauth/callback"])
    assert await aws.call("create_token", **flow.token())


async def test_the_denial_goes_to_the_callback(aws: Aws) -> None:
    async with CallbackListener.open("/index.html") as listener:
        redirect_uri = f"http://127.0.0.1:{listener.port}/oauth/callback"
        await aws.register(redirectUris=[redirect_uri])
        await sign_in(aws.authorize_url(Pkce(), redirect_uri), method="idc", decision="deny")
    answer = dict(parse_qsl(listener.requests[0].target.partition("?")[2]))
    assert answer["error"] == "access_denied"
    assert answer["state"] == "abcdefghij"
    assert "code" not in answer


async def test_the_pages_can_be_on_another_host_name_than_the_portal() -> None:
    async with SignInServices(sso_public_url="http://localhost:8080/") as services:
        aws = Aws(services)
        answer = await aws.call("register_client", clientName="Kiro CLI", clientType="public")
        assert answer["authorizationEndpoint"] == "http://localhost:8080/authorize"
        assert answer["tokenEndpoint"] == f"{services.public_url}/token"


# --- errors as exceptions --------------------------------------------------------------------------------------------


def test_every_error_shape_of_the_model_is_known_with_its_status() -> None:
    shapes = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in MODEL.error_shapes}
    assert {name: status for name, (status, _) in ERRORS.items()} == shapes


@pytest.mark.parametrize(("operation", "error"), OPERATION_ERRORS)
async def test_every_error_is_raised_as_its_exception(
    services: SignInServices, monkeypatch: pytest.MonkeyPatch, operation: str, error: str
) -> None:
    # CreateTokenWithIAM is the one operation that is signed.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sample")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sample")
    aws = Aws(services)
    services.fail_next("aws-sso-oidc", operation, error)
    calls: dict[str, tuple[str, dict[str, str]]] = {
        "RegisterClient": ("register_client", {"clientName": "x", "clientType": "public"}),
        "StartDeviceAuthorization": (
            "start_device_authorization",
            {"clientId": "x", "clientSecret": "x", "startUrl": START_URL},
        ),
        "CreateToken": ("create_token", {"clientId": "x", "clientSecret": "x", "grantType": "x"}),
        "CreateTokenWithIAM": ("create_token_with_iam", {"clientId": "x", "grantType": "x"}),
    }
    method, parameters = calls[operation]
    raised = (await aws.fails(method, error, **parameters)).response
    status, code = ERRORS[error]
    assert raised["ResponseMetadata"]["HTTPStatusCode"] == status
    assert raised["error"] == code
    assert raised["error_description"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"clientName": ""}, "InvalidRequestException"),
        ({"clientType": "confidential"}, "InvalidClientMetadataException"),
        ({"scopes": ["two words"]}, "InvalidScopeException"),
        ({"grantTypes": ["password"]}, "UnsupportedGrantTypeException"),
        ({"redirectUris": ["https://example.com/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://192.0.2.1:8080/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://127.0.0.1:8080/cb#fragment"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://127.0.0.1:80/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://127.0.0.1:99999/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://user@127.0.0.1:8080/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": ["http://[/cb"]}, "InvalidRedirectUriException"),
        ({"redirectUris": []}, "InvalidRequestException"),
        ({"issuerUrl": "https://example.awsapps.com/elsewhere"}, "InvalidRequestException"),
        ({"issuerUrl": "http://["}, "InvalidRequestException"),
        ({"issuerUrl": None}, "InvalidRequestException"),
    ],
)
async def test_a_registration_is_checked(aws: Aws, changed: dict[str, object], error: str) -> None:
    with pytest.raises(getattr(aws.client.exceptions, error)):
        await aws.register(**changed)


async def test_an_unknown_start_url_is_an_invalid_request(aws: Aws) -> None:
    await aws.register()
    await aws.fails(
        "start_device_authorization", "InvalidRequestException", startUrl="https://example.com", **aws.registered
    )


@pytest.mark.parametrize("changed", [{"clientSecret": "wrong"}, {"clientSecret": "ünvalid"}, {"clientId": "unknown"}])
async def test_another_client_or_secret_is_an_invalid_client(aws: Aws, changed: dict[str, str]) -> None:
    known = {**await aws.register(), **changed}
    await aws.fails("start_device_authorization", "InvalidClientException", startUrl=START_URL, **known)
    await aws.fails("create_token", "InvalidClientException", grantType="refresh_token", refreshToken="x", **known)


async def test_a_registration_expires(aws: Aws, clock: Clock) -> None:
    known = await aws.register()
    clock.now += 90 * 86400
    await aws.fails("start_device_authorization", "InvalidClientException", startUrl=START_URL, **known)


async def test_a_client_may_only_use_the_grant_types_that_it_registered(aws: Aws) -> None:
    known = await aws.register(grantTypes=["authorization_code"])
    await aws.fails("start_device_authorization", "UnauthorizedClientException", startUrl=START_URL, **known)
    await aws.fails("create_token", "UnauthorizedClientException", grantType="refresh_token", refreshToken="x", **known)
    await aws.fails("create_token", "UnsupportedGrantTypeException", grantType="password", **known)


@pytest.mark.parametrize(
    "given",
    [
        {"grantType": "authorization_code", "code": "x", "redirectUri": REDIRECT_URI},
        {"grantType": "authorization_code", "code": "x", "codeVerifier": "x"},
        {"grantType": "authorization_code", "codeVerifier": "x", "redirectUri": REDIRECT_URI},
        {"grantType": "refresh_token"},
        {"grantType": DEVICE_CODE_GRANT},
    ],
)
async def test_what_a_grant_needs_is_required(aws: Aws, given: dict[str, str]) -> None:
    await aws.fails("create_token", "InvalidRequestException", **await aws.register(), **given)


async def test_a_scope_that_was_not_registered_is_an_invalid_scope(code_flow: CodeFlow) -> None:
    wanted: dict[str, Any] = {**code_flow.token(), "scope": ["sso:account:access"]}
    await code_flow.aws.fails("create_token", "InvalidScopeException", **wanted)


@pytest.mark.parametrize(
    "changed",
    [
        {"codeVerifier": Pkce().verifier},
        {"codeVerifier": "short"},
        {"redirectUri": REDIRECT_URI},
        {"code": "unknown"},
    ],
)
async def test_a_code_that_does_not_hold_is_an_invalid_grant(code_flow: CodeFlow, changed: dict[str, str]) -> None:
    await code_flow.aws.fails("create_token", "InvalidGrantException", **code_flow.token(**changed))


async def test_a_code_used_twice_is_refused_and_takes_its_tokens_along(code_flow: CodeFlow) -> None:
    aws = code_flow.aws
    tokens = await aws.call("create_token", **code_flow.token())
    await aws.fails("create_token", "InvalidGrantException", **code_flow.token())
    refresh = {**aws.registered, "grantType": "refresh_token", "refreshToken": tokens["refreshToken"]}
    await aws.fails("create_token", "InvalidGrantException", **refresh)


async def test_a_code_is_no_good_for_another_client(code_flow: CodeFlow) -> None:
    own = code_flow.token()
    other = await code_flow.aws.register()
    await code_flow.aws.fails("create_token", "InvalidGrantException", **{**own, **other})


async def test_a_code_expires(code_flow: CodeFlow, clock: Clock) -> None:
    clock.now += Behaviour().code_lifetime_s
    await code_flow.aws.fails("create_token", "InvalidGrantException", **code_flow.token())


async def test_a_device_code_expires(aws: Aws, clock: Clock) -> None:
    await aws.register()
    device = await aws.start_device()
    clock.now += device["expiresIn"]
    await aws.fails("create_token", "ExpiredTokenException", **aws.device_token(device))


async def test_a_denied_device_code_is_an_access_denied(aws: Aws) -> None:
    await aws.register()
    device = await aws.start_device()
    await sign_in(device["verificationUriComplete"], method="builder-id", decision="deny")
    await aws.fails("create_token", "AccessDeniedException", **aws.device_token(device))


async def test_a_device_code_is_no_good_for_another_client(aws: Aws) -> None:
    await aws.register()
    device = await aws.start_device()
    await aws.register()
    await aws.fails("create_token", "InvalidGrantException", **aws.device_token(device))


async def test_the_first_poll_can_be_slowed_down() -> None:
    async with SignInServices(behaviour=Behaviour(slow_down_once=True)) as services:
        aws = Aws(services)
        await aws.register()
        device = await aws.start_device()
        await aws.fails("create_token", "SlowDownException", **aws.device_token(device))
        await aws.fails("create_token", "AuthorizationPendingException", **aws.device_token(device))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"clientName": 1, "clientType": "public"}'])
async def test_a_body_that_is_no_request_is_an_invalid_request(
    services: SignInServices, http: httpx.AsyncClient, body: bytes
) -> None:
    answer = await http.post(f"{services.public_url}/client/register", content=body)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "InvalidRequestException"
    assert answer.json()["error"] == "invalid_request"


# --- the authorization endpoint --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"client_id": "unknown"}, "client is unknown"),
        ({"redirect_uri": "http://127.0.0.1:41235/oauth/callback"}, "redirect URI"),
        ({"redirect_uri": "http://127.0.0.1:41234/oauth/callback/"}, "redirect URI"),
        ({"redirect_uri": "http://localhost:41234/oauth/callback"}, "redirect URI"),
        ({"redirect_uri": ""}, "redirect URI"),
    ],
)
async def test_an_unknown_client_or_redirect_uri_keeps_the_browser_here(
    aws: Aws, http: httpx.AsyncClient, changed: dict[str, str], said: str
) -> None:
    await aws.register()
    answer = await http.get(aws.authorize_url(Pkce(), **changed))
    assert answer.status_code == 400
    assert said in answer.text


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"scopes": "", "scope": " ".join(SCOPES)}, "invalid_request"),
        ({"scopes": "sso:account:access"}, "invalid_scope"),
    ],
)
async def test_other_mistakes_go_back_to_the_client(
    aws: Aws, http: httpx.AsyncClient, changed: dict[str, str], error: str
) -> None:
    await aws.register()
    answer = await http.get(aws.authorize_url(Pkce(), **changed))
    assert answer.status_code == 303
    location = urlsplit(answer.headers["location"])
    assert location._replace(query="").geturl() == REDIRECT_URI
    query = dict(parse_qsl(location.query))
    assert (query["error"], query["state"]) == (error, "abcdefghij")
