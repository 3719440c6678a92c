"""The state of a CloudWatch alarm from its metric's values. Pure.

Source: CloudWatch user guide, "Evaluating an alarm" and "Configuring how CloudWatch alarms treat
missing data": an alarm looks at its last ``EvaluationPeriods`` periods, and is in ALARM when
``DatapointsToAlarm`` of them breach; what a period without a value counts as is the alarm's own
choice. What AWS does beyond that, looking at some earlier periods when values are missing, is left
out: a state changes here no later than there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

ALARM: Final = "ALARM"
OK: Final = "OK"
INSUFFICIENT: Final = "INSUFFICIENT_DATA"

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def periods(alarm: Mapping[str, Any], now: float) -> list[tuple[float, float]]:
    """The periods that the alarm looks at, oldest first: from and until when (s since the epoch).
    They begin at multiples of the period, and the last one has ended.

    >>> periods({"Period": 60, "EvaluationPeriods": 2}, 130.0)
    [(0.0, 60.0), (60.0, 120.0)]
    """
    period, count = float(alarm.get("Period", 60)), int(alarm.get("EvaluationPeriods", 1))
    end = now // period * period
    return [(end - (i + 1) * period, end - i * period) for i in reversed(range(count))]


def state(alarm: Mapping[str, Any], values: Sequence[float | None]) -> str:
    """The alarm's state, by the value of each of its periods; ``None`` is a period without one.

    :raises ValueError: when the comparison is not one of the four of a single metric.
    """
    breaches = _COMPARISONS.get(str(alarm["ComparisonOperator"]))
    if breaches is None:
        raise ValueError(f"not a comparison of one metric: {alarm['ComparisonOperator']}")
    threshold = float(alarm["Threshold"])
    treatment = alarm.get("TreatMissingData", "missing")
    if treatment == "ignore" and None in values:
        return str(alarm["StateValue"])
    if treatment == "missing" and all(value is None for value in values):
        return INSUFFICIENT
    needed = int(alarm.get("DatapointsToAlarm") or alarm.get("EvaluationPeriods", 1))
    breaching = sum(
        treatment == "breaching" if value is None else breaches(value, threshold)
        for value in values
    )
    return ALARM if breaching >= needed else OK
