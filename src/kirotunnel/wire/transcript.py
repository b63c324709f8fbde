"""Turn what a remote CLI prints into events. No I/O; however the bytes are cut, the events are the same.

What is known of kiro-cli's output: a spinner rewrites its line with `\\r` ten times a second and leaves its text in
front of what comes next, so an error may read `▰▰▰▰▰▱▱ Logging in...error: …` (Kiro#3963, #6255). Menus and inputs are
dialoguer's, on stderr, in two themes (`? Select login method ›` and plain). Codes are wrapped in colours on a terminal.
Labels, their order and their number changed with 1.24 and again with 2.1, so they are matched as text, never by index.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.wire.terminal import SPINNER_GLYPHS, EscapeScanner

MAX_LINE: Final = 16 * 1024
"""Characters kept of one line; the rest of an endless line is counted and dropped."""

MAX_EVENTS: Final = 20_000
"""A login has some dozens, and a spinner's frames are none; after so many nothing more is read."""

PromptKind = Literal["method", "profile", "start-url", "region", "enter", "other"]


@dataclass(frozen=True, slots=True)
class PromptShown:
    """The CLI asks for a choice or a value. Menu items follow as MenuItemShown."""

    kind: PromptKind
    text: str


@dataclass(frozen=True, slots=True)
class MenuItemShown:
    """One row of the menu."""

    label: str
    active: bool


@dataclass(frozen=True, slots=True)
class PortShown:
    """The CLI named its callback port (1.24 to 2.0 in remote mode)."""

    port: int


@dataclass(frozen=True, slots=True)
class UrlShown:
    """A URL stood in the output."""

    url: str


@dataclass(frozen=True, slots=True)
class UserCodeShown:
    """A one-time code stood in the output (RFC 8628 §3.2 user_code)."""

    user_code: str


@dataclass(frozen=True, slots=True)
class ErrorShown:
    """The CLI printed an error."""

    text: str


@dataclass(frozen=True, slots=True)
class LineShown:
    """Any finished line that is not a spinner's frame, without escapes; for the error message of a login that ends."""

    text: str


TranscriptEvent = PromptShown | MenuItemShown | PortShown | UrlShown | UserCodeShown | ErrorShown | LineShown

_PROMPTS: Final[tuple[tuple[re.Pattern[str], PromptKind], ...]] = (
    (re.compile(r"^\W*Select login method"), "method"),
    (re.compile(r"^\W*Select an IAM Identity Center profile"), "profile"),
    (re.compile(r"^\W*Enter Start URL"), "start-url"),
    (re.compile(r"^\W*Enter Region"), "region"),
    (re.compile(r"[Pp]ress [Ee]nter"), "enter"),
    (re.compile(r"^\? \S[^›]*›"), "other"),
)
# Each of them has one of these: nearly every line is told by this alone.
_PERHAPS_PROMPT: Final = re.compile(r"Select|[Ee]nter|^\?")
_LINE_END: Final = re.compile(r"[\r\n]")
# `✔ Select login method · Use with Google`: what was chosen, not a question.
_ANSWERED: Final = re.compile(r"^\s*✔")
_ITEM: Final = re.compile(r"^(?:(?P<active>[❯>]) |  )(?P<label>\S.*)$")
_URL: Final = re.compile(r"https?://[^\s\x00-\x1f\x7f-\x9f\"'<>`]+")  # a bell may follow, or a backspace
_USER_CODE: Final = re.compile(r"\b[Cc]ode: *(?P<code>[A-Z0-9]{4}-[A-Z0-9]{4})(?![A-Z0-9-])")
# Kiro's own cloud launcher reads 1.24–2.0 as tolerantly as this.
_PORT: Final = re.compile(r"(?:(?:localhost|127\.0\.0\.1):|[Pp]ort(?: number)?(?: is)?[: ]+)(?P<port>[0-9]{4,5})\b")
# No word boundary: the launcher's spinner ends in `cancel`, and what follows is glued to it.
_ERROR: Final = re.compile(r"error(?:\[KT\d+\])?: *(?P<text>\S.*)$")
_SPINNER: Final = re.compile(rf"^\s*[{''.join(sorted(SPINNER_GLYPHS))}]+\s*")


class Transcript:
    """The reader of one login's output."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scanner = EscapeScanner()
        self._line = ""
        self._asked: PromptKind | None = None
        """What the line so far was recognised to ask; a prompt's line ends only with its answer."""
        self._in_menu = False
        self._left = MAX_EVENTS

    def feed(self, data: bytes) -> list[TranscriptEvent]:
        """The events that these bytes complete; the empty bytes at the end finish the last line."""
        if self._left <= 0:
            return []
        events: list[TranscriptEvent] = []
        text = self._decoder.decode(data, final=not data)
        for piece, is_escape in self._scanner.runs(text):
            if is_escape:
                continue
            first, *others = _LINE_END.split(piece)
            self._line += first[: MAX_LINE - len(self._line)]
            for rest in others:
                events += self._finish_line()
                self._line = rest[:MAX_LINE]
        events += self._look_for_prompt(self._line) if data else self._finish_line()
        whole = events[: self._left]
        self._left -= len(whole)
        return whole

    def _look_for_prompt(self, line: str) -> list[TranscriptEvent]:
        if self._asked or not _PERHAPS_PROMPT.search(line) or _ANSWERED.search(line):
            return []
        matches = [(found, kind) for pattern, kind in _PROMPTS if (found := pattern.search(line))]
        if not matches:
            return []
        # The one that was complete first, as if the line had come character by character.
        found, self._asked = min(matches, key=lambda match: match[0].end())
        self._in_menu = self._asked in {"method", "profile", "other"}
        return [PromptShown(self._asked, found[0].strip(" ?›"))]

    def _finish_line(self) -> list[TranscriptEvent]:
        line, self._line = self._line, ""
        events = self._look_for_prompt(line)
        asked, self._asked = self._asked, None
        text = _SPINNER.sub("", line)
        if not text.strip() or (text != line and not _ERROR.search(text)):
            return events
        if asked in {None, "enter"}:
            events += self._content(line, text.rstrip())
        return events

    def _content(self, line: str, text: str) -> Iterator[TranscriptEvent]:
        if self._in_menu and (item := _ITEM.match(line)):
            yield MenuItemShown(item["label"].strip(), item["active"] is not None)
            return
        self._in_menu = False
        yield LineShown(text)
        if _ANSWERED.search(text):
            return  # an answer may hold a URL: the start URL
        for url in _URL.findall(text):
            yield UrlShown(url.rstrip(".,;)"))
        if code := _USER_CODE.search(text):
            yield UserCodeShown(code["code"])
        if port := _PORT.search(_URL.sub("", text)):
            yield PortShown(int(port["port"]))
        if error := _ERROR.search(text):
            yield ErrorShown(error["text"])
