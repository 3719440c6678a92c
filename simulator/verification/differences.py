"""How a stored item differs from what it must hold, as sentences.

Counts, times, ids and values that were measured are compared exactly. Sums depend on the order
of adding, so they may differ by 1e-9 of what was added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from simulator.verification import oracle

_SUM: Final = 1e-9


def window_faults(item: Mapping[str, Any], window: oracle.Window) -> Iterator[str]:
    """How a stored window differs from what it must hold."""
    try:
        yield from _window_faults(item, window)
    except KeyError as error:
        yield f"it lacks {error}"


def latest_fault(item: Mapping[str, Any], want: oracle.Latest) -> str | None:
    """How a stored device state differs from what it must be."""
    if "boot" not in item:
        return "it shows no reading"
    try:
        return _latest_fault(item, want)
    except KeyError as error:
        return f"it lacks {error}"


def _window_faults(item: Mapping[str, Any], window: oracle.Window) -> Iterator[str]:
    for name in ("n", "first_ts", "last_ts", "expires_at"):
        have, want = int(item[name]["N"]), getattr(window, name)
        if have != want:
            yield f"{name} is {have}, expected {want}"
    ids = {boot: text["S"] for boot, text in item["ids"]["M"].items()}
    if ids != window.ids:
        yield f"ids are {ids}, expected {dict(window.ids)}"
    metrics = item["metrics"]["M"]
    if metrics.keys() != window.metrics.keys():
        yield f"metrics are {sorted(metrics)}, expected {sorted(window.metrics)}"
        return
    for name, want in window.metrics.items():
        yield from _metric_faults(name, metrics[name]["M"], want)


def _metric_faults(name: str, item: Mapping[str, Any], want: oracle.Metric) -> Iterator[str]:
    have = {field: float(item[field]["N"]) for field in item}
    for exact in ("n", "min", "max", "first", "last"):
        if have[exact] != getattr(want, exact):
            yield f"{name}.{exact} is {have[exact]}, expected {getattr(want, exact)}"
    for close, slack in (
        ("sum", want.scale),
        ("mean", want.scale / want.n),
        ("m2", want.squares),
    ):
        if not math.isclose(have[close], getattr(want, close), rel_tol=_SUM, abs_tol=_SUM * slack):
            yield f"{name}.{close} is {have[close]}, expected {getattr(want, close)}"


def _latest_fault(item: Mapping[str, Any], want: oracle.Latest) -> str | None:
    have = (int(item["last_ts"]["N"]), item["boot"]["S"], int(item["seq"]["N"]))
    if have != (want.last_ts, want.boot, want.seq):
        return f"newest reading is {have}, expected {(want.last_ts, want.boot, want.seq)}"
    metrics = {
        name: (float(value["M"]["v"]["N"]), int(value["M"]["ts"]["N"]))
        for name, value in item["metrics"]["M"].items()
    }
    return None if metrics == want.metrics else f"{metrics}, expected {dict(want.metrics)}"
