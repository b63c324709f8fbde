"""The OpenID provider holds clients to PKCE and itself to the RFCs: 6749, 7009, 7636, 8414, 8628, 9207."""

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kirotunnel.sandbox.behaviour import Behaviour
from kirotunnel.sandbox.robot import sign_in
from kirotunnel.sandbox.services import SignInServices
from sandbox.sign_in_client import CallbackListener, Clock, Pkce, http_client

CLIENT_ID = "kiro-cli-sample"
SCOPE = "openid profile email offline_access"
DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
STATE = "abcdefghij"


class Idp:
    """The provider as a client that reaches it at `base` sees it."""

    def __init__(self, services: SignInServices, http: httpx.AsyncClient) -> None:
        self.services, self.http, self.base = services, http, services.public_url
        self.pkce, self.redirect_uri = Pkce(), "http://localhost:4649/oauth/callback"

    async def metadata(self) -> dict[str, str]:
        found: dict[str, str] = (await self.http.get(f"{self.base}/idp/.well-known/openid-configuration")).json()
        return found

    def authorize_url(self, **changed: str) -> str:
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": STATE,
            "nonce": "a-nonce",
            **self.pkce.query,
            **changed,
        }
        return f"{self.base}/idp/authorize?{urlencode({name: value for name, value in query.items() if value})}"

    async def code(self, **changed: str) -> str:
        return (await self.authorize(**changed))["code"]

    async def authorize(self, decision: str = "allow", **changed: str) -> dict[str, str]:
        async with CallbackListener.open("/index.html") as listener:
            self.redirect_uri = f"http://localhost:{listener.port}/oauth/callback"
            url = self.authorize_url(**changed)
            await sign_in(url, method="external-idp", decision=decision)
        return dict(parse_qsl(listener.requests[0].target.partition("?")[2]))

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post(f"{self.base}/idp/token", data={"client_id": CLIENT_ID, **form})

    async def exchange(self, code: str, **changed: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.pkce.verifier,
            **changed,
        }
        return await self.token(**{name: value for name, value in form.items() if value})

    async def refresh(self, refresh_token: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token)

    async def start_device(self, scope: str = SCOPE) -> httpx.Response:
        form = {"client_id": CLIENT_ID, "scope": scope}
        return await self.http.post(f"{self.base}/idp/device_authorization", data=form)

    async def poll(self, device_code: str) -> httpx.Response:
        return await self.token(grant_type=DEVICE_CODE_GRANT, device_code=device_code)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def idp(clock: Clock, http: httpx.AsyncClient) -> AsyncIterator[Idp]:
    async with SignInServices(clock=clock) as services:
        yield Idp(services, http)


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()["error"]


# --- metadata --------------------------------------------------------------------------------------------------------


async def test_the_metadata_is_at_both_well_known_places(idp: Idp) -> None:
    metadata = await idp.metadata()
    other = await idp.http.get(f"{idp.base}/.well-known/oauth-authorization-server/idp")
    assert other.json() == metadata
    assert metadata["issuer"] == f"{idp.base}/idp" == idp.services.issuer_url
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


