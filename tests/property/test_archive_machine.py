"""The archive's commit protocol as a state machine: workers that share a shard and know nothing of
each other, an S3 that loses replies, and restarts from whatever is committed."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumers.archive.commit import Archive, Limits
from consumers.record import ShardRecord
from ingest.message import Message, Reading, encode
from tests.harness.segment_buffer import MemoryBuffer, decode_rows
from tests.harness.shard import NOW, backoff
from tests.harness.stores import MemoryS3

WORKERS = 3
HOUR_MS = 3_600_000


class ArchiveMachine(RuleBasedStateMachine):
    """``at[w]`` is the record that worker ``w`` is given next."""

    def __init__(self) -> None:
        super().__init__()
        self.fates: list[str] = []
        self.s3 = MemoryS3(lambda _: self.fates.pop() if self.fates else "ok")
        self.workers = [self._open() for _ in range(WORKERS)]
        self.at = [0] * WORKERS
        self.checkpoint = 0

    def _open(self) -> Archive:
        return Archive(self.s3, "shard", Limits(1000, 1 << 20, 5.0, 3), MemoryBuffer, backoff)

    @rule(worker=st.integers(0, WORKERS - 1), count=st.integers(1, 6))
    def read(self, worker: int, count: int) -> None:
        archive = self.workers[worker]
        for number in range(self.at[worker], self.at[worker] + count):
            arrived = NOW + number // 10 * HOUR_MS  # an hour ends every ten records
            if not archive.takes(arrived):
                archive.commit()
            payload = encode(Message(1, "boot-one", number, [Reading(1, {"level": 1.0})]))
            record = ShardRecord("d", 1, arrived, str(100 + number), 0, payload, readings=1)
            archive.append(record, 1, 0.0)
            archive.encode_rows()
        self.at[worker] += count

    @rule(
        worker=st.integers(0, WORKERS - 1),
        fates=st.lists(st.sampled_from(["throttle", "lost_before", "lost_after"]), max_size=4),
    )
    def commit(self, worker: int, fates: list[str]) -> None:
        self.fates = fates
        reached = self.workers[worker].commit()
        self.fates = []
        if reached is not None:  # as far as it was itself given records
            self.checkpoint = max(self.checkpoint, min(int(reached.sequence) - 99, self.at[worker]))

    @rule(worker=st.integers(0, WORKERS - 1))
    def crash(self, worker: int) -> None:
        self.workers[worker] = self._open()
        self.at[worker] = self.checkpoint

    @rule()
    def lose_all_checkpoints(self) -> None:
        self.checkpoint = 0

    @invariant()
    def no_record_is_archived_twice_and_none_is_skipped(self) -> None:
        archived = Counter(
            row.seq for body, _ in self.s3.objects.values() for row in decode_rows(body)
        )
        assert set(archived.values()) <= {1}
        assert set(archived) == set(range(len(archived)))
        assert len(archived) >= self.checkpoint

    def teardown(self) -> None:
        for worker in self.workers:
            worker.commit()
        archived = Counter(
            row.seq for body, _ in self.s3.objects.values() for row in decode_rows(body)
        )
        assert archived == Counter(range(len(archived)))
        assert len(archived) >= max(self.at)


TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
