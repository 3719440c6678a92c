"""The plot of a back-test as an SVG file: a rule's value over time, and when its alarm was open."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Final

from ingest.times import show_time
from lake.backtest.backtest import Backtest, spans

WIDTH: Final = 960
LEFT, RIGHT = 210, 20
CURVE: Final = 220
LANE: Final = 20
LINES: Final = 3
LANES: Final = 20
"""The most devices whose values are drawn, and whose alarms are."""

_COLOURS: Final = ("#0b7285", "#5f3dc4", "#2b8a3e")
_OPEN: Final = "#c2410c"
_STYLE: Final = (
    "<style>text{font:12px system-ui,sans-serif;fill:#334}.t{font-size:14px;font-weight:600}"
    "polyline{fill:none;stroke-width:1.5}</style>"
)


def plot(found: Backtest) -> str:
    """The whole file."""
    opened = spans(found.transitions, found.end)
    busiest = sorted(opened, key=lambda device: -_length(opened[device]))
    lanes = busiest[:LANES]
    drawn = [device for device in busiest if device in found.curves][:LINES]
    height = CURVE + 70 + LANE * max(1, len(lanes)) + 30
    first = found.rule.raise_when.comparisons[0]
    title = (
        f"{found.rule.name}: {found.alarms} alarms on {len(opened)} of {found.devices} devices, "
        f"{first.statistic}({first.metric}) {first.operator} {first.threshold:g}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img"><title>{html.escape(title)}</title>{_STYLE}',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="t" x="12" y="22">{html.escape(title)}</text>',
        *_curves(found, drawn),
    ]
    for row, device in enumerate(lanes):
        y = CURVE + 70 + row * LANE
        parts.append(f'<text x="12" y="{y + 12}">{html.escape(device[-30:])}</text>')
        parts += [
            f'<rect x="{_x(found, begin):.1f}" y="{y}" height="{LANE - 6}" fill="{_OPEN}" '
            f'width="{max(1.5, _x(found, end) - _x(found, begin)):.1f}"/>'
            for begin, end in opened[device]
        ]
    if not lanes:
        parts.append(f'<text x="12" y="{CURVE + 82}">no alarm would have been raised</text>')
    return "\n".join([*parts, *_axis(found, height), "</svg>"]) + "\n"


def _curves(found: Backtest, devices: Sequence[str]) -> Iterator[str]:
    """Values of devices, and the thresholds as dashed lines."""
    rule = found.rule
    first, clear = rule.raise_when.comparisons[0], rule.clear_when.comparisons[0]
    bounds = [first.threshold]
    if (clear.statistic, clear.metric) == (first.statistic, first.metric):
        bounds.append(clear.threshold)
    values = [v for device in devices for _, v in found.curves[device] if v is not None] + bounds
    low, high = min(values), max(values)
    size = (high - low) or 1.0

    def y(value: float) -> float:
        return 40 + (1 - (value - low) / size) * CURVE

    for value in (low, high):
        yield f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.6g}</text>'
    for bound in dict.fromkeys(bounds):
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}" '
            f'stroke="{_OPEN}" stroke-dasharray="5 4"/>'
            f'<text x="12" y="{y(bound) + 4:.1f}">threshold {bound:g}</text>'
        )
    for colour, device in zip(_COLOURS, devices, strict=False):
        points = " ".join(
            f"{_x(found, start):.1f},{y(value):.1f}"
            for start, value in found.curves[device]
            if value is not None
        )
        yield f'<polyline stroke="{colour}" points="{points}"><title>{html.escape(device)}</title>'
        yield "</polyline>"


def _axis(found: Backtest, height: int) -> Iterator[str]:
    for part in range(5):
        at = found.start + (found.end - found.start) * part // 4
        anchor = "start" if part == 0 else "end" if part == 4 else "middle"
        yield (
            f'<text x="{_x(found, at):.1f}" y="{height - 8}" text-anchor="{anchor}">'
            f"{show_time(at)[:16]}</text>"
        )


def _x(found: Backtest, at: int) -> float:
    share = (at - found.start) / max(1, found.end - found.start)
    return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def _length(mine: Sequence[tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in mine)
