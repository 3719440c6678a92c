"""P1: readings folded per second and core, from a protocol line to windows with their id sets.

Baseline A is what a user of the official sample would write (:mod:`benchmarks.baselines.stock`);
limit D decodes line, envelope and payload into typed objects, checks nothing and folds nothing. The
whole processor, with the segment writer that P1 leaves out, is shown beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from benchmarks.baselines import stock
from benchmarks.measure import Progress, Result, check, interleaved, result
from benchmarks.workloads import ours, traffic
from consumers.kcl.protocol import parse
from ingest.record import Envelope

DEVICES = 500
READINGS = 40_000


class _Reading(Struct, gc=False):
    ts: int
    metrics: dict[str, float | bool]


class _Message(Struct, gc=False):
    v: int
    boot: str
    seq: int
    readings: list[_Reading]


_envelope = msgspec.json.Decoder(Envelope).decode
_message = msgspec.json.Decoder(_Message).decode


def bare(lines: Sequence[bytes]) -> None:
    """Limit D."""
    for one in lines:
        for record in parse(one).records:
            _message(_envelope(record.data).payload)


def whole(lines: Sequence[bytes]) -> None:
    """The processor as a child runs it, stores that cost nothing apart."""
    processor = ours.processor(lambda: 0.0)
    for one in lines:
        processor.process(parse(one).records)
    processor.commit()


def run(progress: Progress) -> Result:
    """Measure with 1 and with 20 readings a message."""
    checks, points = [], []
    for readings in (1, 20):
        progress(f"{readings} readings a message …")
        lines = list(traffic.lines(DEVICES, READINGS // DEVICES // readings, readings))

        def each(work: Callable[[Sequence[bytes]], object], lines: list[bytes] = lines) -> object:
            return work(lines)

        times = interleaved(
            {
                "A": lambda: each(stock.fold),
                "ours": lambda: each(ours.fold),
                "D": lambda: each(bare),
                "whole": lambda: each(whole),
            },
            progress,
        )
        checks += [
            check(
                f"readings folded a second, {readings} a message, against A",
                times["ours"],
                times["A"],
                unit="/s",
                at_least=3.0 if readings == 1 else None,
                scale=lambda seconds: READINGS / seconds,
            ),
            check(
                f"time a reading, {readings} a message, against D",
                times["ours"],
                times["D"],
                unit="µs",
                at_most=2.0,
                scale=lambda seconds: seconds / READINGS * 1e6,
            ),
        ]
        points.append(
            {
                "readings_a_message": readings,
                **{name: samples.median / READINGS * 1e6 for name, samples in times.items()},
            }
        )
    return result("readings folded a second and core", checks, points=points)