async def test_endpoints_for_the_client_are_where_it_asked_and_those_for_the_browser_are_public(
    http: httpx.AsyncClient,
) -> None:
    public, remote = "http://portal.test:8080", "http://192.0.2.7:9090"
    async with SignInServices(public_url=public, issuer_base_for_remote=remote) as services:
        (asked,) = services.origins
        metadata = (await http.get(f"{asked}/idp/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == f"{remote}/idp"
    assert metadata["authorization_endpoint"] == f"{public}/idp/authorize"
    for endpoint in ("token_endpoint", "jwks_uri", "revocation_endpoint", "device_authorization_endpoint"):
        assert metadata[endpoint].startswith(f"{asked}/idp/")


async def test_a_host_header_that_is_no_host_does_not_get_into_an_url(idp: Idp) -> None:
    url = f"{idp.base}/idp/.well-known/openid-configuration"
    answer = await idp.http.get(url, headers={"Host": 'example.com/"'})
    assert answer.status_code == 400


# --- the authorization code ------------------------------------------------------------------------------------------


async def test_a_code_gives_tokens_and_a_signed_id_token(idp: Idp, clock: Clock) -> None:
    answer = await idp.authorize()
    assert list(answer) == ["code", "state", "iss"]
    assert (answer["state"], answer["iss"]) == (STATE, idp.services.issuer_url)
    tokens = (await idp.exchange(answer["code"])).json()
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, SCOPE)
    assert tokens["access_token"]
    assert tokens["refresh_token"]
    assert tokens["email"] == "edsger@example.com"
    claims = verified((await idp.http.get((await idp.metadata())["jwks_uri"])).json(), tokens["id_token"])
    assert claims["iss"] == idp.services.issuer_url
    assert claims["aud"] == CLIENT_ID
    assert claims["nonce"] == "a-nonce"
    assert claims["email"] == "edsger@example.com"
    assert (claims["iat"], claims["exp"]) == (int(clock.now), int(clock.now) + 3600)


async def test_without_openid_there_is_no_id_token_and_without_offline_access_no_refresh_token(idp: Idp) -> None:
    tokens = (await idp.exchange(await idp.code(scope="email"))).json()
    assert "id_token" not in tokens
    assert "refresh_token" not in tokens


async def test_the_denial_goes_to_the_callback_with_the_issuer(idp: Idp) -> None:
    answer = await idp.authorize("deny")
    assert answer["error"] == "access_denied"
    assert (answer["state"], answer["iss"]) == (STATE, idp.services.issuer_url)


async def test_form_post_brings_the_answer_in_a_body(idp: Idp) -> None:
    async with CallbackListener.open("/index.html") as listener:
        idp.redirect_uri = f"http://localhost:{listener.port}/oauth/callback"
        report = await sign_in(idp.authorize_url(response_mode="form_post"), method="external-idp")
    callback = listener.requests[0]
    assert report.callback_status == 302
    assert (callback.method, callback.target) == ("POST", "/oauth/callback")
    answer = dict(parse_qsl(callback.body.decode()))
    assert list(answer) == ["code", "state", "iss"]
    assert (await idp.exchange(answer["code"])).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "unknown"},
        {"redirect_uri": ""},
        {"redirect_uri": "https://localhost:4649/oauth/callback"},
        {"redirect_uri": "http://example.com:4649/oauth/callback"},
        {"redirect_uri": "http://localhost:4649/elsewhere"},
        {"redirect_uri": "http://localhost:80/oauth/callback"},
        {"redirect_uri": "http://["},
    ],
)
async def test_an_unknown_client_or_redirect_uri_keeps_the_browser_here(idp: Idp, changed: dict[str, str]) -> None:
    answer = await idp.http.get(idp.authorize_url(**changed))
    assert answer.status_code == 400
    assert "Invalid request" in answer.text


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_other_mistakes_go_back_to_the_client(idp: Idp, changed: dict[str, str], error: str) -> None:
    answer = await idp.http.get(idp.authorize_url(**changed))
    assert answer.status_code == 303
    location = urlsplit(answer.headers["location"])
    assert location._replace(query="").geturl() == idp.redirect_uri
    query = dict(parse_qsl(location.query))
    assert (query["error"], query["state"], query["iss"]) == (error, STATE, idp.services.issuer_url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_every_loopback_address_and_port_is_a_redirect_uri(idp: Idp, host: str) -> None:
    answer = await idp.http.get(idp.authorize_url(redirect_uri=f"http://{host}:53153/oauth/callback"))
    assert answer.status_code == 200
    assert 'id="allow"' in answer.text


async def test_the_registered_paths_can_be_others(http: httpx.AsyncClient) -> None:
    async with SignInServices(behaviour=Behaviour(redirect_paths=frozenset({"/"}))) as services:
        idp = Idp(services, http)
        answer = await http.get(idp.authorize_url(redirect_uri="http://127.0.0.1:53682/"))
    assert answer.status_code == 200


# --- the token endpoint ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": Pkce().verifier}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:4649/oauth/callback"}, "invalid_grant"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": ""}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_that_does_not_hold_is_refused(idp: Idp, changed: dict[str, str], error: str) -> None:
    code = await idp.code()
    assert refused(await idp.exchange(**{"code": code, **changed})) == (400, error)


@pytest.mark.parametrize("changed", [{"client_id": "unknown"}, {"client_secret": "secret"}])
async def test_the_client_is_the_known_public_one(idp: Idp, changed: dict[str, str]) -> None:
    assert refused(await idp.exchange(await idp.code(), **changed)) == (401, "invalid_client")


async def test_the_token_request_is_a_form(idp: Idp) -> None:
    answer = await idp.http.post(f"{idp.base}/idp/token", json={"client_id": CLIENT_ID, "grant_type": "refresh_token"})
    assert refused(answer) == (400, "invalid_request")


async def test_a_code_used_twice_is_refused_and_takes_its_tokens_along(idp: Idp) -> None:
    code = await idp.code()
    tokens = (await idp.exchange(code)).json()
    assert refused(await idp.exchange(code)) == (400, "invalid_grant")
    assert refused(await idp.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


async def test_a_code_expires(idp: Idp, clock: Clock) -> None:
    code = await idp.code()
    clock.now += Behaviour().code_lifetime_s
    assert refused(await idp.exchange(code)) == (400, "invalid_grant")


async def test_refresh_tokens_rotate_and_one_used_twice_ends_the_sign_in(idp: Idp) -> None:
    first = (await idp.exchange(await idp.code())).json()
    second = (await idp.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert refused(await idp.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert refused(await idp.refresh(second["refresh_token"])) == (400, "invalid_grant")


async def test_a_revoked_refresh_token_is_refused(idp: Idp) -> None:
    tokens = (await idp.exchange(await idp.code())).json()
    for token in (tokens["refresh_token"], "unknown"):
        form = {"client_id": CLIENT_ID, "token": token}
        assert (await idp.http.post(f"{idp.base}/idp/revoke", data=form)).status_code == 200
    assert refused(await idp.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


async def test_a_failure_can_be_asked_for_once(idp: Idp) -> None:
    code = await idp.code()
    idp.services.fail_next("idp", "token", "temporarily_unavailable")
    assert refused(await idp.exchange(code)) == (503, "temporarily_unavailable")
    assert (await idp.exchange(code)).status_code == 200


# --- device codes ----------------------------------------------------------------------------------------------------


async def test_a_device_code_gives_tokens_once_it_is_confirmed(idp: Idp) -> None:
    device = (await idp.start_device()).json()
    assert device["verification_uri"] == f"{idp.base}/idp/device"
    assert device["verification_uri_complete"] == f"{idp.base}/idp/device?user_code={device['user_code']}"
    assert refused(await idp.poll(device["device_code"])) == (400, "authorization_pending")
    report = await sign_in(device["verification_uri_complete"], method="external-idp")
    assert report.ok
    tokens = (await idp.poll(device["device_code"])).json()
    assert tokens["email"] == "edsger@example.com"
    assert refused(await idp.poll(device["device_code"])) == (400, "invalid_grant")


async def test_a_denied_and_an_expired_device_code_say_so(idp: Idp, clock: Clock) -> None:
    denied, expired = (await idp.start_device()).json(), (await idp.start_device()).json()
    await sign_in(denied["verification_uri_complete"], method="external-idp", decision="deny")
    assert refused(await idp.poll(denied["device_code"])) == (400, "access_denied")
    clock.now += expired["expires_in"]
    assert refused(await idp.poll(expired["device_code"])) == (400, "expired_token")


async def test_the_scope_of_a_device_code_is_checked(idp: Idp) -> None:
    assert refused(await idp.start_device("everything")) == (400, "invalid_scope")


# --- RS256, checked by another implementation ------------------------------------------------------------------------


def verified(jwks: dict[str, list[dict[str, str]]], token: str) -> dict[str, object]:
    """The claims of a token whose signature holds."""
    signed, _, signature = token.rpartition(".")
    header, claims = (json.loads(decoded(part)) for part in signed.split("."))
    (key,) = (key for key in jwks["keys"] if key["kid"] == header["kid"])
    assert (header["alg"], key["alg"], key["kty"], key["use"]) == ("RS256", "RS256", "RSA", "sig")
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(decoded(key[name]), "big") for name in ("e", "n")))
    numbers.public_key().verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    found: dict[str, object] = claims
    return found


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
