"""Signals like those of real sensors, the same for the same seed.

A value is a pure function of (seed, device, metric, time): a daily cycle, drift, steps and
noise, rounded as a sensor rounds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ingest.schemas.schema import Metric, Schema

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Signal:
    """One metric's shape. ``level`` and the amplitudes are in the metric's unit; ``step_s`` is
    how long a step of the level lasts (0: none), ``digits`` how a sensor rounds; a value stays
    between ``low`` and ``high``."""

    level: float
    daily: float = 0.0
    noise: float = 0.0
    drift_per_day: float = 0.0
    step: float = 0.0
    step_s: int = 0
    digits: int = 2
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean that is true in a share of its spells; a spell lasts ``spell_s``."""

    share: float
    spell_s: int


KINDS: Final[Mapping[str, Mapping[str, Signal | Flag]]] = {
    "thermostat": {
        "temperature": Signal(21.0, daily=3.0, noise=0.15, drift_per_day=0.02),
        "humidity": Signal(45.0, daily=-8.0, noise=0.6, digits=1),
        "door_open": Flag(0.08, 45),
    },
    "pump": {
        "pressure": Signal(4.2, daily=0.3, noise=0.05, step=0.8, step_s=900, digits=3),
        "flow": Signal(120.0, daily=25.0, noise=2.5, step=30.0, step_s=900, digits=1),
        "running": Flag(0.7, 300),
    },
    "meter": {
        "power": Signal(950.0, daily=600.0, noise=40.0, step=1500.0, step_s=600, digits=0),
        "voltage": Signal(230.0, daily=2.0, noise=0.4, digits=1),
        "tamper": Flag(0.002, 120),
    },
}
"""The kinds of device, each with its metrics."""

UNITS: Final[Mapping[str, str]] = {
    "temperature": "°C",
    "humidity": "%",
    "pressure": "bar",
    "flow": "l/min",
    "power": "W",
    "voltage": "V",
}
"""What the signals are measured in."""


def kind_of(index: int) -> str:
    """The kind of a fleet's device by its number: all kinds in turn."""
    return list(KINDS)[index % len(KINDS)]


def shapes_of(schema: Schema) -> dict[str, Signal | Flag]:
    """Signals in the ranges of a schema: a daily cycle of half the range, and noise."""
    return {name: _shape(metric) for name, metric in schema.metrics.items()}


def _shape(metric: Metric) -> Signal | Flag:
    if (metric.min, metric.max, metric.unit) == (0.0, 1.0, ""):
        return Flag(0.3, 60)
    low = metric.min if metric.min is not None else min(0.0, (metric.max or 0.0) - 100.0)
    high = metric.max if metric.max is not None else low + 100.0
    span = high - low
    digits = max(0, 3 - math.floor(math.log10(span))) if span else 6
    return Signal(
        (low + high) / 2, daily=span / 4, noise=span / 100, digits=digits, low=low, high=high
    )


def reader(
    seed: int, device: str, kind: str, shapes: Mapping[str, Signal | Flag] | None = None
) -> Callable[[int], dict[str, float | bool]]:
    """A device's sensors: event time (ms) to metrics. ``shapes`` are used in place of the kind's
    signals."""
    metrics = shapes or KINDS[kind]
    keys = {name: _key(seed, device, name) for name in metrics}

    def read(ts: int) -> dict[str, float | bool]:
        return {
            name: _flag(shape, keys[name], ts)
            if isinstance(shape, Flag)
            else _value(shape, keys[name], ts)
            for name, shape in metrics.items()
        }

    return read


def _value(signal: Signal, key: int, ts: int) -> float:
    phase = _unit(key, 0)
    days = ts / _DAY_MS
    value = signal.level * (0.97 + 0.06 * _unit(key, 1))
    value += signal.daily * math.sin(2 * math.pi * (days + phase))
    value += signal.drift_per_day * (days % 30) * (2 * _unit(key, 2) - 1)
    if signal.step_s:
        value += signal.step * (_unit(key, 3 + ts // (signal.step_s * 1000)) - 0.5)
    noise = _unit(key, ts) + _unit(key, ts ^ 0x5555) + _unit(key, ts ^ 0xAAAA) - 1.5
    rounded = round(value + 2 * signal.noise * noise, signal.digits)
    return min(max(rounded, signal.low), signal.high)


def _flag(flag: Flag, key: int, ts: int) -> bool:
    return _unit(key, ts // (flag.spell_s * 1000)) < flag.share


def _key(seed: int, device: str, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{device}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _unit(key: int, n: int) -> float:
    """A number in [0, 1) that looks random (splitmix64's finalizer)."""
    x = (key + n * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)
