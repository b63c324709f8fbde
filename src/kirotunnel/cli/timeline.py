"""Where the time went, as a picture: `--timeline FILE.svg|.html`, drawn from the events and from nothing else.

A picture that is attached to a bug report is read by strangers. Events hold no secret but a one-time code, and that is
not drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, Literal, NamedTuple

from kirotunnel import events as ev
from kirotunnel.local.whole_file import replace_file
from kirotunnel.wire.terminal import one_line

Kind = Literal["machine", "person", "port", "lost"]
SUFFIXES: Final = frozenset({".svg", ".html"})
MAX_MOMENTS: Final = 20_000
"""Events that are kept; those of a fleet of hundreds, and no more if a browser knocks without end."""


class Moment(NamedTuple):
    """An event, when it happened in milliseconds since the command began, and to which target."""

    at_ms: int
    target: str | None
    event: ev.Event


@dataclass(frozen=True, slots=True)
class Span:
    """One bar of the picture; times in milliseconds since the command began."""

    target: str | None
    label: str
    kind: Kind
    begin_ms: int
    end_ms: int
    whole: bool = True
    """False where its end never came."""


def spans(moments: Sequence[Moment]) -> list[Span]:
    """What took how long, target by target in the order in which they began, and within each by its beginning."""
    targets = dict.fromkeys(moment.target for moment in moments if not isinstance(moment.event, ev.Result))
    return [span for target in targets for span in _spans_of(target, [m for m in moments if m.target == target])]


def _spans_of(target: str | None, moments: list[Moment]) -> list[Span]:
    done: list[Span] = []
    running: dict[str, tuple[str, Kind, int]] = {}

    def begin(key: str, label: str, kind: Kind, at: int) -> None:
        running.setdefault(key, (label, kind, at))

    def end(at: int, *keys: str, whole: bool = True) -> None:
        for key in keys:
            if key in running:
                label, kind, began = running.pop(key)
                done.append(Span(target, label, kind, began, at, whole))

    for at, _, event in moments:
        match event:
            case ev.Connecting():
                begin("connect", "connect", "machine", at)
            case ev.Connected():
                end(at, "connect")
                begin("look", "look around", "machine", at)
            case ev.RemoteCli():
                end(at, "look")
            case ev.LoginStarted():
                begin("start", "the CLI starts", "machine", at)
            case ev.BrowserRequested(leg=leg):
                end(at, "start", "next")
                begin(f"check {leg}", f"page {leg}: check, open port", "machine", at)
            case ev.TunnelOpened(leg=leg, port=port):
                end(at, f"check {leg}")
                begin(f"port {leg}", f"page {leg}: port {port} open", "port", at)
            case ev.BrowserOpened(leg=leg):
                begin(f"person {leg}", f"page {leg}: you, in the browser", "person", at)
            case ev.DeviceCode():
                end(at, "start")
                begin("code", "you, confirming the code", "person", at)
            case ev.CallbackReceived(leg=leg):
                end(at, f"person {leg}")
                begin(f"deliver {leg}", f"page {leg}: callback to the CLI", "machine", at)
            case ev.TunnelClosed(leg=leg):
                end(at, f"deliver {leg}", f"port {leg}")
                begin("next", "the CLI goes on, whoami", "machine", at)
            case ev.ConnectionLost():
                begin("lost", "connection lost", "lost", at)
            case ev.SignedIn() | ev.SignedOut():
                end(at, "next", "code", *running)
            case ev.Reconnected():
                end(at, "lost")
    end(moments[-1].at_ms if moments else 0, *running, whole=False)
    return sorted(done, key=lambda span: (span.begin_ms, span.end_ms))


# --- the picture ---------------------------------------------------------------------------------------------------

WIDTH: Final = 960
ROW: Final = 26
LEFT: Final = 270
RIGHT: Final = 90
TOP: Final = 64
_TICKS: Final = 6
_STYLE: Final = """
text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #24222b; }
.head { font-weight: 600; font-size: 15px; } .target { font-weight: 600; } .small { font-size: 11px; fill: #6b6878; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.back { fill: #f7f6fb; } .grid { stroke: #dedbe8; } .machine { fill: #5b3fd1; } .person { fill: #c98a1b; }
.port { fill: #2e7d4f; fill-opacity: .45; } .lost { fill: #b3374a; } .broken { stroke: #b3374a; stroke-width: 2; }
.failed { fill: #b3374a; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #ecebf2; } .small { fill: #a9a6b6; } .back { fill: #17161c; } .grid { stroke: #35323f; }
  .machine { fill: #a391ff; } .person { fill: #e6b352; } .port { fill: #63bd88; } .lost, .failed { fill: #f07c8d; }
}
"""


def draw(moments: Sequence[Moment]) -> str:
    """The picture as an SVG document."""
    bars = spans(moments)
    ends = {m.target: m.event for m in moments if isinstance(m.event, ev.Failed | ev.SignedIn | ev.SignedOut)}
    total = max((moment.at_ms for moment in moments), default=0) or 1
    rows: list[str] = []
    y = TOP
    for target in dict.fromkeys(span.target for span in bars):
        rows += _heading(target, ends.get(target), y)
        y += ROW
        for span in (bar for bar in bars if bar.target == target):
            rows += _bar(span, y, total)
            y += ROW
    height = y + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t">',
        f'<title id="t">Where the time went: {_seconds(total)} in all</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="12"/>',
        f'<text class="head" x="20" y="30">Where the time went: {_seconds(total)} in all</text>',
        *_axis(total, height),
        *rows,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def page(moments: Sequence[Moment]) -> str:
    """The picture as an HTML page, with the events as a table below."""
    rows = "\n".join(
        f"<tr><td>{at}</td><td>{escape(one_line(target or ''))}</td><td>{escape(event.name())}</td></tr>"
        for at, target, event in moments
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>kirotunnel: where the time went</title>\n'
        "<style>:root { color-scheme: light dark; } body { font: 14px system-ui, sans-serif; max-width: 960px; "
        "margin: 24px auto; padding: 0 12px; } td, th { padding: 2px 12px 2px 0; text-align: left; } "
        "td:first-child { text-align: right; font-variant-numeric: tabular-nums; }</style></head>\n<body>\n"
        f"{draw(moments)}<table><thead><tr><th>ms</th><th>target</th><th>event</th></tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>\n</body></html>\n"
    )


def _heading(target: str | None, end: ev.Event | None, y: int) -> list[str]:
    name = escape(one_line(target or "this machine"))
    match end:
        case ev.Failed(code=code):
            how = f'<tspan class="failed" dx="12">{escape(code)}</tspan>'
        case ev.SignedIn():
            how = '<tspan class="small" dx="12">signed in</tspan>'
        case ev.SignedOut():
            how = '<tspan class="small" dx="12">signed out</tspan>'
        case _:
            how = ""
    return [f'<text class="target" x="20" y="{y + 17}">{name}{how}</text>']


def _bar(span: Span, y: int, total: int) -> list[str]:
    scale = (WIDTH - LEFT - RIGHT) / total
    x, width = LEFT + span.begin_ms * scale, max((span.end_ms - span.begin_ms) * scale, 2)
    broken = "" if span.whole else " broken"
    took = _seconds(span.end_ms - span.begin_ms) + ("" if span.whole else ", no end")
    return [
        f'<text x="32" y="{y + 17}">{escape(span.label)}</text>',
        f'<rect class="{span.kind}{broken}" x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="14" rx="3">'
        f"<title>{escape(span.label)}: {took}</title></rect>",
        f'<text class="small end" x="{WIDTH - 16}" y="{y + 17}">{took}</text>',
    ]


def _axis(total: int, height: int) -> Iterable[str]:
    step = _round_step(total / _TICKS)
    for tick in range(0, total + 1, step):
        x = LEFT + tick * (WIDTH - LEFT - RIGHT) / total
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 16}"/>'
        yield f'<text class="small middle" x="{x:.1f}" y="{TOP - 14}">{_seconds(tick)}</text>'


def _round_step(rough: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … milliseconds."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= rough:
                return digit * power
        power *= 10


def _seconds(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


# --- the file ------------------------------------------------------------------------------------------------------


class Timeline:
    """Notes every event as it comes, and writes the picture when the last one has come."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._began = time.monotonic()
        self._moments: list[Moment] = []

    def of(self, target: str | None) -> Callable[[ev.Event], None]:
        """What takes the events of that target."""

        def note(event: ev.Event) -> None:
            at = round((time.monotonic() - self._began) * 1000)
            if len(self._moments) < MAX_MOMENTS:
                self._moments.append(Moment(at, target, event))

        return note

    def write(self) -> None:
        """Write the picture, whole or not at all. Raises OSError where the file cannot be written."""
        render = page if self.file.suffix.lower() == ".html" else draw
        replace_file(self.file, render(self._moments))
