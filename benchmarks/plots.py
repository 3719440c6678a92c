"""The plots of docs/performance.md, drawn from the results by whoever ran the suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # after its backend is chosen

from benchmarks.scale import report as scale

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
Points = list[dict[str, Any]]


def draw(results: dict[str, Any]) -> None:
    """One PNG for each measure that has points, and those of the day at scale."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    if "S1" in results:
        scale.draw(results["S1"], IMAGES)
    for name, plot in PLOTS.items():
        if name in results:
            figure, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
            plot(axes, results[name]["points"])
            figure.tight_layout()
            figure.savefig(IMAGES / f"{name.lower()}.png")
            plt.close(figure)


def _fold(axes: Any, points: Points) -> None:
    shown = {"A": "stock (A)", "whole": "ours, with the segment writer", "ours": "ours",
             "D": "bare decoding (D)"}  # fmt: skip
    labels = [
        f"{label}, {point['readings_a_message']} a message"
        for point in points
        for label in shown.values()
    ]
    axes.barh(labels[::-1], [point[name] for point in points for name in shown][::-1])
    axes.set_xlabel("CPU time a reading (µs)")


def _archive(axes: Any, points: Points) -> None:
    for who in ("ours", "stock"):
        axes.plot([p["readings"] for p in points], [p[who] for p in points], marker="o", label=who)
    axes.set_xlabel("readings in the open segment")
    axes.set_ylabel("memory (MB)")
    axes.set_ylim(bottom=0)
    axes.legend()


def _growth(axes: Any, points: Points) -> None:
    devices = [point["devices"] for point in points]
    axes.semilogx(devices, [p["megabytes"] for p in points], marker="o", color="C1")
    axes.set_xlabel("devices on the shard")
    axes.set_ylabel("memory (MB)", color="C1")
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    other.semilogx(devices, [p["records_a_second"] for p in points], marker="s", color="C0")
    other.set_ylabel("records a second and core", color="C0")
    other.set_ylim(bottom=0)


def _latency(axes: Any, points: Points) -> None:
    for name in ("p50", "p99"):
        axes.plot(
            [p["messages_per_s"] for p in points], [p[name] for p in points], marker="o", label=name
        )
    axes.set_xlabel("messages a second, 50 devices")
    axes.set_ylabel("device to hot store (ms)")
    axes.set_ylim(bottom=0)
    axes.legend()


PLOTS: Final[dict[str, Callable[[Any, Points], None]]] = {
    "P1": _fold,
    "P4": _latency,
    "P6": _archive,
    "P8": _growth,
}
