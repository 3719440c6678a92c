"""Put what a rule's Kinesis action failed to put into the stream, from the queue of its errors.

A message leaves the queue only after the stream has taken its record, each by itself: a
``PutRecords`` answers 200 with failures inside. So a redrive may be stopped and repeated at any
time, and several may run at once; what the stream gets twice is counted once, by its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from infra.aws.rule_errors import record_of
from ingest.stream import KinesisPuts, PutError, Record, batches, put_all

VISIBILITY_S: Final = 120
"""How long nobody else sees a message that is being put: longer than all retries of a put."""
WAIT_S: Final = 2
_BATCH: Final = 10  # SQS's own limit
_DELETES: Final = 3


class ErrorQueue(Protocol):
    """The three calls of an SQS client that this module needs."""

    def receive_message(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def delete_message_batch(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def change_message_visibility_batch(self, **request: Any) -> Any:
        """As ``boto3``'s."""


class Left(NamedTuple):
    """A message that stays in the queue: its id there, and why."""

    message_id: str
    reason: str


class Counts(NamedTuple):
    """What a redrive did."""

    redriven: int
    left: Sequence[Left]


class DeleteError(Exception):
    """Records are in the stream and their messages still in the queue."""


Message = Mapping[str, Any]


def redrive(
    queue: ErrorQueue,
    queue_url: str,
    kinesis: KinesisPuts,
    stream: str,
    *,
    progress: Callable[[int], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Counts:
    """Redrive until the queue is empty; ``progress`` hears how many were, after each batch.

    A message that is not of the rule stays, and is seen again afterwards.

    :raises PutError: when the stream refuses a record for good; what it took is out of the queue.
    :raises DeleteError: when the queue does not let go of what is in the stream.
    """
    done = 0
    left: list[Left] = []
    handles: list[Message] = []
    try:
        while not stopping() and (messages := _receive(queue, queue_url)):
            good: list[Message] = []
            records: list[Record] = []
            for message in messages:
                try:
                    record = record_of(message["Body"], int(message["Attributes"]["SentTimestamp"]))
                except ValueError as error:
                    left.append(Left(message["MessageId"], str(error)))
                    handles.append(message)
                else:
                    good.append(message)
                    records.append(record)
            done += _move(queue, queue_url, kinesis, stream, good, records)
            progress(done)
    finally:
        _show_again(queue, queue_url, handles)
    return Counts(done, left)


def _receive(queue: ErrorQueue, queue_url: str) -> Sequence[Message]:
    """Messages that nobody else is at work on; none when there are none."""
    answer = queue.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=_BATCH,
        WaitTimeSeconds=WAIT_S,
        VisibilityTimeout=VISIBILITY_S,
        AttributeNames=["SentTimestamp"],
    )
    messages: Sequence[Message] = answer.get("Messages", [])
    return messages


def _move(
    queue: ErrorQueue,
    queue_url: str,
    kinesis: KinesisPuts,
    stream: str,
    messages: Sequence[Message],
    records: Sequence[Record],
) -> int:
    """Put records, and delete the messages of those that were put; how many."""
    waiting = {id(record): message for record, message in zip(records, messages, strict=True)}
    taken: list[Message] = []
    try:
        for batch in batches(records):
            unsent: Sequence[Record] = batch  # as far as is known, until the call has returned
            try:
                put_all(kinesis, stream, batch)
                unsent = ()
            except PutError as error:
                unsent = error.unsent
                raise
            finally:
                kept = set(map(id, unsent))
                taken += [waiting.pop(id(one)) for one in batch if id(one) not in kept]
    finally:
        _delete(queue, queue_url, taken)
        _show_again(queue, queue_url, list(waiting.values()))
    return len(taken)


def _delete(queue: ErrorQueue, queue_url: str, messages: Sequence[Message]) -> None:
    pending = {str(i): message for i, message in enumerate(messages)}
    for _ in range(_DELETES):
        if not pending:
            return
        answer = queue.delete_message_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": key, "ReceiptHandle": message["ReceiptHandle"]}
                for key, message in pending.items()
            ],
        )
        failed = {failure["Id"] for failure in answer.get("Failed", [])}
        pending = {key: message for key, message in pending.items() if key in failed}
    if pending:
        raise DeleteError(
            f"{len(pending)} messages are in the stream and SQS does not delete them: run it "
            "again, what the stream gets twice is counted once"
        )


def _show_again(queue: ErrorQueue, queue_url: str, messages: Sequence[Message]) -> None:
    """Let others see messages at once that this run leaves in the queue."""
    for start in range(0, len(messages), _BATCH):
        queue.change_message_visibility_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for i, message in enumerate(messages[start : start + _BATCH])
            ],
        )
