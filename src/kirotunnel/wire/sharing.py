"""Legs that share a port: told apart without telling their states; and what their processes say to each other."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from typing import Final

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule, RequestHead, claimed_state

ANY: Final = "any"
"""The key of a leg that does not know its state: what has no other key is its."""
WIDE: Final = "wide"
"""The key of any leg that takes more than one callback: several may have it, and the first gets what is nobody's."""
STATE: Final = "s:"
"""What the keys of states begin with."""
_PAGE: Final = "p:"


def state_key(state: Secret[str] | None) -> str:
    """The key of the leg with that state. A state is random, so its hash tells nothing."""
    return ANY if state is None else STATE + _hash(state.reveal())


def page_key(target: str) -> str:
    """The key of a page that a leg's answer sent the browser to, by its path and query."""
    return _PAGE + _hash(target)


def keys_of_leg(rule: LegRule) -> list[str]:
    """All keys of a leg, as it is now."""
    keys = [state_key(rule.state)]
    if rule.follow_up is not None:
        keys.append(page_key(rule.follow_up))
    if rule.wider is not None:
        keys.append(WIDE)
        if rule.wider.start is not None:
            keys.append(page_key(rule.wider.start.reveal()))
        if rule.wider.fragment:  # what the browser then asks for has no state, and its page gets to see the answer
            keys += map(page_key, sorted(rule.paths))
    return keys


def keys_of(head: RequestHead) -> list[str]:
    """The keys under which a leg may have asked for this very request, the surest first."""
    keys = [page_key(head.target)] if head.method == "GET" else []
    if (state := claimed_state(head)) is not None:
        keys.append(state_key(state))
    return keys


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- What processes that share a port say to each other ---------------------------------------------------------------

VERSION: Final = 1
MAX_FRAME: Final = 256 * 1024
"""Bytes of a frame: a browser's request is at most 96 KiB, and a third more as text."""
MAX_KEYS: Final = 1024
"""Legs and pages of one process."""
_LENGTH: Final = struct.Struct("!I")
_KEY: Final = re.compile(r"[ps]:[0-9a-f]{64}|any|wide")


class FrameError(Exception):
    """What came is no frame of ours."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A process wants to share the port; these keys are its own. Answered by Welcome."""

    version: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """With the listening sockets. These of the keys are somebody else's already."""

    version: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """One more key, or one less. Answered by Claimed where `number` is not 0."""

    number: int
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claim of that number; these of its keys are somebody else's already."""

    number: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """With a browser's connection, and what it has sent: a whole request, for one of your keys."""

    request: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Answered by Pong."""


@dataclass(frozen=True, slots=True)
class Pong:
    """I am."""


Frame = Hello | Welcome | Claim | Claimed | Visit | Ping | Pong


def encode(frame: Frame) -> bytes:
    """The frame on the wire: four bytes of length, and JSON."""
    content: dict[str, object] = {"kind": type(frame).__name__.lower()}
    for name in frame.__slots__:
        value = getattr(frame, name)
        content[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    data = json.dumps(content).encode()
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Takes bytes as they come and gives the frames that are whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Raises FrameError; then nothing of that side can be read any more."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(_decode(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return frames


def _decode(data: bytes) -> Frame:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise FrameError("no JSON") from exc
    if not isinstance(content, dict):
        raise FrameError("no object")
    match content:
        case {"kind": "hello", "version": int(version), "keys": list(keys)}:
            return Hello(version, _keys(keys))
        case {"kind": "welcome", "version": int(version), "refused": list(keys)}:
            return Welcome(version, _keys(keys))
        case {"kind": "claim", "number": int(number), "add": list(add), "drop": list(drop)}:
            return Claim(number, _keys(add), _keys(drop))
        case {"kind": "claimed", "number": int(number), "refused": list(keys)}:
            return Claimed(number, _keys(keys))
        case {"kind": "visit", "request": str(text)}:
            try:
                return Visit(base64.b64decode(text, validate=True))
            except ValueError as exc:
                raise FrameError("no base64") from exc
        case {"kind": "ping"}:
            return Ping()
        case {"kind": "pong"}:
            return Pong()
    raise FrameError("of no kind that is known")


def _keys(values: list[object]) -> tuple[str, ...]:
    keys = tuple(value for value in values if isinstance(value, str) and _KEY.fullmatch(value))
    if len(keys) != len(values) or len(keys) > MAX_KEYS:
        raise FrameError("no keys")
    return keys
