"""How things are measured: in CPU seconds, interleaved with their baseline, medians of runs."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

RUNS = 7
"""Runs of each contender; a median needs five at least."""

Result = dict[str, Any]
"""What a measure returns: ``measure``, ``unit``, ``value``, ``baseline``, ``ratio``, ``target``,
``met``, ``runs`` and ``spread``; more where a measure has more to say."""

Progress = Callable[[str], None]
"""Told in a few words what is being done."""


class Measure(Protocol):
    """A module of this package that measures."""

    def run(self, progress: Progress) -> Result:
        """Measure."""


MEASURED_ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent / "workloads" / "without_numpy")}
"""For processes whose memory is measured."""


class Samples:
    """The figures of one contender."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.median = statistics.median(values)

    @property
    def spread(self) -> float:
        """Greatest less least, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median

    def rate(self, count: float) -> float:
        """How many a second, if each run did so many."""
        return count / self.median


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process for one run of the work, from a clean heap."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    progress: Progress,
    *,
    runs: int = RUNS,
    sample: Callable[[Callable[[], object]], float] = cpu_seconds,
) -> dict[str, Samples]:
    """Run the contenders in turn, so that what else the machine does falls on all of them.
    A first run of each, to warm up, is not counted."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 1):
        progress(f"run {run} of {runs}" if run else "warming up")
        for name, work in contenders.items():
            figure = sample(work)
            if run:
                figures[name].append(figure)
    return {name: Samples(values) for name, values in figures.items()}


def check(
    what: str,
    ours: Samples,
    baseline: Samples,
    *,
    unit: str,
    at_least: float | None = None,
    at_most: float | None = None,
    scale: Callable[[float], float] = lambda figure: figure,
) -> Result:
    """One line of the table: our median against the baseline's, both through ``scale``, and
    whether their ratio is within the target."""
    value, base = scale(ours.median), scale(baseline.median)
    ratio = value / base
    target, met = "", None
    if at_least is not None:
        target, met = f">= {at_least:g}", ratio >= at_least
    elif at_most is not None:
        target, met = f"<= {at_most:.3g}", ratio <= at_most
    return {
        "what": what,
        "unit": unit,
        "value": value,
        "baseline": base,
        "ratio": ratio,
        "target": target,
        "met": met,
        "runs": len(ours.values),
        "spread": ours.spread,
        "baseline_spread": baseline.spread,
    }


def limit(what: str, ours: Samples, *, unit: str, at_most: float) -> Result:
    """One line of the table for a figure that has no contender: its baseline is the target."""
    return {
        "what": what,
        "unit": unit,
        "value": ours.median,
        "baseline": at_most,
        "ratio": ours.median / at_most,
        "target": f"<= {at_most:g} {unit}",
        "met": ours.median <= at_most,
        "runs": len(ours.values),
        "spread": ours.spread,
    }


def none_of(what: str, count: float) -> Result:
    """One line of the table for what must not be at all."""
    return {
        "what": what, "unit": "", "value": count, "baseline": 0, "ratio": None,
        "target": "<= 0", "met": count <= 0, "runs": 1, "spread": 0.0,
    }  # fmt: skip


def floor(
    what: str,
    ours: Samples,
    baseline: Samples,
    *,
    unit: str,
    at_least: float,
    scale: Callable[[float], float] = lambda figure: figure,
) -> Result:
    """One line of the table for a figure that must reach ``at_least`` by itself, whatever the
    baseline's is."""
    return {
        **check(what, ours, baseline, unit=unit, scale=scale),
        "target": f">= {at_least:g} {unit}",
        "met": scale(ours.median) >= at_least,
    }


def result(measure: str, checks: Sequence[Result], **more: Any) -> Result:
    """A measure's result: its first check is the headline, and all of them must be met."""
    head = {name: value for name, value in checks[0].items() if name != "what"}
    met = all(one["met"] is not False for one in checks)
    return {"measure": measure, **head, "met": met, "checks": list(checks), **more}
