"""Real measurements, played back as devices.

A table, CSV or Parquet, with a column ``device``, any number of numeric columns, and optionally
``ts``, which orders the rows. Each device of a fleet plays the rows of one of the file's devices,
over and over, at the fleet's rate and with the time at which it does.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from simulator.errors import ScenarioError

_NOT_METRICS: Final = frozenset({"device", "ts"})


class Replay:
    """The file's devices, each with its rows."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], where: str) -> None:
        """:raises ScenarioError: when there is nothing to play."""
        devices: dict[str, list[tuple[float, dict[str, float]]]] = defaultdict(list)
        for number, row in enumerate(rows):
            if not row.get("device"):
                raise ScenarioError(f"{where}: row {number + 1} has no device")
            metrics = _metrics(row, f"{where}: row {number + 1}")
            if metrics:
                devices[str(row["device"])].append((_order(row, number), metrics))
        if not devices:
            raise ScenarioError(f"{where} has no measurements")
        self._devices = [
            [metrics for _, metrics in sorted(found, key=lambda one: one[0])]
            for _, found in sorted(devices.items())
        ]

    @classmethod
    def load(cls, path: Path) -> Replay:
        """Read a file.

        :raises ScenarioError: when it is not there, or not such a table.
        """
        if not path.is_file():
            raise ScenarioError(f"there is no file {path} to replay")
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return cls(pq.read_table(path).to_pylist(), str(path))
        with path.open(newline="") as file:
            return cls(csv.DictReader(file), str(path))

    def of(self, index: int) -> Iterator[dict[str, float]]:
        """The rows that a fleet's device of this number plays, without end."""
        return cycle(self._devices[index % len(self._devices)])


def _order(row: Mapping[str, Any], number: int) -> float:
    ts = row.get("ts")
    if ts in (None, ""):
        return float(number)
    if hasattr(ts, "timestamp"):
        return float(ts.timestamp())
    try:
        return float(str(ts))
    except ValueError:
        return float(number)  # a text that is no number: the file's own order


def _metrics(row: Mapping[str, Any], where: str) -> dict[str, float]:
    found = {}
    for name, value in row.items():
        if name in _NOT_METRICS or value is None or value == "":
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ScenarioError(f"{where}: {name} is no number: {value!r:.40}") from None
        if math.isfinite(number):
            found[name] = number
    return found
