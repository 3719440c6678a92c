"""Delivers what waits in the outboxes, until every destination has taken it.

One worker delivers, the one that holds the first shard's lease; while a lease changes hands there
may be two, or none for a moment. Both send the same transitions under the same ids, so a receiver
that keeps the ids of a day sees each once. Of one device, a destination gets transitions in order:
one that is not taken stops those behind it, for that destination alone.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from consumers.alerts.alarms import Alarms, load_alarms
from consumers.alerts.transition import Transition
from consumers.aws.errors import code_of

log: Final = logging.getLogger(__name__)

DEVICES_A_ROUND: Final = 100
SOURCE: Final = "penstock.alerts"
SIGNATURE: Final = "X-Penstock-Signature"
WAITS_INDEX: Final = "waits"

_ENTRIES: Final = 10
_TIMEOUT_S: Final = 10.0


class Destination(Protocol):
    """Where transitions go."""

    name: str

    def send(self, transitions: Sequence[Transition]) -> list[bool]:
        """Send up to :data:`_ENTRIES`; whether each was taken. Raises nothing."""


class Bus:
    """An EventBridge bus; ``events`` is a ``boto3`` client of it."""

    name = "bus"

    def __init__(self, events: Any, bus: str) -> None:
        self._events = events
        self._bus = bus

    def send(self, transitions: Sequence[Transition]) -> list[bool]:
        """See :class:`Destination`."""
        entries = [
            {
                "Source": SOURCE,
                "DetailType": f"Alarm {one.kind}",
                "Detail": msgspec.json.encode(one).decode(),
                "EventBusName": self._bus,
            }
            for one in transitions
        ]
        try:
            answer = self._events.put_events(Entries=entries)
        except (ClientError, BotoCoreError) as error:
            log.warning("the event bus takes no alarms: %s", error)
            return [False] * len(entries)
        return ["EventId" in one for one in answer["Entries"]]


class Webhook:
    """An https endpoint. Each request carries one transition as JSON and, in
    ``X-Penstock-Signature``, the HMAC-SHA256 of the body under a secret that both know."""

    name = "webhook"

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self._pool = PoolManager()

    def send(self, transitions: Sequence[Transition]) -> list[bool]:
        """See :class:`Destination`. Nobody is woken by a transition that is not to notify."""
        taken: list[bool] = []
        for one in transitions:
            taken.append(not one.notify or self._post(msgspec.json.encode(one)))
            if not taken[-1]:
                break
        return taken + [False] * (len(transitions) - len(taken))

    def _post(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", SIGNATURE: signature(body, self._secret)}
        try:
            answer = self._pool.request(
                "POST", self._url, body=body, headers=headers, timeout=_TIMEOUT_S, retries=False
            )
        except HTTPError as error:
            log.warning("the webhook takes no alarms: %s", error)
            return False
        if not 200 <= answer.status < 300:
            log.warning("the webhook answers %d to an alarm", answer.status)
        return bool(200 <= answer.status < 300)


def signature(body: bytes, secret: bytes) -> str:
    """What a webhook's request is signed with.

    >>> signature(b"{}", b"secret")[:15]
    'sha256=31b7d3da'
    """
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def send_in_order(
    items: Sequence[Alarms], destination: Destination, stopping: Callable[[], bool]
) -> bool:
    """Send what a destination has not taken, and note in the outboxes what it takes; whether it
    took all."""
    waiting = [
        [one for one in item.outbox if destination.name not in one.taken_by] for item in items
    ]
    queues = [deque(queue) for queue in waiting if queue]
    complete = True
    while queues and not stopping():
        batch = queues[:_ENTRIES]  # the oldest of each device: those behind it wait for the answer
        queues = queues[_ENTRIES:]
        taken = destination.send([queue[0].transition for queue in batch])
        for queue, is_taken in zip(batch, taken, strict=True):
            if not is_taken:
                complete = False
                continue
            queue.popleft().taken_by.append(destination.name)
            if queue:
                queues.append(queue)
        if not any(taken):
            return False  # it takes nothing now
    return complete and not queues


class Outboxes:
    """The outboxes of ``<stack>-alerts``; ``dynamodb`` is a ``boto3`` client."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def waiting(self) -> Iterator[list[Alarms]]:
        """The items in whose outbox something waits, up to 100 at a time."""
        more: dict[str, Any] = {}
        while True:
            page = self._dynamodb.query(
                TableName=self._table, IndexName=WAITS_INDEX, Limit=DEVICES_A_ROUND,
                KeyConditionExpression="waits = :yes",
                ExpressionAttributeValues={":yes": {"S": "1"}}, **more,
            )  # fmt: skip
            if page["Items"]:
                yield self._read([{"device": one["device"]} for one in page["Items"]])
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def of(self, devices: Sequence[str]) -> Iterator[list[Alarms]]:
        """The items of devices in whose outbox something waits, up to 100 at a time. Unlike the
        index, they have what was recorded a moment ago."""
        for at in range(0, len(devices), DEVICES_A_ROUND):
            keys = [{"device": {"S": one}} for one in devices[at : at + DEVICES_A_ROUND]]
            yield [item for item in self._read(keys) if item.outbox]

    def _read(self, keys: list[dict[str, Any]]) -> list[Alarms]:
        answer = self._dynamodb.batch_get_item(
            RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}}
        )
        return [_alarms(item) for item in answer["Responses"].get(self._table, [])]

    def settle(self, item: Alarms, names: frozenset[str]) -> None:
        """Note what was taken, and remove what all destinations have. Repeated when somebody else
        has written the item: a transition that came meanwhile stays."""
        taken = {one.transition.id: one.taken_by for one in item.outbox}
        while True:
            left = []
            for one in item.outbox:
                one.taken_by = sorted({*one.taken_by, *taken.get(one.transition.id, ())})
                if not names <= set(one.taken_by):
                    left.append(one)
            try:
                self._dynamodb.update_item(
                    TableName=self._table, Key={"device": {"S": item.device}},
                    UpdateExpression="SET outbox = :outbox, waits = :waits, ver = :next",
                    ConditionExpression="ver = :ver",
                    ExpressionAttributeValues={
                        ":outbox": {"S": msgspec.json.encode(left).decode()},
                        ":waits": {"S": "1" if left else "0"},
                        ":ver": {"N": str(item.ver)},
                        ":next": {"N": str(item.ver + 1)},
                    },
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
            else:
                return
            again = self._dynamodb.get_item(
                TableName=self._table, Key={"device": {"S": item.device}}, ConsistentRead=True
            ).get("Item")
            if again is None:
                return
            item = _alarms(again)


def _alarms(stored: Any) -> Alarms:
    item = Alarms(stored["device"]["S"])
    load_alarms(item, stored)
    return item


def deliver(
    outboxes: Outboxes,
    waiting: Iterable[Sequence[Alarms]],
    destinations: Sequence[Destination],
    stopping: Callable[[], bool],
) -> int:
    """Deliver once what waits in items, of :meth:`Outboxes.waiting` or :meth:`Outboxes.of`; how
    many transitions were taken by a destination."""
    sent = 0
    at_work = list(destinations)
    names = frozenset(one.name for one in destinations)
    for items in waiting:
        before = {item.device: _taken(item) for item in items}
        for destination in list(at_work):
            if not send_in_order(items, destination, stopping):
                at_work.remove(destination)  # it is asked again in the next round
        for item in items:
            taken = _taken(item) - before[item.device]
            if taken or not any(names - {*one.taken_by} for one in item.outbox):
                outboxes.settle(item, names)
            sent += taken
        if stopping() or not at_work:
            break
    return sent


def _taken(item: Alarms) -> int:
    return sum(len(one.taken_by) for one in item.outbox)
