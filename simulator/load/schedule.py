"""When a device's messages are due: a function of the phases and of chance, without a clock.

The messages of a device are counted, not timed: message *k* is due when the integral of the rate
over time reaches *k* plus the device's offset, drawn from 0 to 1. A phase of 20 s at 2 messages/s
has exactly 40 messages for each device, whatever the offset and the jitter.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from simulator.scenario import Fleet, Segment


def due_times(fleet: Fleet, chance: random.Random, *, since: float = 0.0) -> Iterator[float]:
    """The times (s from the start of the fleet) of one device's messages, in the order of the
    messages; those due before ``since`` are left out. ``jitter`` moves each by up to half of
    that share of an interval, within the run."""
    number = chance.random()
    before = 0.0
    for segment in fleet.segments():
        after = before + _messages(segment)
        while number < after:
            into = _time_of(segment, number - before)
            rate = segment.first + (segment.last - segment.first) * into / segment.seconds
            shift = chance.uniform(-0.5, 0.5) * fleet.jitter / max(rate, 0.2)
            at = min(max(0.0, segment.start + into + shift), fleet.seconds)
            if at >= since:
                yield at
            number += 1
        before = after


def _messages(segment: Segment) -> float:
    return (segment.first + segment.last) / 2 * segment.seconds


def _time_of(segment: Segment, messages: float) -> float:
    """Seconds into a segment after which so many messages are due: the inverse of
    ``first * t + slope * t² / 2``."""
    slope = (segment.last - segment.first) / segment.seconds
    if abs(slope) < 1e-12:
        return messages / segment.first
    root = math.sqrt(max(0.0, segment.first**2 + 2 * slope * messages))
    return (root - segment.first) / slope
