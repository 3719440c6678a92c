"""The compactor: readings of the archive, once each and sorted, in the Iceberg table ``readings``.

The order of one commit, and why it can be killed anywhere:

1. Read the positions in the table's newest snapshot, and list what follows them in the archive.
2. Of a chunk of these segments, sort the readings that the table has not yet into new files.
3. Write the files under names that nobody has used, and the list of all files of the new snapshot.
4. Commit the files, the list and the new positions in one snapshot, on condition that the snapshot
   of step 1 is still the newest.

Until step 4 no reader sees anything of it; after it, all of it. A writer that lost begins again at
step 1. Files of a commit that failed are in no snapshot and are never read. Merging the files of a
day is the same without new segments: the positions stay, and the old files leave the table in the
snapshot in which the new ones come.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table import Table

from lake.archive.segments import list_segments
from lake.catalog.config import FOLDER, READINGS, CatalogConfig
from lake.catalog.index import INDEX, CompactedFile, decode, encode, new_index_key
from lake.catalog.positions import Reached, oldest_hour, reached_in, summary_of
from lake.catalog.tables import summary, table_of
from lake.compaction.coded import CodedFile
from lake.compaction.files import SortedFile, write_files
from lake.compaction.known import KnownIdentities
from lake.compaction.merging import SINGLE_ROWS, WHOLE_DEVICES, merged
from lake.compaction.order import unknown_firsts
from lake.compaction.plan import FILE_BYTES, Day, days_to_merge, of_days
from lake.compaction.runs import BATCH_ROWS, Run, Source, write_runs
from lake.librarian.plan import Batch, batches
from lake.librarian.sync import ATTEMPTS, BusyError, Step
from lake.sql.object_files import ObjectFiles
from lake.sql.segment_files import SegmentFiles

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES: Final = 128 * 1024 * 1024
"""Bytes of segments in one commit (some thirty million readings): what bounds the disk in use."""
CHUNK_SEGMENTS: Final = 20_000
_RUNS: Final = 5
"""How often a run's rows must fit into the memory: while it is sorted, they are there three times,
and what decodes the next segments is beside them."""


class Limits(NamedTuple):
    """What a run may take: memory for rows (bytes), threads that decode segments; bytes of a chunk
    and of a file."""

    memory: int = 600_000_000
    threads: int = 2
    chunk_bytes: int = CHUNK_BYTES
    file_bytes: int = FILE_BYTES


class Done(NamedTuple):
    """What a run did: segments taken in, readings added, days merged, commits made."""

    segments: int = 0
    readings: int = 0
    merged_days: int = 0
    commits: int = 0


class Compactor:
    """Compacts the archive of one bucket into one catalog."""

    def __init__(
        self,
        catalog: Catalog,
        config: CatalogConfig,
        s3: S3Client,
        bucket: str,
        *,
        retention_hours: int,
        limits: Limits = Limits(),  # noqa: B008  # a value
        step: Step = lambda _: None,
        progress: Callable[[Done], object] = lambda _: None,
    ) -> None:
        """``retention_hours``: how long the stream keeps records. ``step`` is told each step before
        the next begins; tests raise in it."""
        self._catalog = catalog
        self._config = config
        self._s3 = s3
        self._bucket = bucket
        self._retention_hours = retention_hours
        self._limits = limits
        self._step = step
        self._progress = progress
        self._objects = ObjectFiles(s3, bucket)
        self.done = Done()

    def run(self, now_ms: int) -> Done:
        """Take in every segment that is committed now, then merge days that have become many files.

        :raises BusyError: when other writers won each attempt.
        """
        for _ in range(ATTEMPTS):
            try:
                self._take_in(now_ms)
                self._merge(now_ms)
            except CommitFailedException:
                self._step("lost")
            else:
                return self.done
        raise BusyError("other writers are at work on the catalog's table: run it again")

    def _take_in(self, now_ms: int) -> None:
        table = table_of(self._catalog, self._config, READINGS)
        reached = reached_in(summary(table))
        self._step("loaded")
        segments = list_segments(self._s3, self._bucket, start_ms=reached.start_ms)
        self._step("listed")
        hour = oldest_hour(now_ms, self._retention_hours)
        limits = self._limits
        for batch in batches(segments, reached, hour, CHUNK_SEGMENTS, limits.chunk_bytes):
            with tempfile.TemporaryDirectory(prefix="penstock-compact-") as folder:
                self._add(table, batch, Path(folder))

    def _add(self, table: Table, batch: Batch, folder: Path) -> None:
        known = self._files(table)
        runs = defaultdict[int, list[Run]](list)
        for run in self._runs(batch, folder):
            runs[run.day].append(run)
        self._step("sorted")
        new: list[SortedFile] = []
        for day, mine in sorted(runs.items()):
            found = self._identities(of_days(known, [day]))
            rows = merged([one.batches() for one in mine], WHOLE_DEVICES)
            fresh = (unknown_firsts(one, found.near(one)) for one in rows)
            new += write_files(fresh, day, folder, self._limits.file_bytes)
        self._step("written")
        self._commit(table, known, (), new, batch.reached)
        self._count(segments=len(batch.segments), readings=sum(one.rows for one in new))

    def _runs(self, batch: Batch, folder: Path) -> list[Run]:
        copies = SegmentFiles(self._s3, self._bucket)
        try:
            paths = copies.fetch(batch.segments)
            shards = (one.shard for one in batch.segments)
            sources = [Source(*one) for one in zip(paths, shards, strict=True)]
            limits = self._limits
            return list(write_runs(sources, folder, limits.memory // _RUNS, limits.threads))
        finally:
            copies.close()

    def _identities(self, files: Iterable[CompactedFile]) -> KnownIdentities:
        paths = (self._objects.add(one.key, one.size) for one in files)
        return KnownIdentities(CodedFile(self._objects.open(path)) for path in paths)

    def _merge(self, now_ms: int) -> None:
        table = table_of(self._catalog, self._config, READINGS)
        for day in days_to_merge(self._files(table), now_ms, self._limits.file_bytes):
            with tempfile.TemporaryDirectory(prefix="penstock-compact-") as folder:
                self._merge_day(table, day, Path(folder))

    def _merge_day(self, table: Table, day: Day, folder: Path) -> None:
        known = self._files(table)
        copies = [self._copy(one, folder) for one in day.files]
        rows = merged([CodedFile(one).batches(BATCH_ROWS) for one in copies], SINGLE_ROWS)
        new = list(write_files(rows, day.day, folder, self._limits.file_bytes))
        self._step("merged")
        self._commit(table, known, day.files, new, reached_in(summary(table)))
        self._count(merged_days=1)

    def _copy(self, file: CompactedFile, folder: Path) -> Path:
        path = folder / file.key.rpartition("/")[2]
        answer = self._s3.get_object(Bucket=self._bucket, Key=file.key)
        with path.open("wb") as copy:
            shutil.copyfileobj(answer["Body"], copy, 1024 * 1024)
        return path

    def _commit(
        self, table: Table, known: Sequence[CompactedFile], old: Iterable[CompactedFile],
        new: Sequence[SortedFile], reached: Reached,
    ) -> None:  # fmt: skip
        """Steps 3 and 4."""
        added = [self._upload(one) for one in new]
        self._step("uploaded")
        gone = {one.key for one in old}
        files = [one for one in known if one.key not in gone] + added
        index = new_index_key(uuid.uuid4().hex)
        self._s3.put_object(Bucket=self._bucket, Key=index, Body=encode(files))
        self._step("indexed")
        properties = {**summary_of(reached), INDEX: index}
        locations = {self._location(key) for key in gone}
        with table.transaction() as transaction:
            update = transaction.update_snapshot(snapshot_properties=properties)
            with update.overwrite() if gone else update.fast_append() as snapshot:
                for task in table.scan().plan_files() if gone else ():
                    if task.file.file_path in locations:
                        snapshot.delete_data_file(task.file)
                paths = (self._location(one.key) for one in added)
                for file in parquet_files_to_data_files(table.io, table.metadata, paths):
                    snapshot.append_data_file(file)
            self._step("prepared")
        self._step("committed")

    def _upload(self, one: SortedFile) -> CompactedFile:
        name = f"{FOLDER}/{READINGS}/data/day={one.day}/{uuid.uuid4().hex}.parquet"
        with one.path.open("rb") as body:
            self._s3.put_object(Bucket=self._bucket, Key=name, Body=body)
        one.path.unlink()
        return CompactedFile(name, *one[1:])

    def _files(self, table: Table) -> list[CompactedFile]:
        """The files of the newest snapshot, by its list."""
        key = summary(table).get(INDEX)
        if key is None:
            return []
        return decode(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def _location(self, key: str) -> str:
        return f"{self._config.root}/{key}"

    def _count(self, *, segments: int = 0, readings: int = 0, merged_days: int = 0) -> None:
        done = self.done
        self.done = Done(
            done.segments + segments, done.readings + readings,
            done.merged_days + merged_days, done.commits + 1,
        )  # fmt: skip
        self._progress(self.done)
