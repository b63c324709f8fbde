"""The relay's own pages: harmless, and never more hopeful than what is known."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from kirotunnel.local.pages import Page, render

HOPEFUL = {"HANDED_OVER", "SIGNED_IN", "STILL_WORKING"}
FAILURES = [page for page in Page if page.name not in HOPEFUL]


@pytest.mark.parametrize("page", Page, ids=lambda page: page.name)
def test_names_from_a_command_line_are_text_on_the_page(page: Page) -> None:
    _, _, body = render(page, cli="<script>1</script>", host="<img src=x onerror=1>\"'&$title{cli}")
    text = body.decode()
    assert "<script>" not in text
    assert "<img" not in text
    assert "&lt;img src=x onerror=1&gt;&quot;&#x27;&amp;$title{cli}" in text


@pytest.mark.parametrize("page", Page, ids=lambda page: page.name)
def test_a_page_is_whole_and_loads_nothing(page: Page) -> None:
    status, headers, body = render(page, cli="kiro-cli", host="box")
    text = body.decode()
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not {"src", "href", "onload"} & {name for name, _ in attrs}

    Tags().feed(text)
    assert {"html", "title", "h1"} <= set(tags)
    assert not {"script", "link", "img", "iframe", "form"} & set(tags)
    assert "http" not in text
    assert not re.search(r"\$\w|\{\w+\}", text.partition("</style>")[2])
    assert dict(headers)["Cache-Control"] == "no-store"
    assert "default-src 'none'" in dict(headers)["Content-Security-Policy"]
    assert 200 <= status < 600


@pytest.mark.parametrize("page", FAILURES, ids=lambda page: page.name)
def test_a_page_of_failure_has_no_words_of_success(page: Page) -> None:
    _, _, body = render(page, cli="kiro-cli", host="box")
    words = body.decode().partition("</style>")[2].lower()
    assert not re.search(
        r"success|(?<!whether )you are signed in|welcome|congratulations|all set|\bdone\b|logged in", words
    )


def test_even_the_page_after_a_callback_does_not_say_that_anybody_is_signed_in() -> None:
    _, _, body = render(Page.HANDED_OVER, cli="kiro-cli", host="box")
    assert "it says when you are signed in" in body.decode()
    assert "success" not in body.decode().lower()


@pytest.mark.parametrize(
    ("page", "status"),
    [
        (Page.HANDED_OVER, 200),
        (Page.DENIED, 200),
        (Page.NO_ANSWER, 502),
        (Page.UNREACHABLE, 502),
        (Page.FORBIDDEN_REDIRECT, 502),
        (Page.NOT_YOURS, 403),
        (Page.NOT_HERE, 404),
        (Page.METHOD, 405),
        (Page.MALFORMED, 400),
    ],
)
def test_the_status_of_each_page(page: Page, status: int) -> None:
    assert render(page, cli="kiro-cli", host="box")[0] == status


def test_a_refused_method_names_the_one_that_is_not() -> None:
    assert ("Allow", "GET") in render(Page.METHOD, cli="kiro-cli", host="box")[1]
