"""The invariants of design §3 on what a schedule left in the stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from consumers.kcl.protocol import StreamRecord
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record
from simulator.verification.ledger import OK
from simulator.verification.observe import Observed
from simulator.verification.oracle import Rules
from simulator.verification.verifier import verify
from tests.chaos.schedules.child import POISON
from tests.chaos.schedules.services import Services
from tests.chaos.schedules.stream import Stream, StreamShard
from tests.chaos.schedules.traffic import CLOCK_AHEAD_S, Traffic
from tests.harness.shard import NOW, TIERS


class Invariants:
    """Compares the stores with the stream and with what was sent."""

    def __init__(self, services: Services, stream: Stream, traffic: Traffic) -> None:
        self.services = services
        self._stream = stream
        self._traffic = traffic

    def not_durable(self, shard: StreamShard, until: int) -> Iterator[str]:
        """K: all up to a checkpoint is archived, and its good readings are in their windows; the
        first violation."""
        rows = {
            (row.sequence_number, row.sub_sequence): row
            for row in self.services.rows()
            if row.shard_id == shard.name
        }
        for record in shard.records[:until]:
            if (record.sequence_number, record.sub_sequence_number) not in rows:
                yield f"K: {shard.name}: checkpoint past {record.sequence_number}, not archived"
                return
        held = self._held()
        rules = Rules(TIERS, CLOCK_AHEAD_S)
        for record in shard.records[:until]:
            for identity, ts, metrics in _readings(record):
                good = POISON not in metrics and rules.disposition(ts, metrics, NOW) == OK
                if good and identity not in held and identity not in self._traffic.poisoned:
                    yield f"K: {shard.name}: checkpoint past reading {identity}, not durable"
                    return

    def _held(self) -> set[tuple[str, str, int]]:
        return {
            (device, boot, number)
            for (device, _), item in self.services.dynamo.tables.get("windows", {}).items()
            for boot, text in item["ids"]["M"].items()
            for number in _numbers(text["S"])
        }

    def at_the_end(self) -> list[str]:
        """H, A, C: what is there against what was sent."""
        rows = self.services.rows()
        found = list(self._misplaced(rows))
        internal = Counter(
            (row.device_id or "", row.boot or "", row.seq or 0)
            for row in rows
            if row.disposition == "internal_error"
        )
        if internal != self._traffic.poisoned:
            found.append("C: poisoned records are not accounted for")
        tables = self.services.dynamo.tables
        observed = Observed(
            windows={
                (device, name): item for (device, name), item in tables.get("windows", {}).items()
            },
            devices={device: item for (device,), item in tables.get("devices", {}).items()},
            rows=[row for row in rows if row.disposition != "internal_error"],
            objects=len(self.services.objects),
        )
        report = verify(
            self._traffic.entries,
            observed,
            Rules(TIERS, CLOCK_AHEAD_S),
            now_s=NOW / 1000,
            exclusive=True,
        )
        return found + ([] if report.exact else [f"H/A/C: {d}" for d in report.differences])

    def _misplaced(self, rows: Any) -> Iterator[str]:
        """A: every record of the stream is archived, once and whole, and nothing else is."""
        archived: Counter[tuple[str, str, int, int | None]] = Counter(
            (row.shard_id, row.sequence_number, row.sub_sequence, row.reading) for row in rows
        )
        wanted = Counter(
            (shard.name, record.sequence_number, record.sub_sequence_number or 0, index)
            for shard in self._stream.shards
            for record in shard.records
            for index in _indexes(record)
        )
        for place in sorted((archived - wanted).keys(), key=repr)[:3]:
            yield f"A: {place} is archived {archived[place]} times, expected {wanted[place]}"
        for place in sorted((wanted - archived).keys(), key=repr)[:3]:
            yield f"A: {place} is not archived"


def _readings(
    record: StreamRecord,
) -> Iterator[tuple[tuple[str, str, int], int, dict[str, float]]]:
    """Identity, event time and metrics of a record's readings, none when it is garbage."""
    envelope = decode_record(record.data)
    message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
    if isinstance(envelope, Envelope) and isinstance(message, Message):
        for i, reading in enumerate(message.readings):
            identity = (envelope.device_id, message.boot, message.seq + i)
            yield identity, reading.ts, dict(reading.metrics)


def _indexes(record: StreamRecord) -> list[int | None]:
    return list(range(sum(1 for _ in _readings(record)))) or [None]


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
