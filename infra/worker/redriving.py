"""A worker's duty beside its shards: redrive the rule's errors, so that what the stream refused for
a while arrives without a person. Any number of workers may do it at once: a message that one of
them puts is not seen by the others, and what the stream gets twice is counted once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.logs import ROOT
from consumers.worker.duty import on_duty
from infra.aws.redrive import DeleteError, redrive
from ingest.stream import PutError

log: Final = logging.getLogger(f"{ROOT}.redrive")


@contextmanager
def redriving(sqs: Any, kinesis: Any, *, queue: str, stream: str, every_s: float) -> Iterator[None]:
    """Empty the queue every ``every_s`` seconds, from a thread, while the context lasts. Messages
    that are not of the rule stay in it; the queue's age tells of them (docs/runbooks)."""

    def run(ending: threading.Event) -> None:
        failing = False
        while not ending.wait(every_s):
            try:
                url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
                counts = redrive(sqs, url, kinesis, stream, stopping=ending.is_set)
            except (PutError, DeleteError, BotoCoreError, ClientError) as error:
                if not failing:
                    log.warning("the rule's errors are not redriven: %s", error)
                failing = True
            else:
                failing = False
                if counts.redriven:
                    log.info("redrove %d messages into %s", counts.redriven, stream)

    with on_duty("redrive", run):
        yield
