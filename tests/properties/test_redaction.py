"""A secret in any of the shapes in which programs print it is masked."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote, urlencode

from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.redaction import redacted

NAMES: Final = st.sampled_from(
    ["code", "state", "code_verifier", "access_token", "refreshToken", "id_token", "deviceCode",
    "client_secret", "password"]
)  # fmt: skip
SECRETS: Final = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", min_size=12, max_size=60)
AROUND: Final = st.sampled_from(
    ["", " ", "error: ", "(", "url=", "\n", "GET /oauth/callback?", "x=1&", "'", '"', "callback,"]
)


@given(NAMES, SECRETS, AROUND, AROUND)
def test_in_queries_forms_and_json(name: str, secret: str, before: str, after: str) -> None:
    pair = urlencode({name: secret})
    query = f"http://localhost:3128/cb?a=b&{pair}&c=d"
    shapes = [
        pair,
        query,
        f"a;{pair};b",
        quote(query, safe=""),
        f"redirect={quote(query, safe='')}",
        json.dumps({"a": 1, name: secret, "b": 2}),
        json.dumps({name: f'"{secret}'}),
        json.dumps({"body": json.dumps({name: secret})}),
        repr({name: secret}),
    ]
    assert [shape for shape in shapes if secret in redacted(f"{before}{shape}{after}")] == []


@given(st.text())
def test_any_text_can_be_redacted_and_twice_is_as_once(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
