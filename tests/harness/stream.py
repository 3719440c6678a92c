"""Read a stream whole, past every consumer."""

from __future__ import annotations

from typing import Any


def read_stream(kinesis: Any, stream: str) -> dict[str, list[dict[str, Any]]]:
    """Every record, by shard, closed shards too."""
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        name = shard["ShardId"]
        found[name] = []
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            found[name] += answer["Records"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return found
