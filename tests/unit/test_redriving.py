"""A worker redrives the rule's errors beside its shards."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.worker.redriving import redriving
from tests.harness.waiting import until
from tests.unit.test_redrive import Kinesis, Queue, body


class Sqs(Queue):
    """A queue that is found, after so many refusals."""

    def __init__(self, *bodies: str, hidden: int = 0) -> None:
        super().__init__(*bodies)
        self.hidden = hidden

    def get_queue_url(self, *, QueueName: str) -> Any:
        if self.hidden:
            self.hidden -= 1
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetQueueUrl")
        return {"QueueUrl": QueueName}


def run(queue: Sqs, kinesis: Kinesis, records: int) -> None:
    with redriving(queue, kinesis, queue="errors", stream="s", every_s=0.01):
        until(lambda: len(kinesis.records) >= records, 10, "records in the stream")
        until(lambda: not queue.taken, 10, "deleted messages")


def test_what_is_in_the_queue_reaches_the_stream_and_leaves_the_queue() -> None:
    queue, kinesis = Sqs(body("a"), body("b")), Kinesis()
    run(queue, kinesis, 2)
    assert not queue.visible
    assert {device for device, _ in kinesis.records} == {"a", "b"}


def test_it_goes_on_when_aws_refuses_for_a_while_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, kinesis = Sqs(body("a"), hidden=3), Kinesis()
    with caplog.at_level(logging.INFO):
        run(queue, kinesis, 1)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "not redriven" in warnings[0]


def test_what_is_not_of_the_rule_stays_in_the_queue() -> None:
    queue, kinesis = Sqs("nobody's", body("a")), Kinesis()
    run(queue, kinesis, 1)
    assert [message["Body"] for message in queue.visible.values()] == ["nobody's"]
