"""What one virtual device measures, by a clock that may be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from simulator.scenario import Fleet
from simulator.signals import kind_of, reader

Metrics = Mapping[str, float | bool]
Measured = tuple[int, Metrics]
"""Event time (ms since 1970, the device's clock) and metrics of one reading."""


class Sensor:
    """Readings of one device. ``jump_ms`` is a clock's error of the moment (ms), on top of the
    one that the device has all the time."""

    def __init__(self, read: Callable[[int], Metrics], skew_ms: int = 0) -> None:
        self._read = read
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
        if not self._wrong:
            return metrics
        return {
            name: self._wrong[name](ts, value) if name in self._wrong else value
            for name, value in metrics.items()
        }

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
    fleet: Fleet, index: int, name: str, seed: int, rows: Iterator[Metrics] | None
) -> Sensor:
    """The sensor of a fleet's device: the rows of a replay where there is one, else the signals
    of its type; the type ``mixed`` gives the devices all types in turn."""
    skew_s = random.Random(f"{seed}/{name}/skew").uniform(*fleet.faults.clock_skew_s)
    if rows is not None:
        return Sensor(lambda _: next(rows), round(skew_s * 1000))
    kind = kind_of(index) if fleet.type == "mixed" else fleet.type
    return Sensor(reader(seed, name, kind), round(skew_s * 1000))
