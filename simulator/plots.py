"""Line plots as inline SVG: no script, nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 190
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 10, 26
COLOURS: Final = ("#0b7285", "#c2410c", "#5f3dc4")


@dataclass(frozen=True)
class Series:
    """A line; ``None`` is a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Plot:
    """Lines over time (s). ``note`` says how to read them; ``marks`` are times (s) at which
    something happened."""

    title: str
    unit: str
    at: Sequence[float]
    series: Sequence[Series]
    note: str = ""
    marks: Sequence[float] = ()


def figure(plot: Plot) -> str:
    """The plot with its title, its legend and its note, as HTML. All text is escaped."""
    legend = " ".join(
        f'<span style="color:{COLOURS[i % len(COLOURS)]}">●</span> '
        f"<span>{html.escape(series.name)}</span>"
        for i, series in enumerate(plot.series)
    )
    caption = f"{html.escape(plot.title)} <span>({html.escape(plot.unit)})</span> {legend}"
    note = f"<p>{html.escape(plot.note)}</p>" if plot.note else ""
    return f"<figure><figcaption>{caption}</figcaption>{note}{_svg(plot)}</figure>"


def _svg(plot: Plot) -> str:
    values = [v for series in plot.series for v in series.values if v is not None]
    top = nice(max(values, default=0.0))
    end = max(plot.at, default=0.0) or 1.0

    def x(at: float) -> float:
        return LEFT + at / end * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for i in range(5):
        value = top * i / 4
        parts.append(
            f'<line class=grid x1={LEFT} x2={WIDTH - RIGHT} y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x={LEFT - 6} y="{y(value) + 4:.1f}" text-anchor=end>'
            f"{_number(value)}</text>"
        )
        at = end * i / 4
        parts.append(
            f'<text x="{x(at):.1f}" y={HEIGHT - 6} text-anchor=middle>{_number(at)} s</text>'
        )
    parts += [
        f'<line class=mark x1="{x(at):.1f}" x2="{x(at):.1f}" y1={TOP} y2={HEIGHT - BOTTOM} />'
        for at in plot.marks
        if at <= end
    ]
    for i, series in enumerate(plot.series):
        for run in _runs(plot.at, series.values):
            points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in run)
            parts.append(
                f'<polyline fill=none stroke="{COLOURS[i % len(COLOURS)]}" stroke-width=2 '
                f'points="{points}"/>'
            )
    what = ", ".join(f"{s.name} up to {_number(max(_known(s), default=0.0))}" for s in plot.series)
    label = html.escape(f"{plot.title}: {what} {plot.unit}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{label}">{"".join(parts)}</svg>'
    )


def nice(value: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.999999)


def _known(series: Series) -> list[float]:
    return [v for v in series.values if v is not None]


def _runs(
    at: Sequence[float], values: Sequence[float | None]
) -> Iterator[list[tuple[float, float]]]:
    """Stretches without a gap."""
    run: list[tuple[float, float]] = []
    for time, value in zip(at, values, strict=True):
        if value is not None:
            run.append((time, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
