"""What of a command's output reaches the person's terminal, and what of the person's keys the command. Pure.

The command is the person's own and draws its whole screen if it likes, as it would under ssh: colours, the cursor,
the alternate screen, mouse and paste modes all pass. What does not is what acts outside the screen (it stays when the
command is over) or makes the terminal type: strings to the terminal, such as the clipboard, its title, notifications
and files (OSC but for links, DCS, APC, PM, SOS), and the questions that it would answer with what a remote has set.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from kirotunnel.wire.terminal import EscapeScanner

# With those of screen and tmux: ESC k (their title) and ESC ! (a message).
_STRINGS: Final = ("\x1b]", "\x1bP", "\x1bX", "\x1b^", "\x1b_", "\x1bk", "\x1b!")
_LINK: Final = re.compile(r"\x1b\]8;[ -:<-~]*;(?:https?://[!-~]*)?(?:\x07|\x1b\\)")
# Where another character stands in a sequence, a terminal reads on differently than we do: it acts on a line break in
# its middle and goes on with the sequence, or begins a string there, and would find one in what follows.
_WHOLE: Final = re.compile(r"\x1b[ -~]+")
# Reports of title and icon name (xterm's CSI 20 t and 21 t): the terminal would type what a remote had put there.
_TITLE_REPORT: Final = re.compile(r"\x1b\[[<-?]*0*2[01](?![0-9]).*t")
_PLAIN: Final = re.compile(r"[^\x1b\x80-\x9f\udc80-\udc9f]*")
MAX_LINK: Final = 8192
PLAIN_AGAIN: Final = "\x1b7\x1b[r\x1b8\x1b[m\x1b(B\x0f\x1b[?7h"
"""Undoes what would hide words of ours: margins (without moving the cursor), colours and concealment, other characters,
lines that are cut off."""


class Passing:
    """The filter of one command's output to a terminal."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._scanner = EscapeScanner(keep=MAX_LINK)
        self._unfinished = False
        self.at_line_start = True
        """Whether what passed ends with a line break."""
        self.is_drawn_on = False
        """Whether anything passed by which text may look otherwise than it stands."""

    def feed(self, data: bytes) -> bytes:
        """What passes of these bytes. An escape sequence waits until it is whole."""
        text = self._decoder.decode(data)
        if not self._unfinished and (plain := _PLAIN.match(text)) is not None and plain.end() == len(text):
            passed = text  # nearly all of the output of nearly all commands
        else:
            pieces = self._scanner.feed(text)
            self._unfinished = self._scanner.unfinished
            passed = "".join(piece for piece, is_escape in pieces if _passes(piece, is_escape=is_escape))
        if passed:
            self.at_line_start = passed.endswith(("\n", "\r"))
            self.is_drawn_on = self.is_drawn_on or "\x1b" in passed or "\x0e" in passed
        return passed.encode("utf-8", "surrogateescape")


def _passes(piece: str, *, is_escape: bool) -> bool:
    if not is_escape:
        # A lone byte of C1 is a control character to a terminal that is not set to UTF-8.
        return not "\udc80" <= piece <= "\udc9f"
    if piece.startswith(_STRINGS):
        return _LINK.fullmatch(piece) is not None
    # The end of a string, without the string: what is left of one that was wrapped for tmux.
    return piece != "\x1b\\" and _WHOLE.fullmatch(piece) is not None and _TITLE_REPORT.fullmatch(piece) is None


class EscapeKeys:
    """ssh's own way out of a command that takes every key: `~.` at the beginning of a line ends it."""

    def __init__(self) -> None:
        self._at_start = True
        self._tilde = False

    def feed(self, keys: bytes) -> tuple[bytes, bool]:
        """What goes on to the command, and whether the person wants out. `~~` is one tilde."""
        passed = bytearray()
        for key in keys:
            if self._tilde:
                self._tilde = False
                if key == ord("."):
                    return bytes(passed), True
                if key != ord("~"):
                    passed.append(ord("~"))
            elif self._at_start and key == ord("~"):
                self._tilde = True
                continue
            passed.append(key)
            self._at_start = key in b"\r\n"
        return bytes(passed), False
