"""The lake's tables on a folder, and what they must hold: computed without any of their code."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from consumers.archive.segment_key import HOUR_MS
from consumers.record import ShardRecord
from lake.archive.segments import Segment, list_segments
from lake.catalog.config import READINGS, RECORDS, open_catalog
from lake.catalog.positions import Reached, reached_in
from lake.catalog.tables import summary
from lake.compaction.compact import Compactor, Done, Limits
from lake.librarian.sync import Synced, sync
from tests.harness.lake import BUCKET, FolderBucket, commit, message
from tests.harness.shard import NOW

RETENTION_HOURS = 24
DAY_MS = 24 * HOUR_MS
SHARDS = ("shardId-000000000000", "shardId-000000000001")
Identity = tuple[str, str, int, int]
"""Device, boot, number, and the day of the reading's time."""


class KilledError(Exception):
    """Stands for the end of a process at a step."""


def killed_at(step: str, times: int = 1) -> Callable[[str], None]:
    """Dies the n-th time that a step is reached."""
    passed = Counter[str]()

    def at(name: str) -> None:
        passed[name] += 1
        if name == step and passed[name] == times:
            raise KilledError(step)

    return at


class World(NamedTuple):
    """An archive that grows, with what was archived of it."""

    bucket: FolderBucket
    rng: random.Random
    archived: dict[str, list[ShardRecord]]
    """Records by the key of their segment."""

    def grow(self, hour: int, segments: int = 1) -> None:
        """Workers commit more segments of each shard, in an hour after ``NOW``: new readings,
        repeated ones, some of yesterday, some rejected."""
        for shard in SHARDS:
            for _ in range(segments):
                records = [self._message(hour) for _ in range(self.rng.randrange(1, 8))]
                key = commit(self.bucket, records, shard)
                self.archived[key] = records

    def _message(self, hour: int) -> ShardRecord:
        rng = self.rng
        self.bucket.last_number += rng.choice([1, 7, 900])
        number = self.bucket.last_number
        seq, count = rng.randrange(30), rng.randrange(1, 4)
        day = rng.choice([0, 0, 0, -DAY_MS])
        kind: Any = rng.choice(["ok", "ok", "ok", "ok", "late"])
        return message(number, f"dev-{rng.randrange(4)}", seq, count, ts=NOW + day + seq * 1000,
                       arrived_at=NOW + hour * HOUR_MS, disposition=kind)  # fmt: skip

    def accepted(self, keys: Iterable[str]) -> set[Identity]:
        """The distinct accepted identities in some segments."""
        return {
            (record.device or "", "boot-one", seq, ts // DAY_MS)
            for key in keys
            for record in self.archived[key]
            if record.disposition == "ok"
            for seq, ts in _readings(record)
        }

    def sync(self, hour: int, step: Callable[[str], object] = lambda _: None) -> Synced:
        s3: Any = self.bucket
        return sync(
            open_catalog(self.bucket.config), self.bucket.config, s3, BUCKET,
            now_ms=NOW + hour * HOUR_MS, retention_hours=RETENTION_HOURS, step=step,
        )  # fmt: skip

    def compact(
        self, hour: int, step: Callable[[str], object] = lambda _: None, **limits: Any
    ) -> Done:
        catalog = open_catalog(self.bucket.config)
        compactor = Compactor(catalog, self.bucket.config, self.bucket, BUCKET,  # type: ignore[arg-type]
                              retention_hours=RETENTION_HOURS, step=step,
                              limits=Limits(memory=20_000, threads=1, **limits))  # fmt: skip
        return compactor.run(NOW + hour * HOUR_MS)

    def table(self, name: str) -> Any:
        return open_catalog(self.bucket.config).load_table(self.bucket.config.table(name))

    def has(self, name: str) -> bool:
        return open_catalog(self.bucket.config).table_exists(self.bucket.config.table(name))

    def readings(self, snapshot: int | None = None) -> list[Identity]:
        """What an Iceberg reader finds in ``readings``: PyIceberg with PyArrow, no code of ours."""
        rows = self.table(READINGS).scan(snapshot_id=snapshot).to_arrow()
        return [
            (device, boot, seq, int(ts.timestamp() * 1000) // DAY_MS)
            for device, boot, seq, ts in zip(
                *(rows[name].to_pylist() for name in ("device_id", "boot", "seq", "ts")),
                strict=True,
            )
        ]

    def records(self, snapshot: int | None = None) -> Counter[str]:
        """The sequence numbers that an Iceberg reader finds in ``records``, with their rows."""
        rows = self.table(RECORDS).scan(snapshot_id=snapshot).to_arrow()
        return Counter(rows["sequence_number"].to_pylist())

    def rows_of(self, keys: Iterable[str]) -> Counter[str]:
        """What the archive has of these segments."""
        return Counter(
            record.sequence_number
            for key in keys
            for record in self.archived[key]
            for _ in _readings(record)
        )

    def reached(self, name: str) -> Reached:
        return reached_in(summary(self.table(name)))

    def keys_up_to(self, reached: Reached) -> list[str]:
        """The keys of the segments that positions say are in a table."""
        listed: list[Segment] = list_segments(self.bucket, BUCKET)  # type: ignore[arg-type]
        return [one.key for one in listed if reached.has(one)]


def _readings(record: ShardRecord) -> list[tuple[int, int]]:
    body = json.loads(record.payload)
    return [(body["seq"] + i, one["ts"]) for i, one in enumerate(body["readings"])]


def world(folder: Any, seed: int) -> World:
    """An archive without segments in a folder."""
    return World(FolderBucket(folder / "bucket"), random.Random(seed), {})
