"""What a window says to a rule: a verdict, decided from the window's aggregates alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Final

from consumers.alerts.rules import OPERATORS, Comparison, Condition, Rule
from consumers.hot.windows import Window

NOTHING: Final = 0
"""The window lacks what the rule asks for. As no window at all, it says nothing."""
CLEAR: Final = 1
BETWEEN: Final = 2
"""Neither to raise nor to clear: between the two thresholds."""
BREACH: Final = 3

Value = Callable[[Window, Window | None], float | None]
"""A statistic of a window and, for ``change``, the window before; ``None`` when there is none."""
Verdict = Callable[[Window, Window | None], int]

_OF_METRIC: Final = frozenset({"mean", "min", "max", "first", "last", "sum", "n"})


def value_of(comparison: Comparison) -> Value:
    """The function that reads a comparison's statistic."""
    name, statistic = comparison.metric, comparison.statistic
    if statistic == "completeness":
        return lambda window, _: completeness(window)
    if statistic == "n" and not name:
        return lambda window, _: float(window.n)
    if statistic == "change":
        return lambda window, previous: _change(name, window, previous)
    if statistic in _OF_METRIC:
        read = attrgetter(statistic)

        def plain(window: Window, _: Window | None) -> float | None:
            metric = window.metrics.get(name)
            return None if metric is None else float(read(metric))

        return plain

    def derived(window: Window, _: Window | None) -> float | None:
        metric = window.metrics.get(name)
        if metric is None:
            return None
        return (
            metric.mean if statistic == "share_true" else math.sqrt(max(0.0, metric.m2) / metric.n)
        )

    return derived


def completeness(window: Window) -> float | None:
    """The share of the sequence numbers between a window's first and last, of each boot, that are
    in it."""
    spans = [(b[0], b[-1]) for b in window.ids.bounds.values() if b]
    expected = sum(end - start for start, end in spans)
    return window.n / expected if expected else None


def _change(name: str, window: Window, previous: Window | None) -> float | None:
    now = window.metrics.get(name)
    before = previous.metrics.get(name) if previous else None
    return None if now is None or before is None else now.mean - before.mean


def _holds(condition: Condition) -> Callable[[Window, Window | None], bool | None]:
    """Whether a window meets the condition; ``None`` when it lacks what would decide that."""
    parts = [
        (value_of(one), OPERATORS[one.operator], one.threshold) for one in condition.comparisons
    ]
    if len(parts) == 1:
        read, compare, threshold = parts[0]

        def one(window: Window, previous: Window | None) -> bool | None:
            value = read(window, previous)
            return None if value is None else compare(value, threshold)

        return one
    decides = not condition.all_of  # one that is true decides `any`, one that is false `all`

    def several(window: Window, previous: Window | None) -> bool | None:
        unknown = False
        for read, compare, threshold in parts:
            value = read(window, previous)
            if value is None:
                unknown = True
            elif compare(value, threshold) is decides:
                return decides
        return None if unknown else not decides

    return several


def verdict_of(rule: Rule) -> Verdict:
    """The function that gives a rule's verdict on a finished window."""
    raises, clears = _holds(rule.raise_when), _holds(rule.clear_when)

    def verdict(window: Window, previous: Window | None) -> int:
        breach = raises(window, previous)
        if breach:
            return BREACH
        clear = clears(window, previous)
        if clear:
            return CLEAR
        return NOTHING if breach is None and clear is None else BETWEEN

    return verdict
