"""A4: an alert rule on the archive of a day of 10,000 devices, on one core.

Each device sends a reading of three metrics a minute: 14.4 million readings in segments of the
default size, in memory. One in a hundred has an hour in which it is too hot, which the rule finds.
The figure is CPU time of the whole process, the threads that fetch included. The second line is for
rules that every reading has to be folded for (``n()``): it has no target.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Progress, Result, Samples, cpu_seconds, limit, result
from benchmarks.workloads import ours
from benchmarks.workloads.traffic import BOOT, NOW
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from consumers.archive.parquet import FORMAT, SCHEMA
from consumers.archive.segment_key import object_key
from consumers.kcl.position import position
from ingest.tiers import DEFAULT_TIERS
from lake.archive.segments import Segment, segment_of
from lake.backtest.backtest import Backtest, Backtester
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource

DEVICES: Final = 10_000
MINUTES: Final = 24 * 60
MINUTES_A_SEGMENT: Final = 5
"""So many rows as a segment has at most."""
HOT_EVERY: Final = 100
HOT_FROM, HOT_TO = 600, 660
FOLDED: Final = 500
RUNS: Final = 3
TARGET_S: Final = 30.0
MINUTE_MS: Final = 60_000
DAY: Final = Selection(NOW, NOW + MINUTES * MINUTE_MS)


class Day:
    """The archive of a day in memory, as :class:`lake.replay.source.Segments`."""

    def __init__(self, progress: Progress) -> None:
        self._chance = np.random.default_rng(4)
        self._names = pa.array([f"dev-{number:06d}" for number in range(DEVICES)])
        self._objects: dict[str, bytes] = {}
        for first in range(0, MINUTES, MINUTES_A_SEGMENT):
            if first % 60 == 0:
                progress(f"the archive is made: hour {first // 60} of 24")
            sequence = 49_600_000_000_000_000_000_000 + first * DEVICES
            arrived = NOW + first * MINUTE_MS
            key = object_key(ours.SHARD, position(str(sequence), 0), arrived // 3_600_000)
            self._objects[key] = self._segment(first, sequence)

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(map(len, self._objects.values()))

    def arrived(self, start_ms: int, end_ms: int | None) -> Sequence[Segment]:
        found = (segment_of(key, len(body)) for key, body in self._objects.items())
        return [segment for segment in found if segment is not None]

    def open(self, segment: Segment) -> Any:
        return pq.ParquetFile(io.BytesIO(self._objects[segment.key]), pre_buffer=False)

    def _segment(self, first: int, sequence: int) -> bytes:
        rows = MINUTES_A_SEGMENT * DEVICES
        device = np.tile(np.arange(DEVICES), MINUTES_A_SEGMENT)
        minute = first + np.repeat(np.arange(MINUTES_A_SEGMENT), DEVICES)
        ts = NOW + minute * MINUTE_MS + device * (MINUTE_MS // DEVICES)
        hot = (device % HOT_EVERY == 0) & (minute >= HOT_FROM) & (minute < HOT_TO)
        values = np.column_stack(
            [
                np.round(self._chance.normal(21.5, 0.5, rows) + 20.0 * hot, 2),
                np.round(self._chance.normal(44.0, 2.0, rows), 1),
                (self._chance.random(rows) < 0.05).astype(float),
            ]
        )
        keys = pa.DictionaryArray.from_arrays(
            np.tile(np.arange(3, dtype=np.int32), rows),
            ["temperature", "humidity", "door_open"],
        ).cast(pa.string())
        offsets = pa.array(np.arange(0, 3 * rows + 1, 3, dtype=np.int32))
        columns = {
            "device_id": self._names.take(pa.array(device)),
            "ts": ts,
            "boot": pa.array([BOOT]).take(pa.array(np.zeros(rows, np.int32))),
            "seq": minute,
            "metrics": pa.MapArray.from_arrays(offsets, keys, pa.array(values.ravel())),
            "received_at": ts + 20,
            "arrived_at": ts + 50,
            "shard_id": pa.array([ours.SHARD]).take(pa.array(np.zeros(rows, np.int32))),
            "sequence_number": pa.array([str(sequence + row) for row in range(rows)]),
            "sub_sequence": np.zeros(rows, np.int64),
            "reading": np.zeros(rows, np.int32),
            "disposition": pa.array(["ok"]).take(pa.array(np.zeros(rows, np.int32))),
            "raw": pa.nulls(rows, pa.binary()),
        }
        table = pa.table({name: _cast(columns[name], SCHEMA.field(name).type) for name in columns})
        body = io.BytesIO()
        with pq.ParquetWriter(body, SCHEMA, **FORMAT) as writer:
            writer.write_table(table, row_group_size=DEVICES)
        return body.getvalue()


def _cast(column: Any, kind: Any) -> Any:
    array = column if isinstance(column, pa.Array) else pa.array(column)
    return array.cast(pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else array.cast(kind)


def rule(when: str) -> Rule:
    """A rule on minutes."""
    return parse_rules(f'[[rule]]\nname = "measured"\nwhen = "{when}"\n')[0][2]


def back_tested(day: Day, of: Rule, selection: Selection) -> Backtest:
    """A back-test as the command runs it: without the collector of circles."""
    gc.disable()
    try:
        source = ArchiveSource(day, clock_ahead_s=600)
        return Backtester(source, {one.name: one for one in DEFAULT_TIERS}).run(of, selection)
    finally:
        gc.enable()


def run(progress: Progress) -> Result:
    """Measure a threshold on all devices, and a rule that is folded for on some."""
    day = Day(progress)
    threshold, counting = rule("max(temperature) > 35"), rule("n() > 1")
    some = DAY._replace(devices=frozenset(f"dev-{n:06d}" for n in range(FOLDED)))
    seconds, folded = [], []
    found: list[Backtest] = []
    for number in range(RUNS):
        progress(f"run {number + 1} of {RUNS} …")
        seconds.append(cpu_seconds(lambda: found.append(back_tested(day, threshold, DAY))))
        folded.append(cpu_seconds(lambda: back_tested(day, counting, some)))
    assert {one.alarms for one in found} == {DEVICES // HOT_EVERY}
    return result(
        "CPU of a back-test of a day of 10,000 devices, a reading a minute each",
        [
            limit("max(temperature) > 35, one device in a hundred is met", Samples(seconds),
                  unit="s", at_most=TARGET_S),
            {
                **limit(f"n() > 1, each reading of {FOLDED} devices folded", Samples(folded),
                        unit="s", at_most=TARGET_S),
                "target": "", "met": None,
            },
        ],
        readings=DEVICES * MINUTES,
        archive_bytes=day.size,
    )  # fmt: skip
