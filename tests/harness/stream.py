"""Read a stream whole, past every consumer."""

from __future__ import annotations

import time
from typing import Any, Final

from botocore.exceptions import ClientError

PATIENCE_S: Final = 60.0
PAUSE_S: Final = 1.0
"""A shard takes five reads a second of all its readers together."""


def read_stream(kinesis: Any, stream: str) -> dict[str, list[dict[str, Any]]]:
    """Every record, by shard, closed shards too. A read that the shard refuses, because its
    consumers read at its limit, is made again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        name = shard["ShardId"]
        found[name] = []
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = _records(kinesis, iterator)
            found[name] += answer["Records"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return found


def _records(kinesis: Any, iterator: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return kinesis.get_records(ShardIterator=iterator)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ProvisionedThroughputExceededException" or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
