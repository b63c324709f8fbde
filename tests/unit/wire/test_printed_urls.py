"""URLs in what any command prints, however it draws them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import properties.conftest  # noqa: F401 - loads the profile: no clock, the same examples each time
from kirotunnel.wire.printed_urls import MAX_LINE, PrintedUrls, SaidLine

URL = (
    "https://idp.example/authorize?client_id=abc&redirect_uri=http%3A%2F%2Flocalhost%3A8976%2Foauth%2Fcallback"
    "&state=xYz-0123456789_abcdefghijklmnop~ABCDEFGHIJ&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeGXs5XzZxPG0yTn8dJM"
)


def found(text: str, columns: int | None = 80) -> list[str]:
    reader = PrintedUrls(columns)
    return reader.feed(text.encode()) + reader.feed(b"")


def wrapped(url: str, width: int, join: str = "\r\n") -> str:
    return join.join(url[at : at + width] for at in range(0, len(url), width))


@pytest.mark.parametrize(
    "text",
    [
        f"Open {URL}\n",
        f"Open {URL}",
        f"Open <{URL}>.\n",
        f'Open "{URL}", please\r\n',
        f"({URL})\n",
        f"\x1b[1;4m{URL}\x1b[0m\n",
        json.dumps({"url": URL}),
        json.dumps({"message": f"Open {URL}\n", "level": "info"}),
        json.dumps(json.dumps({"message": f"Open {URL}\n"})),
        json.dumps({"url": URL}).replace("/", r"\/"),
        json.dumps({"url": URL}).replace("&", r"\u0026").replace("=", r"\u003d"),
        '{"text": "Open \\u003c' + URL.replace("&", r"\u0026") + '\\u003e"}',
        f"⠋ waiting\r⠙ waiting\r{URL}\n",
        f"To sign in, \x1b]8;id=1;{URL}\x1b\\click here\x1b]8;;\x1b\\ please.\n",
        f"\x1b]8;;{URL}\x07click here\x1b]8;;\x07\n",
        f"\x1b[2J\x1b[H{wrapped(URL, 80)}\r\n\r\nPress Esc to cancel",
        f"{wrapped(URL, 80)}\nand then wait\n",
        "".join(f"\x1b[{3 + n};1H{URL[at : at + 80]}" for n, at in enumerate(range(0, len(URL), 80))),
        "╭" + "─" * 78 + "╮\n"
        + "".join(f"│ {URL[at : at + 76]:<76} │\n" for at in range(0, len(URL), 76))
        + "│" + " " * 78 + "│\n╰" + "─" * 78 + "╯\n",
        "".join(f"| {URL[at : at + 76]:<76} |\n" for at in range(0, len(URL), 76)) + "|\n",
    ],
)  # fmt: skip
def test_a_url_is_found_whole_and_once(text: str) -> None:
    assert found(text) == [URL]


def test_a_word_after_a_url_that_fills_no_line_is_no_part_of_it() -> None:
    assert found(f"{URL}\nWaiting...\n") == [URL]
    assert found("https://idp.example/a\nhttps://idp.example/b\n") == ["https://idp.example/a", "https://idp.example/b"]


def test_where_there_is_no_terminal_eighty_columns_are_taken_for_granted() -> None:
    assert found(wrapped(URL, 80) + "\n\n", columns=None) == [URL]


def test_the_width_may_change() -> None:
    reader = PrintedUrls(80)
    reader.columns = 50
    assert reader.feed(f"{wrapped(URL, 50)}\n\n".encode()) == [URL]


@pytest.mark.parametrize("text", ["", "no url at all\n", "ftp://x/\n", "http:// x\n", "https\n://x\n"])
def test_what_is_none_is_none(text: str) -> None:
    assert found(text) == []


@given(st.lists(st.integers(1, 40), max_size=20))
def test_however_the_bytes_are_cut_the_urls_are_the_same(cuts: list[int]) -> None:
    text = (f"é Open this:\r\n{wrapped(URL, 80)}\r\n\r\n\x1b]8;;{URL}2\x1b\\here\x1b]8;;\x1b\\\r\n" * 2).encode()
    reader, urls, at = PrintedUrls(80), [], 0
    for cut in cuts:
        urls += reader.feed(text[at : at + cut])
        if at + cut < len(text):  # the empty bytes would mean a pause
            at += cut
    urls += reader.feed(text[at:])
    assert urls == [URL, f"{URL}2"] * 2


@given(st.binary(max_size=400))
def test_whatever_comes_nothing_breaks(data: bytes) -> None:
    reader = PrintedUrls(80)
    assert all(url.startswith("http") for url in reader.feed(data) + reader.feed(b""))


def test_an_endless_line_is_not_kept() -> None:
    reader = PrintedUrls(80)
    for _ in range(100):
        reader.feed(b"x" * MAX_LINE)
    assert len(reader._line) <= MAX_LINE  # the bound is the point


def test_a_line_that_says_so_is_noticed_whatever_it_is_drawn_with() -> None:
    said = SaidLine(r"^Logged in as \S+")
    assert not said.feed(b"not Logged in as ada\n\x1b[32mLogged in ")
    assert said.feed(b"as ada\x1b[0m\r\n")
    assert not said.feed(b"bye\n")
    assert not said.feed(b"Logged in as grace")
    assert said.feed(b"")  # no more will come
