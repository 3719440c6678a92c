"""P16: what one hostile device costs the shard that it is on.

A shard of 1,000 devices at 1,000 records a second for a minute of its own time, and one device more
with as many publishes a second as IoT Core takes from a connection (100, of 20 readings each).
Well behaved, it numbers its readings one after the other. Hostile, no number follows another and
its readings fall into two windows by turns, so that each is a range of ids, until its windows are
full and closed. The whole processor runs, with the segment writer, at freshness ``live``, which
writes most often. The baseline is the same shard with the well behaved device.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from benchmarks.measure import Progress, Result, check, interleaved, result
from benchmarks.workloads import ours
from benchmarks.workloads.traffic import NOW, line, record
from consumers.kcl.protocol import StreamRecord, parse

DEVICES: Final = 1_000
RECORDS_A_SECOND: Final = 1_000
SECONDS: Final = 60
PUBLISHES_A_SECOND: Final = 100
READINGS: Final = 20
MINUTE_MS: Final = 60_000
Numbered = Callable[[int], tuple[int, Sequence[int]]]
"""From the number of a message to its ``seq`` and its readings' times."""


def run(progress: Progress) -> Result:
    """Both shards, in turn."""
    contenders = {
        name: _shard(list(batches(numbered)))
        for name, numbered in (("ours", _hostile), ("baseline", _behaved))
    }
    figures = interleaved(contenders, progress)
    records = SECONDS * (RECORDS_A_SECOND + PUBLISHES_A_SECOND)
    line_ = check(
        "CPU a record of a shard with a hostile device, against a well behaved one",
        figures["ours"], figures["baseline"], unit="µs", at_most=1.1,
        scale=lambda spent: spent / records * 1e6,
    )  # fmt: skip
    return result("one hostile device", [line_])


def _shard(read: Sequence[Sequence[StreamRecord]]) -> Callable[[], None]:
    """A new shard that processes what is read, a tenth of a second at a time."""

    def work() -> None:
        now = 0.0
        processor = ours.processor(lambda: now)
        for records in read:
            now += 0.1
            processor.process(records)
        processor.commit()

    return work


def batches(numbered: Numbered) -> Iterator[Sequence[StreamRecord]]:
    """What each tenth of a second brings."""
    chance = random.Random(16)
    sent = extra = 0
    for tenth in range(SECONDS * 10):
        records = []
        for number in islice(range(sent, sent + RECORDS_A_SECOND), RECORDS_A_SECOND // 10):
            at = NOW + number * 1000 // RECORDS_A_SECOND
            records.append(
                record(f"dev-{number % DEVICES:06d}", number // DEVICES, [at], number, chance)
            )
        sent += RECORDS_A_SECOND // 10
        for _ in range(PUBLISHES_A_SECOND // 10):
            seq, times = numbered(extra)
            records.append(record("dev-more", seq, times, sent + extra, chance))
            extra += 1
        assert len(records) == (RECORDS_A_SECOND + PUBLISHES_A_SECOND) // 10, tenth
        yield parse(line(records)).records


def _behaved(number: int) -> tuple[int, Sequence[int]]:
    at = NOW + number * 1000 // PUBLISHES_A_SECOND
    return number * READINGS, [at + i for i in range(READINGS)]


def _hostile(number: int) -> tuple[int, Sequence[int]]:
    at = NOW + number * 1000 // PUBLISHES_A_SECOND
    times = [at + i - (1 - i % 2) * MINUTE_MS for i in range(READINGS)]  # the newest last
    return number * (READINGS + 1), times
