"""What a remote writes to a terminal, made harmless: as plain text, or as text that may still draw a menu.

A remote's output can move the cursor, set the window title, write the clipboard or answer as if the person had typed
(CVE-2026-45037 and its kind). Nothing remote is shown before it went through here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

SPINNER_GLYPHS: Final = frozenset("▰▱⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
_MAX_SEQUENCE: Final = 64
"""Characters: a longer escape sequence is none that we pass on, and is dropped as it comes."""
# Colours, moves within a menu's few lines, erasing, and the cursor's visibility: what a prompt needs to be drawn.
_HARMLESS_CSI: Final = re.compile(r"\x1b\[(?:[0-9;]*m|1?[0-9]?A|[0-9]?[0-9]?[BCDG]|0?J|[0-2]?K|\?25[hl])")
# Controls, bidirectional overrides, and halves of characters, which JSON can name and no terminal can be sent.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""The same but for the tab."""
_STRINGS: Final = frozenset("]PX^_k")
_INTRODUCER: Final = re.compile(r"[\x1b\x80-\x9f]")
# C1 introducers as they are written in 7 bits; the other C1 characters are dropped.
_SPELLED: Final = {"\x1b": "\x1b", "\x9b": "\x1b[", "\x9d": "\x1b]", "\x90": "\x1bP"}
# What may end a string, a control sequence and any other sequence.
_IN_STRING: Final = re.compile(r"[\x07\x1b\x9c]")
_IN_CSI: Final = re.compile(r"[^ -?]")
_IN_SEQUENCE: Final = re.compile(r"[^ -/]")
_LINE_END: Final = re.compile(r"([\r\n])")


def one_line(text: str, limit: int = 300) -> str:
    """Remote text for a message: one line, no escape sequence, no control character, no bidirectional override."""
    shown = " ".join(_CONTROL.sub(" ", plain(text)).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def plain(text: str) -> str:
    """The text without its escape sequences."""
    return "".join(piece for piece, is_escape in EscapeScanner().runs(text) if not is_escape)


class EscapeScanner:
    """Split text into characters and whole escape sequences, however it was cut into pieces (ECMA-48)."""

    def __init__(self, keep: int = _MAX_SEQUENCE) -> None:
        self._pending = ""
        self._keep = keep
        """Characters of a sequence; what is longer is forgotten as it comes."""

    def feed(self, text: str) -> list[tuple[str, bool]]:
        """The finished pieces: (character, False) or (escape sequence, True); an unfinished sequence waits."""
        pieces: list[tuple[str, bool]] = []
        for piece, is_escape in self.runs(text):
            if is_escape:
                pieces.append((piece, True))
            else:
                pieces += [(char, False) for char in piece]
        return pieces

    def runs(self, text: str) -> Iterator[tuple[str, bool]]:
        """The same with characters that follow each other together, which is many times faster."""
        at = 0
        while at < len(text):
            if self._pending:
                at, sequence = self._continue(text, at)
                if sequence:
                    yield sequence, True
                continue
            introducer = _INTRODUCER.search(text, at)
            end = introducer.start() if introducer else len(text)
            if end > at:
                yield text[at:end], False
            if introducer:
                self._pending = _SPELLED.get(introducer[0], "")
            at = end + 1

    @property
    def unfinished(self) -> bool:
        """Whether a sequence has begun and waits for its end."""
        return bool(self._pending)

    def _continue(self, text: str, at: int) -> tuple[int, str]:
        """Go on with the pending sequence: where it was read to, and the sequence where that finished it."""
        in_string = self._pending[1:2] in _STRINGS
        if not (in_string and self._pending.endswith("\x1b")):
            in_csi = self._pending[1:2] == "["
            sign = (_IN_STRING if in_string else _IN_CSI if in_csi else _IN_SEQUENCE).search(text, at)
            end = sign.start() if sign else len(text)
            self._hold(self._pending + text[at:end], "")
            if sign is None:
                return end, ""
            at = end
        char = text[at]
        if in_string and self._pending.endswith("\x1b") and char != "\\":
            self._pending, in_string = "\x1b", False  # a string that was broken off by the next sequence
        sequence = self._pending + char
        if char == "\x1b" and not in_string:
            self._pending = "\x1b"  # a sequence that was broken off by the next one
        elif _finished(sequence):
            self._pending = ""
            return at + 1, sequence
        else:
            self._hold(sequence, "\x1b" if char == "\x1b" else "")
        return at + 1, ""

    def _hold(self, sequence: str, last: str) -> None:
        """Wait for more of it. An endless sequence is not kept: its introducer is, with a mark that nothing matches."""
        self._pending = sequence if len(sequence) <= self._keep else f"{sequence[:2]}\0{last}"


def _finished(sequence: str) -> bool:
    introducer = sequence[1]
    if introducer == "[":
        return len(sequence) > 2 and "@" <= sequence[-1] <= "~"
    if introducer in _STRINGS:
        return sequence[-1] in "\x07\x9c" or sequence.endswith("\x1b\\")
    return not " " <= sequence[-1] <= "/"


class SafeTerminal:
    """A remote's terminal output with only what draws text and menus left in it; spinner frames are left out.

    Frames come ten times a second and say nothing; they would chase the person's own lines off the screen. The cursor
    goes up only over what the remote itself has drawn since our own last line: it must not write over our words.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scanner = EscapeScanner()
        self._at_start = True
        self._dropping = False
        self._rows = 0
        """Rows above the cursor that are the remote's own."""

    def own_line(self) -> None:
        """A line of ours was written: what is above it is out of the remote's reach."""
        self._rows = 0

    def feed(self, data: bytes) -> str:
        """The harmless part of what came."""
        shown: list[str] = []
        for piece, is_escape in self._scanner.runs(self._decoder.decode(data)):
            if not is_escape:
                shown += map(self._drawn, _LINE_END.split(piece))
            elif _HARMLESS_CSI.fullmatch(piece) and self._permits(piece):
                shown.append(piece)
        return "".join(shown)

    def _drawn(self, text: str) -> str:
        """What is shown of a line's end, or of text without one."""
        if text in {"\r", "\n"}:
            self._at_start, self._dropping = True, False
            self._rows += text == "\n"
            return text
        blanks = ""
        if self._at_start and (first := text.lstrip()):
            blanks, text = text[: len(text) - len(first)], first
            self._at_start, self._dropping = False, first[0] in SPINNER_GLYPHS
        return _NO_TEXT.sub("", blanks if self._dropping else blanks + text)

    def _permits(self, sequence: str) -> bool:
        parameters = sequence[2:-1].split(";")
        if sequence.endswith("m"):
            return "8" not in parameters or "38" in parameters or "48" in parameters  # concealed text is not shown
        if not sequence.endswith("A"):
            return True
        up = int(parameters[0] or 1) or 1
        if up > self._rows:
            return False
        self._rows -= up
        return True
