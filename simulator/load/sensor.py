"""What one virtual device measures, by a clock that may be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from simulator.scenario import Fleet
from simulator.schema_file import schema_at
from simulator.signals import kind_of, reader, shapes_of

Metrics = Mapping[str, float | bool]
Measured = tuple[int, Metrics]
"""Event time (ms since 1970, the device's clock) and metrics of one reading."""


UNLISTED: Final = "unlisted"
"""A metric that no schema has."""
TOO_MUCH: Final = 1e9
"""A value that is in no range."""


class Sensor:
    """Readings of one device. ``jump_ms`` is a clock's error of the moment (ms), on top of the
    one that the device has all the time. Each ``outside_every``-th reading is outside of any schema
    (0: none), and ``on_outside`` is called."""

    def __init__(
        self,
        read: Callable[[int], Metrics],
        skew_ms: int = 0,
        outside_every: int = 0,
        on_outside: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._outside_every = outside_every
        self._on_outside = on_outside
        self._readings = 0
        self._skew_ms = skew_ms
        self._last_ts = 0
        self._wrong: dict[str, Callable[[int, float | bool], float | bool]] = {}
        self.jump_ms = 0

    def take(self, now_ms: int, count: int) -> list[Measured]:
        """``count`` readings at once. Their times differ by 1 ms at least and never go back,
        except while the clock has jumped."""
        taken = []
        now = now_ms + self._skew_ms + self.jump_ms
        for _ in range(count):
            self._last_ts = now if self.jump_ms else max(self._last_ts + 1, now)
            taken.append((self._last_ts, self._metrics(self._last_ts)))
        return taken

    def _metrics(self, ts: int) -> Metrics:
        metrics = self._read(ts)
        if self._wrong:
            metrics = {
                name: self._wrong[name](ts, value) if name in self._wrong else value
                for name, value in metrics.items()
            }
        self._readings += 1
        if not self._outside_every or self._readings % self._outside_every:
            return metrics
        self._on_outside()
        if self._readings // self._outside_every % 2:
            return {**metrics, UNLISTED: 1.0}
        return {**metrics, next(iter(metrics)): TOO_MUCH}

    def stick(self, metric: str) -> None:
        """From the next reading on, repeat its value of a metric."""
        held: list[float | bool] = []

        def repeated(_: int, value: float | bool) -> float | bool:
            if not held:
                held.append(value)
            return held[0]

        self._wrong[metric] = repeated

    def drift(self, metric: str, by: float, seconds: float) -> None:
        """From the next reading on, let a metric be wrong by more and more: by ``by`` after
        ``seconds`` of the device's clock, and no more then."""
        began: list[int] = []

        def drifted(ts: int, value: float | bool) -> float | bool:
            if not began:
                began.append(ts)
            share = (ts - began[0]) / (seconds * 1000)
            return round(value + by * min(1.0, max(0.0, share)), 3)

        self._wrong[metric] = drifted

    def mend(self, metric: str) -> None:
        """A metric is right again."""
        self._wrong.pop(metric, None)

    def set_clock_right(self) -> None:
        """The clock's jump is over; times may go back now."""
        self.jump_ms = self._last_ts = 0


def sensor_of(
    fleet: Fleet,
    index: int,
    name: str,
    seed: int,
    rows: Iterator[Metrics] | None,
    on_outside: Callable[[], None] = lambda: None,
) -> Sensor:
    """The sensor of a fleet's device: the rows of a replay where there is one, else signals in the
    ranges of its schema, else those of its type; the type ``mixed`` gives the devices all types in
    turn."""
    skew_s = random.Random(f"{seed}/{name}/skew").uniform(*fleet.faults.clock_skew_s)
    if rows is not None:
        read: Callable[[int], Metrics] = lambda _: next(rows)  # noqa: E731
    else:
        kind = kind_of(index) if fleet.type == "mixed" else fleet.type
        shapes = shapes_of(schema_at(fleet.schema)) if fleet.schema else None
        read = reader(seed, name, kind, shapes)
    return Sensor(read, round(skew_s * 1000), fleet.faults.outside_every, on_outside)
