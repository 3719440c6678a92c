"""The stream of a schedule: shards that are written, split and merged, and the KCL's leases."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from consumers.kcl.position import Position
from consumers.kcl.protocol import StreamRecord
from tests.chaos.schedules.daemon import Child, Event
from tests.harness.shard import NOW

MAX_SHARDS = 6


@dataclass(eq=False)
class StreamShard:
    """A shard of the stream with the KCL's lease of it."""

    name: str
    parents: list[StreamShard] = field(default_factory=list)
    records: list[StreamRecord] = field(default_factory=list)
    closed: bool = False
    ended: bool = False
    checkpoint: Position | None = None
    owner: Life | None = None

    def start(self) -> int:
        """Index of the first record that a new owner is given."""
        if self.checkpoint is None:
            return 0
        return sum(record.position <= self.checkpoint for record in self.records)

    def ready(self) -> bool:
        """Whether the KCL gives its lease away: its parents are at their end."""
        return not self.ended and all(parent.ended for parent in self.parents)


@dataclass(eq=False)
class Life:
    """One child: its shard, how far it was given records, and what it waits with."""

    child: Child
    shard: StreamShard
    given: int
    planned: bool
    waits: Event | None = None
    doing: str = ""


class Stream:
    """The shards, open and closed, in the order of their hash keys."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.shards = [StreamShard(f"shardId-{i:012d}") for i in range(2)]
        self._arrived = NOW - 30  # the hour ends amid the traffic
        self._sequence = 49_600_000_000_000_000_000

    def put(self, place: int, places: int, device: str, data: bytes) -> None:
        """Add a record, sometimes as one of several that share a sequence number (an aggregate).
        Its device is number ``place`` of ``places``, which picks the shard."""
        open_shards = [shard for shard in self.shards if not shard.closed]
        shard = open_shards[place * len(open_shards) // places]
        self._arrived += self._chance.choice([0, 1, 1, 2])
        sub = 0
        if shard.records and shard.records[-1].sequence_number == str(self._sequence):
            last = shard.records[-1]
            if self._chance.random() < 0.2:
                sub = (last.sub_sequence_number or 0) + 1
        if not sub:
            self._sequence += self._chance.randint(1, 9)
        shard.records.append(StreamRecord(data, str(self._sequence), device, sub, self._arrived))

    def reshard(self) -> None:
        """Split a shard in two, or merge two."""
        open_shards = [shard for shard in self.shards if not shard.closed]
        if len(self.shards) > MAX_SHARDS:
            return
        if len(open_shards) > 1 and self._chance.random() < 0.4:
            at = self._chance.randrange(len(open_shards) - 1)
            parents = open_shards[at : at + 2]
            children = 1
        else:
            parents, children = [self._chance.choice(open_shards)], 2
        for parent in parents:
            parent.closed = True
        at = self.shards.index(parents[-1]) + 1
        made = [
            StreamShard(f"shardId-{len(self.shards) + i:012d}", parents) for i in range(children)
        ]
        self.shards[at:at] = made
