"""The result of a day as tables and plots; :mod:`benchmarks.scale.measure` has its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.scale.quotas import QUOTAS

PAGE: Final = Path(__file__).parents[2] / "docs" / "scale.md"
_MARKED: Final = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A heading and lines."""


def clock(seconds: float) -> str:
    """A time of the day.

    >>> clock(36_065)
    '10:01'
    """
    return f"{int(seconds) // 3600:02d}:{int(seconds) % 3600 // 60:02d}"


def length(seconds: float) -> str:
    """A length of time, for a reader.

    >>> length(5), length(90), length(9_000)
    ('5 s', '1.5 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def by_hour(found: dict[str, Any]) -> Rows:
    """The day by the hour."""
    head = (
        "hour", "devices connected", "messages/s", "readings folded/s", "greatest lag",
        "write units/s", "most", "tables too small for", "tasks", "shards read, least",
    )  # fmt: skip
    return head, [
        (
            f"{row['hour']:02d}", f"{row['connected']:,.0f}", f"{row['messages']:,.0f}",
            f"{row['folded']:,.0f}", length(row["lag_s"]), f"{row['write_units']:,.0f}",
            f"{row['most_write_units']:,.0f}", f"{row['limited_min']:.0f} min", str(row["tasks"]),
            f"{row['read_shards']:,}",
        )
        for row in found["hours"]
    ]  # fmt: skip


def ladder(found: dict[str, Any]) -> Rows:
    """What gave way, in the order in which it did."""
    head = (
        "", "gives way", "from", "for", "has", "raised to", "greatest lag of this day",
        "hours behind", "readings not folded",
    )  # fmt: skip
    rows = [
        (
            str(number), QUOTAS[rung["quota"]].what, clock(rung["first_at"]),
            "the day" if rung["quota"] == "fargate.vcpus" else length(rung["seconds"]),
            f"{rung['had']:,.0f}", f"{rung['ask']:,.0f}",
            length(rung["lag_s"]), f"{rung['hours_behind']:.1f}", f"{rung['not_folded']:,.0f}",
        )
        for number, rung in enumerate(found["ladder"], 1)
    ]  # fmt: skip
    last = found["raised"]
    rows.append(
        ("", "nothing more that can be raised", "", "", "", "", length(last["lag_s"]),
         f"{last['hours_behind']:.1f}", f"{last['not_folded']:,.0f}")
    )  # fmt: skip
    return head, rows


def requests(found: dict[str, Any]) -> Rows:
    """What to ask AWS for."""
    head = ("quota", "code", "default", "ask for", "documentation")
    return head, [
        (one["what"], one["code"] or "-", f"{one['default']:,.0f}", f"{one['ask']:,.0f}",
         one["page"])
        for one in found["asks"]
    ]  # fmt: skip


def compared(found: dict[str, Any]) -> Rows:
    """The model beside the real shards."""
    head = ("shard", "devices", "what", "model", "real", "model / real")
    rows = []
    for one in found["agreement"]:
        for name, what in (
            ("sent", "readings sent"), ("durable", "readings durable"), ("writes", "write units"),
            ("reads", "read units"), ("lag_s", "greatest lag (s)"),
        ):  # fmt: skip
            model, real = one[name]
            ratio = f"{model / real:.3f}" if real else ""
            rows.append(
                (
                    str(one["shard"]),
                    str(one["devices"]),
                    what,
                    f"{model:,.0f}",
                    f"{real:,.0f}",
                    ratio,
                )
            )
    return head, rows


def costs(found: dict[str, Any]) -> Rows:
    """The bill of the day."""
    rows = [(line, f"{usd:,.2f}") for line, usd in found["bill"].items() if usd >= 0.005]
    return ("line", "USD"), [*rows, ("**all**", f"**{found['usd']:,.2f}**")]


TABLES: Final = {
    "hours": by_hour,
    "ladder": ladder,
    "asks": requests,
    "compared": compared,
    "bill": costs,
}


def printed(found: dict[str, Any]) -> Iterable[Table]:
    """The tables for a terminal."""
    titles = {
        "hours": "The day", "ladder": "What gives way first", "asks": "What to ask AWS for",
        "compared": "The model beside real shards", "bill": "The day's bill",
    }  # fmt: skip
    for name, make in TABLES.items():
        head, rows = make(found)
        table = Table(title=titles[name])
        for heading in head:
            table.add_column(heading, justify="right" if heading[:1].islower() else "left")
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        yield table


def rewritten(text: str, found: dict[str, Any]) -> str:
    """The page with its tables as they are now."""

    def table(match: re.Match[str]) -> str:
        head, rows = TABLES[match[2]](found)
        lines = (head, ["---"] * len(head), *rows)
        body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"{match[1]}{body}{match[3]}"

    return _MARKED.sub(table, text)


def draw(found: dict[str, Any], folder: Path) -> None:
    """``scale.png``: devices, lag, units and tasks over the day. ``scale-model.png``: the model
    beside the real shards."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # after its backend is chosen

    series, plan = found["series"], found["scenario"]
    points = len(series["lag_s"])
    hours = [(i + 0.5) * plan["hours"] / points for i in range(points)]
    figure, axes = plt.subplots(5, figsize=(8, 10), sharex=True, dpi=110)
    axes[0].plot(hours, series["connected"])
    axes[0].set_ylabel("devices connected")
    axes[1].plot(hours, series["messages"], label="messages into the stream")
    axes[1].plot(hours, series["served"], label="readings folded")
    axes[1].set_ylabel("a second")
    axes[2].plot(hours, [lag / 60 for lag in series["lag_s"]], label="IoT and Fargate raised")
    axes[2].plot(hours, [lag / 60 for lag in series["raised_lag_s"]], label="everything raised")
    axes[2].set_ylabel("greatest lag (min)")
    for kind, color in (("write", "C0"), ("read", "C1")):
        axes[3].plot(hours, series[f"{kind}_units"], color=color, label=f"{kind} units")
        axes[3].plot(hours, series[f"{kind}_limit"], color=color, ls=":", label=f"{kind} limit")
    axes[3].set_ylabel("units a second")
    axes[4].step(hours, series["tasks"], where="post")
    axes[4].set_ylabel("tasks")
    axes[4].set_xlabel("hour of the day")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.axvspan(plan["outage"][0] / 3600, plan["outage"][1] / 3600, color="C3", alpha=0.12)
        axis.axvspan(plan["cut"][0] / 3600, plan["cut"][1] / 3600, color="C4", alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "scale.png")
    plt.close(figure)
    figure, rows = plt.subplots(len(found["agreement"]), figsize=(8, 6), dpi=110, squeeze=False)
    for one, axis in zip(found["agreement"], rows[:, 0], strict=True):
        shard, real = one["shard"], series[f"real_{one['shard']}"]
        at = [(i + 0.5) * one["hours"] / len(real) for i in range(len(real))]
        axis.plot(at, real, label=f"shard {shard}, real processor")
        axis.plot(at, series[f"model_{shard}"], ls="--", label="model")
        axis.set_ylabel("readings not durable")
        axis.set_xlabel("hour of the day")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "scale-model.png")
    plt.close(figure)
