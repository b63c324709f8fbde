"""An ID token proves who signed in, or is refused: signature, issuer, audience, nonce, time."""

import base64
import hmac
import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws

from kirotunnel.errors import IdTokenError, ServiceReplyError
from kirotunnel.oauth.id_token import Expectation, read_keys, validate
from kirotunnel.oauth.messages import Reply
from kirotunnel.redaction import Secret

NOW = 1_800_000_000.0
ISSUER = "https://idp.example"
KEY = jwk.RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
EC_KEY = jwk.ECKey.generate_key("P-256", {"kid": "k2"})
OTHER = jwk.RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
KEYS = {"keys": [KEY.as_dict(private=False), EC_KEY.as_dict(private=False)]}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "u1",
    "aud": "me",
    "iat": int(NOW),
    "exp": int(NOW) + 3600,
    "nonce": "n0nce",
    "email": "ada@example.com",
}


def expected(**changed: Any) -> Expectation:
    return Expectation(**({"issuer": ISSUER, "client_id": "me", "now": NOW, "nonce": Secret("n0nce")} | changed))


def signed(claims: object, key: Any = KEY, header: dict[str, Any] | None = None) -> Secret[str]:
    header = {"alg": "RS256", "kid": "k1"} | (header or {})
    header = {name: value for name, value in header.items() if value is not None}
    return Secret(jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[header["alg"]]))


def test_a_good_token_says_who_it_is() -> None:
    identity = validate(signed(CLAIMS), KEYS, expected())
    assert (identity.subject, identity.email) == ("u1", "ada@example.com")


def test_another_good_algorithm() -> None:
    token = signed(CLAIMS, EC_KEY, {"alg": "ES256", "kid": "k2"})
    assert validate(token, KEYS, expected()).subject == "u1"


@pytest.mark.parametrize(("curve", "algorithm"), [("Ed25519", "EdDSA"), ("Ed25519", "Ed25519"), ("Ed448", "Ed448")])
def test_edwards_curves_under_their_names_of_now_and_before_and_without_a_warning(curve: Any, algorithm: str) -> None:
    key = jwk.OKPKey.generate_key(curve, {"kid": "k3"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the signer's
        token = signed(CLAIMS, key, {"alg": algorithm, "kid": "k3"})
    assert validate(token, {"keys": [key.as_dict(private=False)]}, expected()).subject == "u1"


def test_a_token_without_kid_and_a_provider_with_one_key() -> None:
    token = signed(CLAIMS, header={"kid": None})
    assert validate(token, {"keys": [KEY.as_dict(private=False)]}, expected()).subject == "u1"


@pytest.mark.parametrize("skew", [-299, 299])
def test_clocks_may_be_five_minutes_apart(skew: int) -> None:
    claims = CLAIMS | {"iat": int(NOW) + skew, "nbf": int(NOW) + skew, "exp": int(NOW) + skew + 1}
    assert validate(signed(claims), KEYS, expected()).subject == "u1"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"iss": "https://evil.example"}, "is of https://evil.example"),
        ({"iss": None}, "is of nobody"),
        ({"aud": "other"}, "another client"),
        ({"aud": []}, "another client"),
        ({"aud": ["me", "other"]}, "another client"),
        ({"azp": "other"}, "another client"),
        ({"nonce": "other"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"exp": int(NOW) - 301}, "expired 5 minutes ago"),
        ({"exp": "soon"}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"iat": int(NOW) + 360}, "6 minutes in the future"),
        ({"iat": None}, "no iat"),
        ({"nbf": int(NOW) + 900}, "not valid yet"),
        ({"sub": ""}, "no sub"),
    ],
    ids=str,
)
def test_a_claim_that_does_not_hold(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(IdTokenError, match=words) as caught:
        validate(signed(CLAIMS | changed), KEYS, expected())
    assert caught.value.code == "KT606"
    assert "n0nce" not in caught.value.message


def test_several_audiences_with_us_as_the_one_that_it_was_issued_to() -> None:
    assert validate(signed(CLAIMS | {"aud": ["me", "x"], "azp": "me"}), KEYS, expected()).subject == "u1"


def unsigned(header: dict[str, Any]) -> Secret[str]:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, CLAIMS)]
    return Secret(".".join([*parts, ""]))


@pytest.mark.parametrize(
    "token",
    [
        signed(CLAIMS, OTHER),
        signed(CLAIMS, header={"kid": "unknown"}),
        unsigned({"alg": "none"}),
        unsigned({"alg": "none", "kid": "k1"}),
        unsigned({"alg": "RS256", "kid": "k1"}),
        signed(["no", "claims"]),
        Secret("a.b"),
        Secret("a.b.c"),
        Secret(""),
        Secret("ä.ä.ä"),
        Secret("." * 100_000),
        Secret(signed(CLAIMS).reveal()[:-3] + "abc"),
    ],
    ids=[str(number) for number in range(12)],
)
def test_a_signature_that_does_not_hold(token: Secret[str]) -> None:
    with pytest.raises(IdTokenError) as caught:
        validate(token, KEYS, expected())
    assert caught.value.__cause__ is None


def test_a_shared_secret_is_no_signature() -> None:
    # The public key taken for an HMAC secret: the classic confusion of algorithms.
    head, body = signed(CLAIMS).reveal().split(".")[:2]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=").decode()
    mac = hmac.new(KEY.as_pem(private=False), f"{head}.{body}".encode(), "sha256").digest()
    token = f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(IdTokenError):
        validate(Secret(token), KEYS, expected())


@given(
    st.text(max_size=200)
    | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True)
)
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(IdTokenError):
        validate(Secret(text), KEYS, expected())


@given(
    st.lists(st.dictionaries(st.sampled_from(["kty", "n", "e", "kid", "crv", "x", "y", "use"]), st.text(max_size=9)))
)
def test_any_keys_are_refused(keys: list[dict[str, str]]) -> None:
    with pytest.raises(IdTokenError):
        validate(signed(CLAIMS), {"keys": keys}, expected())


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"{}"), (200, b'{"keys": 1}'), (200, b"<html>")])
def test_keys_that_are_none(status: int, body: bytes) -> None:
    with pytest.raises(ServiceReplyError):
        read_keys(Reply(host="h", status=status, headers={}, body=Secret(body)))
