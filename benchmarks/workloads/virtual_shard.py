"""One shard in virtual time: the real processor with stores that count what they are sent.

A fortieth of a shard's fleet runs through it, with a fortieth of the limits at which a flush comes
early, so that an hour of a shard that is nearly full takes seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from types import ModuleType
from typing import BinaryIO, Final

from benchmarks.workloads.ours import SHARD, Granted, OpenBucket, stats
from benchmarks.workloads.traffic import BOOT, NOW
from consumers.archive.commit import Archive, Limits
from consumers.hot import tier_windows as hot
from consumers.hot.lateness import LatenessPolicy
from consumers.hot.optimistic import Key, Outcome, Statement, Stored
from consumers.hot.store import HotStore
from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from consumers.record import ShardRecord
from consumers.shard import processor
from consumers.shard.processor import Acknowledger, ShardProcessor
from infra.cost.measured import ROSTER, HotPolicy, HotWrites
from ingest.record import encode_record

SCALE: Final = 40
DEVICES: Final = 10_000
RECORDS_A_SECOND: Final = 1_000
STEP_S: Final = 0.25
"""How often the shard is read."""
WARM_S: Final = 600.0
MEASURED_S: Final = 3600.0


class CountingTables:
    """A hot store that takes everything and counts statements and reads, by kind of item."""

    def __init__(self) -> None:
        self.writes: Counter[str] = Counter()
        self.reads = 0

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        for text, parameters in statements:
            self.writes[_kind(text, parameters)] += 1
        return [Outcome.WRITTEN] * len(statements)

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[Key]
    ) -> tuple[Stored, Sequence[Key]]:
        self.reads += len(keys)
        return {}, ()


class NullSpool:
    """A segment's file without a byte in it: what is measured are the tables."""

    def __init__(self) -> None:
        self.rows = self.records = 0
        self.first: Position | None = None
        self.last: Position | None = None

    def add(self, records: Sequence[ShardRecord]) -> None:
        self.first = self.first or records[0].position
        self.last = records[-1].position
        self.records += len(records)
        self.rows += sum(record.readings or 1 for record in records)

    def finish(self) -> BinaryIO:
        return BytesIO()

    def after(self, last: Position) -> NullSpool:
        raise AssertionError("no other worker writes this shard")

    def close(self) -> None:
        pass


class SilentAcknowledger:
    """Tells no device anything; with it, a commit writes what waits."""

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        pass

    def on_archived(self) -> None:
        pass

    def on_durable(self, calls: int) -> None:
        pass

    def drain(self) -> None:
        pass


def measure(
    policy: HotPolicy,
    every_s: float,
    *,
    devices: int = DEVICES,
    watched: float = 0.0,
    acknowledge: bool = False,
) -> HotWrites:
    """Item writes and reads a message of one reading, on one shard of so many devices (fewer
    where they would send more than a shard takes), each with a message every ``every_s``.
    ``watched`` is the share of the devices that somebody watches; with ``acknowledge`` devices
    are told what is durable."""
    fleet = max(1, round(min(devices, RECORDS_A_SECOND * every_s) / SCALE))
    limits: list[tuple[ModuleType, str]] = [
        (hot, "PENDING_READINGS"), (hot, "OPEN_WINDOWS"), (processor, "UNCHECKPOINTED_RECORDS"),
        (processor, "UNCHECKPOINTED_BYTES"),
    ]  # fmt: skip
    full = [getattr(module, name) for module, name in limits]
    try:
        for (module, name), value in zip(limits, full, strict=True):
            setattr(module, name, value // SCALE)
        return _run(policy, every_s, fleet, watched, SilentAcknowledger() if acknowledge else None)
    finally:
        for (module, name), value in zip(limits, full, strict=True):
            setattr(module, name, value)


def _run(
    policy: HotPolicy,
    every_s: float,
    fleet: int,
    watched: float,
    acknowledger: Acknowledger | None,
) -> HotWrites:
    now = 0.0
    tables = CountingTables()
    store = HotStore(
        tables, windows_table="windows", devices_table="devices", tiers=policy.tiers,
        latest_flush_s=policy.latest_flush_s, now_ms=lambda: NOW, durable=lambda *_: None,
    )  # fmt: skip
    store.watch(frozenset(_name(device) for device in range(round(watched * fleet))))
    limits = Limits(50_000 // SCALE, (16 << 20) // SCALE, policy.segment_age_s)
    shard = ShardProcessor(
        hot=store, archive=Archive(OpenBucket(), SHARD, limits, NullSpool),
        lateness=LatenessPolicy(policy.tiers, 600), checkpointer=Granted(), stats=stats(),
        clock=lambda: now, acknowledger=acknowledger,
    )  # fmt: skip
    messages, start = 0, WARM_S + max(0.0, 2 * every_s)
    before: tuple[Counter[str], int] | None = None
    length = max(MEASURED_S, 4 * every_s)
    for at, records in _arrivals(fleet, every_s, start + length):
        now = at
        if before is None and at >= start:
            before = Counter(tables.writes), tables.reads
        messages += len(records) if before else 0
        shard.process(records)
    assert before is not None, "the run is longer than its warm-up"
    writes = tables.writes - before[0]
    return HotWrites(
        windows={tier.name: writes[tier.name] / messages for tier in policy.tiers},
        roster=writes[ROSTER] / messages,
        reads=(tables.reads - before[1]) / messages,
    )


def _arrivals(
    fleet: int, every_s: float, seconds: float
) -> Iterator[tuple[float, list[StreamRecord]]]:
    """What each read of the shard brings: devices report evenly spread over their interval."""
    sent = 0
    for step in range(1, round(seconds / STEP_S) + 1):
        at = step * STEP_S
        due = int(at / every_s * fleet)
        yield at, [_record(i % fleet, i // fleet, i, i / fleet * every_s) for i in range(sent, due)]
        sent = due


def _name(device: int) -> str:
    return f"dev-{device:06d}"


def _record(device: int, seq: int, number: int, at: float) -> StreamRecord:
    ts = NOW + round(at * 1000)
    payload = b'{"v":1,"boot":"%s","seq":%d,"readings":[{"ts":%d,"metrics":{"t":21.5}}]}'
    return StreamRecord(
        encode_record(payload % (BOOT.encode(), seq, ts), _name(device), ts + 20),
        str(49_600_000_000_000_000_000_000 + number),
        approximate_arrival_timestamp=ts + 20,
    )


def _kind(text: str, parameters: Sequence[object]) -> str:
    """The tier's name, or the roster, by the table and the range key."""
    if '"devices"' in text:
        return ROSTER
    keys = parameters[0:2] if text.startswith("INSERT") else parameters[-3:-1]
    window = keys[1]
    assert isinstance(window, dict), "a key is an attribute value"
    return str(window["S"]).split("#")[0]
