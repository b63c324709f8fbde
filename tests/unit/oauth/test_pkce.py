"""Verifier and challenge (RFC 7636)."""

from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.oauth.pkce import CodeVerifier, base64url
from kirotunnel.redaction import Secret

# RFC 7636, appendix B.
OCTETS = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b5805585384 8d79".replace(" ", ""))
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_example_of_the_rfc() -> None:
    verifier = CodeVerifier.generate(lambda count: OCTETS[:count])
    assert verifier.value == Secret(VERIFIER)
    assert verifier.challenge == CHALLENGE


def test_no_two_are_alike() -> None:
    assert len({CodeVerifier.generate().value for _ in range(50)}) == 50


def test_a_verifier_does_not_print_itself() -> None:
    assert VERIFIER not in repr(CodeVerifier(Secret(VERIFIER)))


@given(st.binary(max_size=80))
def test_base64url_is_without_padding_and_safe_in_urls(data: bytes) -> None:
    assert set(base64url(data)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
