"""Who is signed in, from the CLI's own JSON."""

from __future__ import annotations

import pytest

from kirotunnel.events import Account
from kirotunnel.wire.whoami import WhoamiPatterns, parse_whoami

BUILDER_ID = '{"accountType":"BuilderId","email":"ada@example.com","region":"us-east-1","startUrl":null}'


@pytest.mark.parametrize(
    ("output", "account"),
    [
        pytest.param(
            BUILDER_ID, Account(type="builder-id", email="ada@example.com", region="us-east-1"), id="Builder ID"
        ),
        pytest.param(
            '{\n  "accountType": "IamIdentityCenter",\n  "email": null,\n  "region": "eu-central-1",\n'
            '  "startUrl": "https://d-1234567890.awsapps.com/start"\n}\n\nProfile:\nteam-a\narn:aws:codewhisperer:x\n',
            Account(type="idc", region="eu-central-1", start_url="https://d-1234567890.awsapps.com/start"),
            id="IAM Identity Center, with its profile after the JSON",
        ),
        pytest.param(
            '{"accountType":"Social","email":"ada@example.com","provider":"GitHub"}',
            Account(type="social", provider="GitHub", email="ada@example.com"),
            id="social, chat engine",
        ),
        pytest.param(
            '{"accountType":"SocialGoogle"}', Account(type="social", provider="Google"), id="Google, launcher"
        ),
        pytest.param(
            '{"accountType":"SocialGitHub"}', Account(type="social", provider="GitHub"), id="GitHub, launcher"
        ),
        pytest.param(
            '{"accountType":"ExternalIdP","email":"a@b.example"}',
            Account(type="external-idp", email="a@b.example"),
            id="external IdP",
        ),
        pytest.param('{"accountType":"ApiKey","email":null}', Account(type="api-key"), id="API key"),
        pytest.param('{"account":null}', None, id="nobody"),
        pytest.param("Not logged in", None, id="plain text"),
        pytest.param("", None, id="nothing"),
        pytest.param("[1, 2", None, id="a list"),
        pytest.param("{", None, id="a brace"),
        pytest.param('{"accountType":"Unheard"}', Account(type=None), id="an unknown type"),
        pytest.param('{"accountType":null}', None, id="null"),
        pytest.param('{"accountType":["Social"]}', None, id="a list for a type"),
        pytest.param('{"accountType":"Social","email":7,"provider":{}}', Account(type="social"), id="wrong kinds"),
        pytest.param('{"accountType":"Social","email":""}', Account(type="social"), id="empty e-mail"),
        pytest.param(
            '{"accountType":"Social","email":"a\\u001b[2J\\u202e\\ud800b"}',
            Account(type="social", email="a b"),
            id="hostile",
        ),
        pytest.param('{"a":' * 100_000, None, id="nested without end"),
        pytest.param('{"accountType":"Social","n":' + "9" * 5000 + "}", None, id="a number too large"),
        pytest.param("{" * 100_000, None, id="braces without end"),
        pytest.param(
            f"[warn] {{refresh}} failed\n{BUILDER_ID}",
            Account(type="builder-id", email="ada@example.com", region="us-east-1"),
            id="noise with a brace before it",
        ),
        pytest.param(
            f'{{"level":"warn"}}{BUILDER_ID}{{"accountType":"ApiKey"}}',
            Account(type="builder-id", email="ada@example.com", region="us-east-1"),
            id="other JSON before and after it",
        ),
    ],
)
def test_the_answer_of_whoami(output: str, account: Account | None) -> None:
    assert parse_whoami(output) == account


def test_an_endless_value_is_cut() -> None:
    account = parse_whoami('{"accountType":"Social","email":"' + "a" * 10_000 + '"}')
    assert account is not None
    assert len(account.email or "") == 200


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("", True),
        ("x\n" * 99, True),
        ("x\n" * 100, False),
        ("x" * 290, True),
        ("x" * 300, False),
        ("\x1b[1m" * 200, True),
    ],
)
def test_expressions_are_looked_for_where_an_answer_would_be(before: str, found: bool) -> None:
    account = WhoamiPatterns(email=r"as (\w+)").read(f"{before}as ada\n")
    assert account == Account(type=None, email="ada" if found else None)
