"""Publishes durable acknowledgements through the IoT data plane (HTTPS, QoS 1).

Background threads publish, so that a slow broker does not delay the shard. An acknowledgement that
cannot be published within :data:`ATTEMPTS`, or that finds :data:`ROOM` others waiting, is counted
and dropped: its device sends the readings again after a while, and is acknowledged then.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from consumers.shard.acknowledgements import Acknowledgement, UnacknowledgedIds

THREADS: Final = 4
ROOM: Final = 20_000
"""Acknowledgements that wait at most."""
ATTEMPTS: Final = 3
DRAIN_S: Final = 2.0
_IDLE_S: Final = 5.0
_FINAL: Final = frozenset({"AccessDeniedException", "AccessDenied", "ForbiddenException",
                           "UnauthorizedException", "InvalidRequestException"})  # fmt: skip


class Publishes(Protocol):
    """The one call of an IoT data plane client that this module needs."""

    def publish(self, *, topic: str, qos: int, payload: bytes) -> Any:
        """As ``boto3``'s."""


class Publisher:
    """Publishes in the background. Threads start with the first message, so that a process that
    is to be forked has none."""

    def __init__(
        self,
        client: Publishes,
        on_dropped: Callable[[str], None],
        *,
        room: int = ROOM,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._on_dropped = on_dropped
        self._room = room
        self._sleep = sleep
        self._lock = threading.Condition()
        self._waiting: deque[Acknowledgement] = deque()
        self._working = self._threads = 0
        self._failing = False
        self.published = self.dropped = 0

    def offer(self, messages: Sequence[Acknowledgement]) -> None:
        """Queue messages to be published; those that find no room are dropped."""
        with self._lock:
            fitting = messages[: max(0, self._room - len(self._waiting))]
            self.dropped += len(messages) - len(fitting)
            self._waiting.extend(fitting)
            for _ in range(min(len(self._waiting), THREADS - self._threads)):
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
            self._lock.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until all that was offered is published or dropped; ``False`` when some still
        waits after ``seconds``."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._waiting and not self._working, seconds)

    def _work(self) -> None:
        while (message := self._next()) is not None:
            fault = self._publish(message)
            with self._lock:
                self._working -= 1
                self.published += not fault
                self.dropped += bool(fault)
                first, self._failing = bool(fault) and not self._failing, bool(fault)
                self._lock.notify_all()
            if first:
                self._on_dropped(f"acknowledgements are dropped, devices will send again: {fault}")

    def _next(self) -> Acknowledgement | None:
        with self._lock:
            if not self._lock.wait_for(lambda: bool(self._waiting), _IDLE_S):
                self._threads -= 1
                return None
            self._working += 1
            return self._waiting.popleft()

    def _publish(self, message: Acknowledgement) -> str:
        """Why it cannot be published; empty when it was."""
        fault = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(random.random() * 0.4 * 2**attempt)
            try:
                self._client.publish(topic=message.topic, qos=1, payload=message.payload)
            except (BotoCoreError, ClientError) as error:
                fault = str(error)
                if isinstance(error, ClientError) and error.response["Error"]["Code"] in _FINAL:
                    break
            else:
                return ""
        return fault


class ShardAcknowledger:
    """The :class:`consumers.shard.processor.Acknowledger` of one shard."""

    def __init__(self, publisher: Publisher, stack: str) -> None:
        self._publisher = publisher
        self._stack = stack
        self._unacknowledged = UnacknowledgedIds(stack)
        self._archived: deque[UnacknowledgedIds] = deque()

    def on_archived(self) -> None:
        """As :class:`consumers.shard.processor.Acknowledger`."""
        self._archived.append(self._unacknowledged)
        self._unacknowledged = UnacknowledgedIds(self._stack)

    def on_durable(self, calls: int) -> None:
        """As :class:`consumers.shard.processor.Acknowledger`."""
        for _ in range(calls):
            self._publisher.offer(self._archived.popleft().pop_all())

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        """As :class:`consumers.shard.processor.Acknowledger`."""
        self._unacknowledged.add(device, boot, seq, readings)

    def drain(self) -> None:
        """As :class:`consumers.shard.processor.Acknowledger`."""
        self._publisher.drain(DRAIN_S)

    @property
    def counts(self) -> tuple[int, int]:
        """Acknowledgements published, and dropped."""
        return self._publisher.published, self._publisher.dropped
