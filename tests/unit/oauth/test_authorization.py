"""What the browser brings is used only with the right state, from the right issuer, and without an error."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import IssuerMismatchError, KirotunnelError, OAuthError, StateMismatchError
from kirotunnel.oauth.authorization import AuthorizationRequest, Denied, Granted, read_response
from kirotunnel.redaction import Secret

STATE = "s3cr3t-state"
ISSUER = "https://idp.example"


def a_request(*, issuer: str | None = ISSUER, expects_iss: bool = False) -> AuthorizationRequest:
    return AuthorizationRequest(
        redirect_uri="http://localhost:3128/oauth/callback", state=Secret(STATE), issuer=issuer, expects_iss=expects_iss
    )


def test_a_code_with_the_right_state_is_granted() -> None:
    assert read_response(a_request(), {"code": "c", "state": STATE}) == Granted(Secret("c"))


@pytest.mark.parametrize("given_state", [{}, {"state": ""}, {"state": "other"}, {"state": STATE + "x"}, {"state": "ä"}])
def test_another_state_is_refused_whatever_else_is_there(given_state: dict[str, str]) -> None:
    for rest in ({"code": "c"}, {"error": "access_denied"}):
        with pytest.raises(StateMismatchError) as caught:
            read_response(a_request(), rest | given_state)
        assert STATE not in str(caught.value)


def test_an_error_counts_before_a_code() -> None:
    answer = read_response(a_request(), {"code": "c", "error": "access_denied", "state": STATE})
    assert answer == Denied("access_denied")
    assert answer.as_error("Google").code == "KT601"


def test_no_code_and_no_error_is_an_error() -> None:
    with pytest.raises(OAuthError):
        read_response(a_request(), {"state": STATE})


@pytest.mark.parametrize("iss", ["https://evil.example", ISSUER + "/", "HTTPS://idp.example", ""])
def test_another_issuer_is_refused(iss: str) -> None:
    with pytest.raises(IssuerMismatchError):
        read_response(a_request(), {"code": "c", "state": STATE, "iss": iss})


def test_a_missing_issuer_is_refused_only_where_it_was_promised() -> None:
    answer = {"code": "c", "state": STATE}
    assert isinstance(read_response(a_request(), answer), Granted)
    with pytest.raises(IssuerMismatchError):
        read_response(a_request(expects_iss=True), answer)


def test_an_issuer_that_nobody_asked_for_is_passed_over() -> None:
    assert isinstance(read_response(a_request(issuer=None), {"code": "c", "state": STATE, "iss": "x"}), Granted)


def test_the_words_of_a_denial_are_harmless_and_without_secrets() -> None:
    description = f"\x1b]0;x\x07bad code c0de-5ecret for state {STATE}\r\nand more"
    request = a_request()
    answer = read_response(
        request, {"error": "x", "error_description": description, "code": "c0de-5ecret", "state": STATE}
    )
    assert isinstance(answer, Denied)
    assert answer.description == "bad code *** for state *** and more"


def test_the_url_keeps_the_query_of_the_endpoint_and_does_not_print_itself() -> None:
    url = a_request().url("https://idp.example/authorize?tenant=1", {"scope": "a b", "state": STATE})
    assert "scope=a%20b" in url.reveal()
    assert parse_qs(urlsplit(url.reveal()).query) == {"tenant": ["1"], "scope": ["a b"], "state": [STATE]}
    assert STATE not in repr(url)


def test_states_are_long_and_differ() -> None:
    states = {a.state for a in (AuthorizationRequest(redirect_uri="x") for _ in range(50))}
    assert len(states) == 50
    assert all(len(state.reveal()) == 22 and state.reveal().isalnum() for state in states)


@given(st.dictionaries(st.sampled_from(["code", "state", "error", "error_description", "iss", "x"]), st.text()))
def test_no_response_raises_anything_but_our_errors(parameters: dict[str, str]) -> None:
    said = ""
    for given_parameters in (parameters, parameters | {"state": STATE}):
        try:
            read_response(a_request(), given_parameters)
        except KirotunnelError as exc:
            said += f"{exc.message} {exc.hint}"
    assert STATE not in said
