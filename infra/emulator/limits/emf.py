"""What CloudWatch Logs takes out of a line in the embedded metric format. Pure.

Source: CloudWatch user guide, "Specification: Embedded metric format". A line that is no such
document makes no metrics; neither does a directive that names a member which is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

MAX_METRICS: Final = 100
MAX_DIMENSIONS: Final = 30
MAX_VALUES: Final = 100


class Datum(NamedTuple):
    """Values of one metric at a time (s since the epoch), under one set of dimensions."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    unit: str
    at: float
    values: tuple[float, ...]


def metrics_of(message: str) -> list[Datum]:
    """The metrics of a log line; none when it has none.

    >>> metrics_of("2026-11-24 all is well")
    []
    """
    try:
        document = json.loads(message)
        metadata = document["_aws"]
        at = metadata["Timestamp"] / 1000
        directives = metadata["CloudWatchMetrics"]
    except (ValueError, TypeError, KeyError):
        return []
    found: list[Datum] = []
    for directive in directives:
        try:
            found += _of_directive(document, directive, at)
        except (KeyError, TypeError, ValueError):
            continue
    return found


def _of_directive(
    document: Mapping[str, Any], directive: Mapping[str, Any], at: float
) -> list[Datum]:
    """As AWS: all metrics of a directive, or none.

    :raises KeyError, TypeError, ValueError: when the directive is not valid.
    """
    metrics, sets = directive["Metrics"], directive["Dimensions"]
    if len(metrics) > MAX_METRICS or any(len(names) > MAX_DIMENSIONS for names in sets):
        raise ValueError("too many metrics or dimensions in one directive")
    return [
        Datum(directive["Namespace"], metric["Name"], dimensions, metric.get("Unit", "None"), at,
              _values(document[metric["Name"]]))
        for dimensions in _dimensions(document, sets)
        for metric in metrics
    ]  # fmt: skip


def _dimensions(document: Mapping[str, Any], sets: list[list[str]]) -> Iterator[dict[str, str]]:
    for names in sets:
        values = {name: document[name] for name in names}
        if not all(isinstance(value, str) and value for value in values.values()):
            raise ValueError("a dimension's value is a text")
        yield values


def _values(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MAX_VALUES:
        raise ValueError("a metric has 1 to 100 values")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise ValueError("a metric's value is a number")
    return tuple(float(one) for one in values)
