"""Find the URLs in what any command prints: plain, in JSON, behind a link (OSC 8), or broken at the terminal's edge.

A program that draws its screen itself wraps a long URL hard: a line break where there is none. Such a piece fills its
line to the edge, and what follows is one word of a URL's characters.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

from kirotunnel.wire.terminal import EscapeScanner, plain

MAX_LINE: Final = 16 * 1024
"""Characters kept of one line."""
MAX_URL: Final = 8192
USUAL_WIDTH: Final = 80
"""Columns that programs take for granted where there is no terminal."""
_EDGE: Final = 6
"""Columns that a frame may leave free at its right side."""

# No backslash but what writers of JSON put into a URL: `\/` for a slash, `\u0026` and `\u003d` for & and =.
_URL: Final = re.compile(
    r"https?:(?://|\\/\\/)(?:[^\s\x00-\x1f\x7f-\x9f\"'<>`\u2500-\u257f|\\]|\\/|\\u0026|\\u003[dD])+"
)
_WRITTEN: Final = {r"\/": "/", r"\u0026": "&", r"\u003d": "=", r"\u003D": "="}
_PIECE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%{}]+")
# A frame around it: box-drawing, an ASCII bar, and the blanks inside.
_FRAME: Final = " \t|" + "".join(map(chr, range(0x2500, 0x2580)))
_LINK: Final = re.compile(r"\x1b\]8;[^;]*;(?P<url>https?://[^\x07\x1b\x9c]+)")
_MOVE: Final = re.compile(r"\x1b\[[0-9;]*[HfEFBd]")
"""The cursor goes to another line."""


class PrintedUrls:
    """The reader of one command's output."""

    def __init__(self, columns: int | None = None) -> None:
        self.columns = columns or USUAL_WIDTH
        """The terminal's width, which may change."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._open: str | None = None
        """A URL that goes to the edge of the line before, and may go on."""

    def feed(self, data: bytes) -> list[str]:
        """The URLs that these bytes complete; the empty bytes at the end, or after a pause, finish what is open."""
        found: list[str] = []
        *lines, rest = self._decoder.decode(data).split("\n")
        for line in lines:
            found += self._finish_line(self._line + line[:MAX_LINE])
            self._line = ""
        self._line += rest[: MAX_LINE - len(self._line)]
        if not data:
            found += self._finish_line(self._line)
            self._line = ""
            found += self._finish_open()
        return found

    def _finish_line(self, raw: str) -> Iterator[str]:
        if self._open is None and "http" not in raw:
            return  # nearly every line of nearly every command
        rows = [""]
        for piece, is_escape in EscapeScanner(keep=MAX_URL).feed(raw.rstrip("\r")):
            if piece == "\r":
                rows.append("")
            elif not is_escape:
                rows[-1] += piece
            elif link := _LINK.match(piece):
                yield link["url"]
            elif _MOVE.fullmatch(piece):
                rows.append("")
        for row in rows:
            yield from self._finish_row(row.rstrip())

    def _finish_row(self, line: str) -> Iterator[str]:
        text = line.strip(_FRAME)
        before, self._open = self._open, None
        if before is not None:
            if text and _PIECE.fullmatch(text) and not text.startswith(("http://", "https://")):
                yield from self._piece(before + text, line)
                return
            yield _tidy(before)
        matches = list(_URL.finditer(text))
        for match in matches[:-1]:
            yield _tidy(match[0])
        if matches:
            last = matches[-1]
            if last.end() == len(text):
                yield from self._piece(last[0], line)
            else:
                yield _tidy(last[0])

    def _piece(self, url: str, line: str) -> Iterator[str]:
        """A URL that ends with its line: it may go on where it goes to the edge."""
        if self.columns - _EDGE <= len(line) <= self.columns and len(url) < MAX_URL:
            self._open = url
        else:
            yield _tidy(url)

    def _finish_open(self) -> Iterator[str]:
        before, self._open = self._open, None
        if before is not None:
            yield _tidy(before)


def _tidy(url: str) -> str:
    url = url.rstrip(".,;)]")
    if "\\" in url:
        for written, character in _WRITTEN.items():
            url = url.replace(written, character)
    return url


class SaidLine:
    """Watches output for a line in which a regular expression is found."""

    def __init__(self, expression: str) -> None:
        self._expression = re.compile(expression)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""

    def feed(self, data: bytes) -> bool:
        """Whether one of the lines that these bytes complete is such a line; the empty bytes complete what is there."""
        *lines, rest = self._decoder.decode(data).split("\n")
        found = False
        for line in lines:
            found |= self._is_found(self._line + line)
            self._line = ""
        self._line += rest[: MAX_LINE - len(self._line)]
        return found or (not data and self._is_found(self._line))

    def _is_found(self, line: str) -> bool:
        return self._expression.search(plain(line[:MAX_LINE])) is not None
