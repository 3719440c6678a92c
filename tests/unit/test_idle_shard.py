"""A shard to which nothing comes any more still does what is due."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from consumers.kcl.protocol import StreamRecord
from consumers.shard import journal
from consumers.shard.journal import Journal
from consumers.shard.pipe import Pipe
from tests.harness.shard import LIMITS, NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

BOOT = "idle-shard"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    """One shard with ten records, and its stores."""

    def __init__(self) -> None:
        self.shard, self.dynamo, self.s3, self.clock = Shard(), MemoryDynamo(), MemoryS3(), Clock()
        for number in range(10):
            body = payload(BOOT, number, [(NOW - 1000 + number, {"level": float(number)})])
            self.shard.put("d", body, NOW + number, NOW + number)

    @property
    def records(self) -> list[StreamRecord]:
        return self.shard.records


def test_after_another_worker_s_segment_an_idle_shard_is_checkpointed_without_a_new_record() -> (
    None
):
    world = World()
    first = open_worker(world.shard, world.dynamo, world.s3, world.clock)
    second = open_worker(world.shard, world.dynamo, world.s3, world.clock)
    first.process(world.records)  # a zombie: the second has the lease by now
    world.clock.now += LIMITS.age_s + 1
    first.process([])
    assert world.shard.checkpoint is None
    second.process(world.records[:6])
    world.clock.now += LIMITS.age_s + 1
    second.process([])  # adopts a segment that reaches further than it has read
    assert world.shard.checkpoint is None
    second.process(world.records[6:])
    assert world.shard.checkpoint == world.records[-1].position
    assert world.shard.lag() == 0


def test_between_batches_everything_is_made_durable_and_checkpointed_with_the_next() -> None:
    world = World()
    worker = open_worker(world.shard, world.dynamo, world.s3, world.clock)
    worker.process(world.records)
    world.clock.now += LIMITS.age_s + 1
    worker.process([], may_checkpoint=False)
    assert worker.uncommitted_since is None
    assert world.shard.checkpoint is None
    assert not worker.is_covered
    worker.process([])
    assert world.shard.checkpoint == world.records[-1].position
    assert worker.is_covered


def test_a_daemon_that_sends_nothing_leaves_time_for_what_is_due(tmp_path: Path) -> None:
    source, daemon = os.pipe()
    descriptor = journal.create(tmp_path)
    idle = threading.Event()
    with os.fdopen(source, "rb") as stdin, os.fdopen(os.dup(1), "wb") as stdout:
        pipe = Pipe(stdin, stdout, journal=Journal(descriptor, pipe=source))
        pipe.on_idle = idle.set

        def send() -> None:
            assert idle.wait(20)
            os.write(daemon, b'{"action":"leaseLost"}\n')
            os.close(daemon)

        sender = threading.Thread(target=send)
        sender.start()
        assert [turn.action.action for turn in pipe.turns()] == ["leaseLost"]
        sender.join()
    os.close(descriptor)
