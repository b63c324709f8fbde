"""What a remote CLI prints becomes events: the golden transcripts, and the rules that they do not show.

`tests/transcripts/NAME.txt` is the output byte for byte, `NAME.json` the events that it must give. The file names say
which of kiro-cli's two binaries (the launcher or the chat engine), which mode and which version.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import pytest

from kirotunnel.wire.transcript import (
    MAX_LINE,
    ErrorShown,
    LineShown,
    MenuItemShown,
    PortShown,
    PromptShown,
    Transcript,
    TranscriptEvent,
    UrlShown,
    UserCodeShown,
)

TRANSCRIPTS: Final = Path(__file__).parents[2] / "transcripts"
NAMES: Final = sorted(file.stem for file in TRANSCRIPTS.glob("*.txt"))


def read(*pieces: bytes) -> list[TranscriptEvent]:
    transcript = Transcript()
    return [event for piece in (*pieces, b"") for event in transcript.feed(piece)]


def as_json(event: TranscriptEvent) -> dict[str, Any]:
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_output_gives_its_events(name: str) -> None:
    expected = json.loads((TRANSCRIPTS / f"{name}.json").read_text(encoding="utf-8"))
    assert expected == [as_json(event) for event in read((TRANSCRIPTS / f"{name}.txt").read_bytes())]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_output_gives_the_same_events_byte_by_byte(name: str) -> None:
    data = (TRANSCRIPTS / f"{name}.txt").read_bytes()
    assert read(data) == read(*(data[i : i + 1] for i in range(len(data))))


def test_there_is_a_recording_for_each_expectation() -> None:
    assert {file.stem for file in TRANSCRIPTS.glob("*.json")} == set(NAMES)
    assert len(NAMES) > 20


def content(*pieces: bytes) -> list[TranscriptEvent]:
    return [event for event in read(*pieces) if not isinstance(event, LineShown)]


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("Code: ABCD-EFGH", [UserCodeShown("ABCD-EFGH")]),
        ("And confirm the code: \x1b[38;5;252mABCD-EFGH\x1b[0m", [UserCodeShown("ABCD-EFGH")]),
        ("Code: ABCD-EFGHI", []),
        ("Code: ABC-DEFG", []),
        ("Code: abcd-efgh", []),
        ("zip code: 12345", []),
        ("barcode: ABCD-EFGH", []),
        ("Open this URL: https://a.example/x.", [UrlShown("https://a.example/x")]),
        ("(see https://a.example/x).", [UrlShown("https://a.example/x")]),
        ("<https://a.example/x>", [UrlShown("https://a.example/x")]),
        ("https://a.example/1 https://b.example/2", [UrlShown("https://a.example/1"), UrlShown("https://b.example/2")]),
        ("ftp://a.example", []),
        ("callback port 49153", [PortShown(49153)]),
        ("Port: 3128", [PortShown(3128)]),
        ("port number is 3128", [PortShown(3128)]),
        ("waiting on localhost:3128", [PortShown(3128)]),
        ("waiting on 127.0.0.1:41733 …", [PortShown(41733)]),
        ("port 22", []),
        ("port 123456", []),
        ("http://localhost:3128/x", [UrlShown("http://localhost:3128/x")]),
        ("error: service error", [ErrorShown("service error")]),
        ("Logging in...error: service error", [ErrorShown("service error")]),
        ("C to cancelerror: OAuth error: late", [ErrorShown("OAuth error: late")]),
        ("error:", []),
        ("Error: not the CLI's own", []),
        ("▰▰▱ Logging in...", []),
        ("⠙ Waiting", []),
        ("✔ Enter Start URL · https://d-1.awsapps.com/start", []),
        ("  ", []),
    ],
)
def test_a_line_says_what_it_says(line: str, events: list[TranscriptEvent]) -> None:
    assert content(line.encode() + b"\n") == events


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("? Select login method ›", PromptShown("method", "Select login method")),
        ("Select login method ", PromptShown("method", "Select login method")),
        ("  Select login method", PromptShown("method", "Select login method")),
        (
            "? Select an IAM Identity Center profile ›",
            PromptShown("profile", "Select an IAM Identity Center profile"),
        ),
        ("? Enter Start URL › https://a.example", PromptShown("start-url", "Enter Start URL")),
        ("Enter Region us-east-1", PromptShown("region", "Enter Region")),
        ("Press enter to continue to the browser or esc to cancel", PromptShown("enter", "Press enter")),
        ("Then press Enter.", PromptShown("enter", "press Enter")),
        ("? Trust this folder? › yes", PromptShown("other", "Trust this folder")),
        ("? Name › press enter", PromptShown("other", "Name")),
    ],
)
def test_a_question_is_noticed_before_its_line_ends(line: str, prompt: PromptShown) -> None:
    assert Transcript().feed(line.encode()) == [prompt]
    byte_by_byte = Transcript()
    assert [event for byte in line.encode() for event in byte_by_byte.feed(bytes([byte]))] == [prompt]


@pytest.mark.parametrize(
    "line", ["✔ Select login method · Use with Google", "? no sign", "You can Select login method"]
)
def test_what_is_no_question_is_not_taken_for_one(line: str) -> None:
    assert [event for event in read(line.encode() + b"\n") if isinstance(event, PromptShown)] == []


def test_indented_lines_are_menu_rows_only_after_a_menu() -> None:
    assert read(b"  one\n> two\n") == [LineShown("  one"), LineShown("> two")]
    assert read(b"? Pick \xe2\x80\xba\n  one\n> two\nthree\n  four\n") == [
        PromptShown("other", "Pick"),
        MenuItemShown("one", active=False),
        MenuItemShown("two", active=True),
        LineShown("three"),
        LineShown("  four"),
    ]


def test_an_unfinished_line_counts_at_the_end() -> None:
    assert read(b"error: gone") == [LineShown("error: gone"), ErrorShown("gone")]


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert read(b"\xff\xfe\x80 error: x\xc3\n") == [
        LineShown("\ufffd\ufffd\ufffd error: x\ufffd"),
        ErrorShown("x\ufffd"),
    ]


def test_an_endless_line_is_cut_and_the_next_one_is_read() -> None:
    events = read(*([b"x" * 65536] * 64), b"\nerror: after\n")
    assert [len(event.text) for event in events if isinstance(event, LineShown)] == [MAX_LINE, len("error: after")]
    assert events[-1] == ErrorShown("after")


def test_a_string_that_never_ends_hides_nothing_after_the_next_sequence() -> None:
    assert content(b"\x1b]0;open", b"x" * 100_000, b"\x1b[0m\nerror: seen\n") == [ErrorShown("seen")]
