"""A report as one HTML file: plots as inline SVG, no script, nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 190
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 26
COLOURS: Final = ("#0b7285", "#c2410c", "#5f3dc4")

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #616e7c; --line: #d9e2ec; --card: #fff;
  --ground: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa5b1; --line: #323f4b;
  --card: #1f2933; --ground: #12181f; } }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px; }
figure, section { margin: 0 0 16px; padding: 14px 16px; background: var(--card);
  border-radius: 10px;
  border: 1px solid var(--line); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr));
  gap: 0 16px; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; }
text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); }
.verdict { font-weight: 700; padding: 2px 10px; border-radius: 8px; color: #fff;
  background: #b42318; }
.exact { background: #067647; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 400; color: var(--soft); padding: 2px 12px 2px 0;
  vertical-align: top; white-space: nowrap; }
td { overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Series:
    """A line; ``None`` is a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Plot:
    """Lines over time (s)."""

    title: str
    unit: str
    at: Sequence[float]
    series: Sequence[Series]


def page(
    *,
    title: str,
    verdict: str,
    plots: Sequence[Plot],
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    """The whole page. All text is escaped here."""
    rows = "\n".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts
    )
    noted = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    kind = "verdict exact" if verdict == "exact" else "verdict"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><main>
<h1>{html.escape(title)} <span class="{kind}">{html.escape(verdict)}</span></h1>
{f"<section><h2>What differs or was noticed</h2><ul>{noted}</ul></section>" if noted else ""}
<div class="plots">{"".join(map(_figure, plots))}</div>
<section><h2>In figures</h2><table>{rows}</table></section>
</main></body></html>
"""


def _figure(plot: Plot) -> str:
    legend = " ".join(
        f'<span style="color:{COLOURS[i % len(COLOURS)]}">●</span> {html.escape(series.name)}'
        for i, series in enumerate(plot.series)
    )
    caption = f"{html.escape(plot.title)} <small>({html.escape(plot.unit)}) {legend}</small>"
    return f"<figure><figcaption>{caption}</figcaption>{_svg(plot)}</figure>"


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
