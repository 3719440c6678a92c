"""Write records into a Kinesis stream: for replay, and for load that bypasses the broker.

``PutRecords`` answers 200 with failures inside. Only the records that failed are sent again,
in their order, with backoff and jitter; the others are already in the stream.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

MAX_BATCH_RECORDS: Final = 500
MAX_BATCH_BYTES: Final = 5 * 1024 * 1024
MAX_ATTEMPTS: Final = 10
_RETRYABLE: Final = frozenset({"ProvisionedThroughputExceededException", "InternalFailure"})


class Record(NamedTuple):
    """One record to put: its bytes and the key that picks its shard."""

    data: bytes
    partition_key: str


class KinesisPuts(Protocol):
    """The one call of a Kinesis client that this module needs."""

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
        """As ``boto3``'s."""


class PutError(Exception):
    """Records that the stream did not take; ``unsent`` holds them in order."""

    def __init__(self, message: str, unsent: Sequence[Record]) -> None:
        super().__init__(message)
        self.unsent = unsent


def put_all(
    client: KinesisPuts,
    stream: str,
    records: Iterable[Record],
    *,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> int:
    """Put every record, at least once, and return how many there were.

    :raises PutError: when a record fails for a reason that a retry does not mend, or when the
        stream takes none ten times in a row: a full shard takes what it can, second by second.
        Records before ``unsent`` are in the stream.
    """
    total = 0
    for batch in batches(records):
        _put_batch(client, stream, batch, sleep, jitter)
        total += len(batch)
    return total


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Cut records into what one ``PutRecords`` may carry: 500 records, 5 MiB with keys."""
    batch: list[Record] = []
    size = 0
    for record in records:
        weight = len(record.data) + len(record.partition_key.encode())
        if batch and (len(batch) == MAX_BATCH_RECORDS or size + weight > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += weight
    if batch:
        yield batch


def _put_batch(
    client: KinesisPuts,
    stream: str,
    batch: list[Record],
    sleep: Callable[[float], None],
    jitter: Callable[[], float],
) -> None:
    pending = batch
    attempts = 0  # since the stream last took a record
    while attempts < MAX_ATTEMPTS:
        if attempts:
            sleep(jitter() * min(5.0, 0.05 * 2**attempts))
        answer = client.put_records(
            StreamName=stream,
            Records=[{"Data": r.data, "PartitionKey": r.partition_key} for r in pending],
        )
        results = answer["Records"]
        failed = [i for i, result in enumerate(results) if result.get("ErrorCode")]
        codes = {results[i]["ErrorCode"] for i in failed}
        attempts = attempts + 1 if len(failed) == len(pending) else 1
        pending = [pending[i] for i in failed]
        if not pending:
            return
        if fatal := codes - _RETRYABLE:
            raise PutError(f"{stream} refused {len(pending)} records: {sorted(fatal)}", pending)
    raise PutError(
        f"{stream} still refuses {len(pending)} records after {MAX_ATTEMPTS} attempts: "
        f"{sorted(codes)}; add shards or send slower",
        pending,
    )
