"""Hears what a deployment's bus of alarms carries: a queue of its own on the bus, and a thread."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from consumers.alerts.delivery import SOURCE
from consumers.logs import ROOT
from consumers.worker.duty import on_duty
from infra.target import Target
from simulator.verification.transitions import Heard

log: Final = logging.getLogger(f"{ROOT}.hearing")

WAIT_S: Final = 1
"""How long a request for messages waits for one."""


class Listener:
    """Everything that a bus carries from the beginning of the context on. Use as a context manager.

    What was heard is written to ``path`` before it leaves the queue, so that a process that is
    killed loses nothing: the next one goes on with the file and the queue, which stays until
    :func:`stop_hearing`.
    """

    def __init__(self, target: Target, path: Path) -> None:
        self._events = target.client("events")
        self._sqs = target.client("sqs")
        self._bus = target.settings.alerts_bus
        self._name = _name(target)
        self._path = path
        self._exit = ExitStack()
        self._url = ""
        self._lock = threading.Lock()
        self._heard: list[Heard] = []

    def __enter__(self) -> Listener:
        if self._path.exists():
            lines = self._path.read_bytes().splitlines()
            self._heard = [Heard(event, at) for at, event in map(orjson.loads, lines)]
        self._subscribe()
        self._exit.enter_context(on_duty("hearing", self._listen))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def heard(self) -> list[Heard]:
        """What was heard until now."""
        with self._lock:
            return list(self._heard)

    def _subscribe(self) -> None:
        self._url = self._sqs.create_queue(QueueName=self._name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        rule = self._events.put_rule(
            Name=self._name, EventBusName=self._bus, EventPattern=json.dumps({"source": [SOURCE]})
        )
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
                }
            ],
        }
        self._sqs.set_queue_attributes(
            QueueUrl=self._url, Attributes={"Policy": json.dumps(policy)}
        )
        target = {"Id": "queue", "Arn": arn}
        self._events.put_targets(Rule=self._name, EventBusName=self._bus, Targets=[target])

    def _listen(self, ending: threading.Event) -> None:
        with self._path.open("ab") as file:
            while not ending.is_set():
                try:
                    for message in self._receive():
                        self._take(message, file)
                except (ClientError, BotoCoreError) as error:
                    log.warning("cannot read what the bus carries: %s", error)
                    ending.wait(WAIT_S)

    def _receive(self) -> list[Any]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=WAIT_S,
            AttributeNames=["SentTimestamp"],
        )  # fmt: skip
        return list(answer.get("Messages", []))

    def _take(self, message: Any, file: Any) -> None:
        event = orjson.loads(message["Body"])["detail"]
        at = int(message["Attributes"]["SentTimestamp"])
        file.write(orjson.dumps([at, event]) + b"\n")
        file.flush()
        with self._lock:
            self._heard.append(Heard(event, at))
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def stop_hearing(target: Target) -> None:
    """Remove the queue from the bus of a deployment, if it is there."""
    events, sqs, name = target.client("events"), target.client("sqs"), _name(target)
    bus = target.settings.alerts_bus
    with suppress(events.exceptions.ResourceNotFoundException):
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name=name, EventBusName=bus)
    with suppress(sqs.exceptions.QueueDoesNotExist):
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])


def _name(target: Target) -> str:
    return f"{target.settings.stack}-heard"
