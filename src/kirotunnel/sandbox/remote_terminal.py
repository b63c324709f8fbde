"""The pseudo-terminal of a session: opened here, handed to the command, resized, closed."""

from __future__ import annotations

import contextlib
import os
import termios
from collections.abc import Mapping
from typing import Final, Self

import asyncssh

# RFC 4254 §8 numbers the modes by kind: control characters, then input, local and output flags. The control flags (90…)
# are about a serial line's bits and parity, which a pseudo-terminal does not have.
_INPUT, _OUTPUT, _LOCAL, _CHARACTERS = 0, 1, 3, 6
_FLAG_WORDS: Final = ((range(30, 50), _INPUT), (range(50, 70), _LOCAL), (range(70, 90), _OUTPUT))
_CHARACTER_MODES: Final = range(1, 30)
_NO_CHARACTER: Final = 255


def _termios_names() -> dict[int, str]:
    """Opcode of RFC 4254 → the constant's name in termios, from asyncssh's own table."""
    names = {getattr(asyncssh, name): name.removeprefix("PTY_") for name in dir(asyncssh) if name.startswith("PTY_")}
    return names | {asyncssh.PTY_WERASE: "VWERASE"}


_NAMES: Final = _termios_names()


class Terminal:
    """One pseudo-terminal: `master` is ours, `slave` is for the command and closed here once the command has it."""

    def __init__(self, kind: str, master: int, slave: int) -> None:
        self.kind = kind
        """What the client calls its terminal: TERM of the command."""
        self.master = master
        self.slave = slave
        self.path = os.ttyname(slave)
        self._open = True

    @classmethod
    def open(cls, kind: str, columns: int, rows: int, modes: Mapping[int, int]) -> Self:
        """A new terminal of that size, in the modes that the client asks for; OSError where the system has none."""
        terminal = cls(kind, *os.openpty())
        terminal.resize(columns, rows)
        terminal._set_modes(modes)
        return terminal

    def resize(self, columns: int, rows: int) -> None:
        """Tell the kernel the client's window size; it sends SIGWINCH to who is in the foreground."""
        if self._open:
            termios.tcsetwinsize(self.master, (rows, columns))

    def end_of_input(self, *, line_is_open: bool) -> bytes:
        """What must be typed so that the command reads end-of-file; nothing does it in raw mode.

        A terminal cannot be half closed, and OpenSSH's sshd does not try: there such a command waits for ever. Here the
        end-of-file character is typed. It ends a read; after an unfinished line the first one only hands that line
        over, so it takes two.
        """
        attributes = termios.tcgetattr(self.master)
        if not attributes[_LOCAL] & termios.ICANON:
            return b""
        character: bytes = attributes[_CHARACTERS][termios.VEOF]
        return character * 2 if line_is_open else character

    def close_slave(self) -> None:
        """Leave the command alone with its side, so that its end is the end of the output."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        """Close what is still open; the kernel then hangs up on whoever is left."""
        self.close_slave()
        if self._open:
            self._open = False
            os.close(self.master)

    def _set_modes(self, modes: Mapping[int, int]) -> None:
        attributes = termios.tcgetattr(self.slave)
        for opcode, value in modes.items():
            number = getattr(termios, _NAMES.get(opcode, ""), None)
            if number is not None:
                self._set_mode(attributes, opcode, number, value)
        # A client of another system may ask for a combination that this one has not: then its defaults stay.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.slave, termios.TCSANOW, attributes)

    def _set_mode(self, attributes: list[object], opcode: int, number: int, value: int) -> None:
        if opcode in _CHARACTER_MODES:
            characters = attributes[_CHARACTERS]
            assert isinstance(characters, list)  # noqa: S101 - termios promises it; the type does not say
            none = os.fpathconf(self.slave, "PC_VDISABLE")
            characters[number] = bytes([none & 0xFF if value == _NO_CHARACTER else value & 0xFF])
            return
        for opcodes, word in _FLAG_WORDS:
            flags = attributes[word]
            if opcode in opcodes and isinstance(flags, int):
                attributes[word] = flags | number if value else flags & ~number
