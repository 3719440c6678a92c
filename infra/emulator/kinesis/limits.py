"""Kinesis: the rates of a shard, what one read returns, and what is counted."""

from __future__ import annotations

import json
import time
from itertools import accumulate
from typing import Any, Final

from infra.emulator.kinesis.resharding import CLOSED
from infra.emulator.limits.shard import (
    CALL_BYTES,
    MESSAGE,
    READ_RECORDS,
    RECORD_BYTES,
    ShardIn,
    ShardOut,
    fitting,
    put_units,
)
from infra.emulator.world import World

_EXCEEDED: Final = "ProvisionedThroughputExceededException"
_EXPIRE_EVERY_S: Final = 1.0


class Shards:
    """The rates of every shard, around MiniStack's calls that put and get records."""

    def __init__(self, world: World, kinesis: Any) -> None:
        self._world = world
        self._kinesis = kinesis
        self._put, self._puts = kinesis._put_record, kinesis._put_records
        self._get = kinesis._get_records
        self._in: dict[str, ShardIn] = {}  # by the shard's first sequence number, which is unique
        self._out: dict[str, ShardOut] = {}

    def put_record(self, data: dict[str, Any]) -> Any:
        """``PutRecord``."""
        _, stream = self._kinesis._resolve_stream(data)
        if stream is None or not self._is_record(data):
            return self._put(data)
        shard, size = self._target(stream, data)
        if not self._admit(stream, shard, size, self._world.clock()):
            message = self._message(stream, shard)
            return self._kinesis.error_response_json(_EXCEEDED, message, 400)
        answer = self._put(data)
        if answer[0] == 200:
            self._count([size])
        return answer

    def put_records(self, data: dict[str, Any]) -> Any:
        """``PutRecords``: the records that a shard has no room for fail inside a 200."""
        _, stream = self._kinesis._resolve_stream(data)
        records = data.get("Records") or []
        if stream is None or len(records) > 500 or not all(map(self._is_record, records)):
            return self._puts(data)
        targets = [self._target(stream, record) for record in records]
        if any(size > CALL_BYTES for size in accumulate(size for _, size in targets)):
            return self._puts(data)
        now = self._world.clock()
        taken = [self._admit(stream, *target, now) for target in targets]
        kept = [record for record, take in zip(records, taken, strict=True) if take]
        if len(kept) < len(records):
            answer = self._in_part(data, stream, kept, taken, targets)
        else:
            answer = self._puts(data)
        if answer[0] == 200:
            self._count([size for (_, size), take in zip(targets, taken, strict=True) if take])
        return answer

    def _in_part(
        self, data: dict[str, Any], stream: Any, kept: list[Any], taken: list[bool],
        targets: list[tuple[str, int]],
    ) -> Any:  # fmt: skip
        status, headers, body = self._puts({**data, "Records": kept})
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        done = iter(answer["Records"])
        answer["Records"] = [
            next(done)
            if take
            else {"ErrorCode": _EXCEEDED, "ErrorMessage": self._message(stream, shard)}
            for take, (shard, _) in zip(taken, targets, strict=True)
        ]
        answer["FailedRecordCount"] = taken.count(False)
        return self._kinesis.json_response(answer)

    def get_records(self, data: dict[str, Any]) -> Any:
        """``GetRecords``: at most 10 MiB and 10,000 records, five times and 2 MiB a second."""
        state = self._kinesis._shard_iterators.get(data.get("ShardIterator"))
        stream = self._kinesis._streams.get(state["stream"]) if state else None
        if stream is None:
            return self._get(data)
        shard = {**stream["shards"], **stream.get(CLOSED, {})}.get(state["shard_id"])
        if shard is None:
            return self._get(data)
        now = self._world.clock()
        out = self._out.setdefault(shard["starting_sequence_number"], ShardOut(now))
        self._world.meters.add("kinesis", "reads")
        if self._world.profile.shard_rates and not out.admit(now):
            self._world.meters.add("kinesis", "throttled_reads")
            message = self._message(stream, state["shard_id"])
            return self._kinesis.error_response_json(_EXCEEDED, message, 400)
        self._kinesis._expire_records(stream)  # first, so that the position below is right
        position = state["position"]
        limit = min(data.get("Limit") or READ_RECORDS, READ_RECORDS)
        waiting = shard["records"][position : position + limit]
        sizes = [len(record["Data"]) * 3 // 4 + len(record["PartitionKey"]) for record in waiting]
        count = fitting(sizes)
        answer = self._get({**data, "Limit": max(1, count)})
        out.returned(sum(sizes[:count]), now)
        self._world.meters.add("kinesis", "bytes_out", by=sum(sizes[:count]))
        self._world.meters.add("kinesis", "records_out", by=count)
        return answer

    def _is_record(self, record: dict[str, Any]) -> bool:
        """Whether it can be put at all; anything else is refused by MiniStack."""
        data = record.get("Data", "")
        return (
            bool(record.get("PartitionKey"))
            and isinstance(data, str)
            and _decoded(data) <= RECORD_BYTES
        )

    def _target(self, stream: Any, record: dict[str, Any]) -> tuple[str, int]:
        """The shard that a record goes to, and its size with the partition key."""
        key, data = record["PartitionKey"], record.get("Data", "")
        explicit = record.get("ExplicitHashKey")
        number = int(explicit) if explicit else self._kinesis._partition_key_to_hash(key)
        size = _decoded(data) + len(key.encode())
        return self._kinesis._route_to_shard(number, stream), size

    def _admit(self, stream: Any, shard: str, size: int, now: float) -> bool:
        key = stream["shards"][shard]["starting_sequence_number"]
        if key not in self._in:
            self._in[key] = ShardIn(now)
        taken = not self._world.profile.shard_rates or self._in[key].admit(size, now)
        if not taken:
            self._world.meters.add("kinesis", "throttled_records")
        return taken

    def _count(self, sizes: list[int]) -> None:
        add = self._world.meters.add
        add("kinesis", "records", by=len(sizes))
        add("kinesis", "bytes_in", by=sum(sizes))
        add("kinesis", "put_units", by=sum(map(put_units, sizes)))

    def _message(self, stream: Any, shard: str) -> str:
        account = self._kinesis.get_account_id()
        return MESSAGE.format(shard=shard, stream=stream["StreamName"], account=account)


class Retention:
    """Records are trimmed when they are older than the stream keeps them.

    MiniStack walks every record and every iterator on each call, and a reader that was at a
    position in the list of records skips as many as were trimmed. Here a call looks at the oldest
    records only, and readers keep their place.
    """

    def __init__(self, kinesis: Any) -> None:
        self._kinesis = kinesis
        self._expire_iterators = kinesis._expire_iterators
        self._next = 0.0

    def expire_records(self, stream: Any) -> None:
        """MiniStack's ``_expire_records``."""
        cutoff = time.time() - stream["RetentionPeriodHours"] * 3600
        for shard_id, shard in stream["shards"].items():
            records = shard["records"]
            trimmed = 0
            while trimmed < len(records) and _arrived(records[trimmed]) < cutoff:
                trimmed += 1
            if trimmed:
                shard["records"] = records[trimmed:]
                self._move_readers(stream, shard_id, trimmed)

    def _move_readers(self, stream: Any, shard_id: str, trimmed: int) -> None:
        for state in self._kinesis._shard_iterators.values():
            if state["stream"] == stream["StreamName"] and state["shard_id"] == shard_id:
                state["position"] = max(0, state["position"] - trimmed)

    def expire_iterators(self) -> None:
        """MiniStack's ``_expire_iterators``, once a second instead of on every call."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EXPIRE_EVERY_S
            self._expire_iterators()


def _decoded(data: str) -> int:
    """Bytes that base64 stands for."""
    return len(data) // 4 * 3 - data[-2:].count("=")


def _arrived(record: Any) -> float:
    return float(record["ApproximateArrivalTimestamp"])


def be_strict(world: World) -> None:
    """Refuse what Kinesis refuses, and count what it charges."""
    from ministack.services import kinesis

    shards, retention = Shards(world, kinesis), Retention(kinesis)
    _ = (kinesis._route_to_shard, kinesis._partition_key_to_hash, kinesis._resolve_stream,
         kinesis._shard_iterators.values, kinesis.get_account_id)  # fmt: skip
    kinesis._expire_records = retention.expire_records
    kinesis._expire_iterators = retention.expire_iterators
    kinesis._put_record = shards.put_record
    kinesis._put_records = shards.put_records
    kinesis._get_records = shards.get_records
