"""Which devices a rule can be met by at all, from the least and the greatest value of each.

A back-test folds readings one by one, as a worker does. Most devices are far from a threshold, and
that is told by one look at their values as columns, without a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from consumers.alerts.rules import Comparison, Condition, Rule
from lake.replay.rows import Selection, accepted

COLUMNS: Final = ("device_id", "ts", "metrics", "disposition")

_OF_VALUES: Final = frozenset({"mean", "min", "max", "first", "last", "share_true"})
"""Statistics that lie between the least and the greatest value of their window."""
_OF_RANGE: Final = frozenset({"change", "stddev"})
"""Statistics that are not above the difference of the greatest and the least."""
_MOST_PARTS: Final = 64
_SLACK: Final = 1e-9
"""By how much of itself a mean may be rounded beyond the values that it is of."""


class Extents:
    """The least and the greatest value of some metrics, of every device that has any reading."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = sorted(set(metrics))
        self._parts: list[Any] = []

    def add(self, rows: Any, selection: Selection) -> None:
        """Take the accepted rows of an Arrow table (:data:`COLUMNS`) into account."""
        rows = accepted(rows, selection)
        if not rows.num_rows:
            return
        maps = rows.column("metrics").combine_chunks()
        values = {name: _values(maps, name) for name in self._metrics}
        self._parts.append(_extents(pa.table({"device": rows.column("device_id"), **values})))
        if len(self._parts) == _MOST_PARTS:
            self._parts = [self._whole()]

    def devices(self) -> list[str]:
        """Every device that has a reading."""
        return self._whole()["device"].to_pylist() if self._parts else []

    def reach(self, rule: Rule) -> set[str]:
        """The devices of which a window may meet what raises a rule."""
        if not self._parts:
            return set()
        whole = self._whole()
        passes = _condition(whole, rule.raise_when)
        return set(whole["device"].filter(passes).to_pylist())

    def _whole(self) -> Any:
        table = pa.concat_tables(self._parts)
        names = [(f"{name}_{end}", end) for name in self._metrics for end in ("min", "max")]
        merged = table.group_by("device", use_threads=False).aggregate(names)
        return merged.rename_columns(["device", *(name for name, _ in names)])


def metrics_of(rule: Rule) -> list[str]:
    """The metrics that a rule looks at to raise."""
    return [one.metric for one in rule.raise_when.comparisons if one.metric]


def _values(maps: Any, name: str) -> Any:
    """A metric's value of each row, null where there is none."""
    return pc.map_lookup(maps, pa.scalar(name), "first")


def _extents(table: Any) -> Any:
    names = [name for name in table.column_names if name != "device"]
    aggregates = [(name, end) for name in names for end in ("min", "max")]
    return table.group_by("device", use_threads=False).aggregate(aggregates)


def _condition(whole: Any, condition: Condition) -> Any:
    parts = [_may_hold(whole, one) for one in condition.comparisons]
    joined = parts[0]
    for part in parts[1:]:
        joined = pc.and_(joined, part) if condition.all_of else pc.or_(joined, part)
    return joined


def _may_hold(whole: Any, one: Comparison) -> Any:
    """Whether a comparison can be true of any window, for each device; true where nothing tells."""
    everybody = pa.array([True] * whole.num_rows)
    if one.statistic not in _OF_VALUES | _OF_RANGE:
        return everybody
    least, greatest = whole[f"{one.metric}_min"], whole[f"{one.metric}_max"]
    slack = pc.multiply(pc.max_element_wise(pc.abs(least), pc.abs(greatest)), _SLACK)
    upwards = one.operator in (">", ">=")
    if one.statistic not in _OF_RANGE:
        reached = (
            pc.greater_equal(pc.add(greatest, slack), one.threshold)
            if upwards
            else pc.less_equal(pc.subtract(least, slack), one.threshold)
        )
    elif one.statistic == "stddev" and not upwards:
        reached = pc.is_valid(least)
    else:
        span = pc.add(pc.subtract(greatest, least), slack)
        reached = pc.greater_equal(span, one.threshold if upwards else -one.threshold)
    return pc.fill_null(reached, False)
