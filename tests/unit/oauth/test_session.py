"""Sessions to text and back, kept apart by method and place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.oauth.session import AwsGrant, KiroGrant, OpenIdGrant, Session, dump, load, session_key
from kirotunnel.oauth.tokens import TokenSet
from kirotunnel.redaction import Secret

TOKENS = TokenSet(
    access_token=Secret("a-5ecret"), refresh_token=Secret("r-5ecret"), expires_at=1000.5, profile_arn="arn"
)
SESSIONS = [
    Session(method="google", grant=KiroGrant(), tokens=TOKENS, email="ada@example.com", signed_in_at=1.5),
    Session(
        method="idc",
        grant=AwsGrant(
            start_url="https://x.awsapps.com/start", region="r", client_id="c", client_secret=Secret("s-5ecret")
        ),
        tokens=TOKENS,
    ),
    Session(
        method="external-idp",
        grant=OpenIdGrant(issuer="https://i", client_id="c", token_endpoint="https://i/t", revocation_endpoint=None),
        tokens=TokenSet(access_token=Secret("a"), expires_at=1),
    ),
]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.method)
def test_to_text_and_back(session: Session) -> None:
    assert load(dump(session)) == session
    assert "5ecret" not in f"{session!r} {dump(session)!r}"


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.method)
def test_a_text_that_breaks_off_is_refused_without_its_content(session: Session) -> None:
    text = dump(session).reveal()
    for length in range(len(text)):
        with pytest.raises(ValueError) as caught:
            load(Secret(text[:length]))
        assert "5ecret" not in str(caught.value)


@given(
    st.dictionaries(st.sampled_from(list(json.loads(dump(SESSIONS[1]).reveal()))), st.none() | st.text() | st.floats())
)
def test_any_damage_is_refused_or_harmless(changed: dict[str, object]) -> None:
    values = json.loads(dump(SESSIONS[1]).reveal()) | changed
    try:
        load(Secret(json.dumps(values)))
    except ValueError:
        return


def test_accounts_are_kept_apart_by_method_and_place() -> None:
    assert [session.key for session in SESSIONS] == [
        "google",
        "idc https://x.awsapps.com/start",
        "external-idp https://i",
    ]
    assert session_key("idc", "https://x.awsapps.com/start/") == SESSIONS[1].key


def test_the_account_of_each() -> None:
    assert [session.account.describe() for session in SESSIONS] == [
        "ada@example.com (Google)",
        "IAM Identity Center, https://x.awsapps.com/start",
        "organization",
    ]


def test_a_renewal_keeps_what_it_does_not_mention() -> None:
    renewed = SESSIONS[0].renewed(TokenSet(access_token=Secret("b"), expires_at=2000))
    assert renewed.tokens == TokenSet(
        access_token=Secret("b"), refresh_token=Secret("r-5ecret"), expires_at=2000, profile_arn="arn"
    )
    assert renewed.email == "ada@example.com"


def test_tokens_are_fresh_until_a_minute_before_their_end() -> None:
    assert TOKENS.is_fresh(940)
    assert not TOKENS.is_fresh(941)
