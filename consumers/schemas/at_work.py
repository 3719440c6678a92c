"""The schemas of a shard's process: read from DynamoDB, and read again before they can be stale.

A set of schemas comes into force :data:`~ingest.schemas.schema.LEAD_MS` after it is applied, by the
arrival time of records. Whoever reads the history knows every set that is in force for the records
that it holds, and for those that arrive until the next set could be. So records are folded only
with a history that was read less than :data:`STALE_S` before (decision 36). No clock of this
machine takes part: only how long ago something was read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from consumers.aws.backoff import Backoff
from consumers.aws.errors import is_throttle, is_transient
from consumers.exceptions import StoreError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from consumers.schemas.judge import Judge

log: Final = logging.getLogger(__name__)

READ_S: Final = 5.0
"""How often the history is read (s), at most."""
STALE_S: Final = 8.0
"""How old the history may be when records are folded (s)."""

TYPE_S: Final = 300.0
"""How long a device's type is kept before it is read again (s)."""
NO_TYPE_S: Final = 5.0
"""The same for a device that the roster does not have, or without a type."""

_TYPES_KEPT: Final = 50_000
_BATCH: Final = 100

REQUEST_KEY: Final = {"worker": {"S": "#schemas"}}
"""As :func:`ingest.schemas.item.key`, which is imported when there are schemas."""


class RosterReader(Protocol):
    """The read of :class:`consumers.hot.dynamodb.DynamoStore`: consistent."""

    def read(
        self, table: str, key_names: tuple[str, ...], keys: Sequence[tuple[str, ...]]
    ) -> tuple[Any, Sequence[tuple[str, ...]]]:
        """Items by key, and the keys that were not processed."""


def boot_clock() -> float:
    """Seconds since the machine's boot, with the time in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SchemasAtWork:
    """Gives the judge for the records at hand; nothing is imported for it without schemas."""

    def __init__(
        self,
        client: DynamoDBClient,
        status_table: str,
        roster: RosterReader,
        devices_table: str,
        clock: Callable[[], float] = boot_clock,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._client = client
        self._request: Any = {
            "TableName": status_table, "Key": REQUEST_KEY, "ConsistentRead": True
        }  # fmt: skip
        self._roster = roster
        self._devices_table = devices_table
        self._clock = clock
        self._backoff = backoff
        self._read_at = float("-inf")
        self._item_ver = ""
        self._judge: Judge | None = None
        self._types: dict[str, str] = {}
        self._types_until: dict[str, float] = {}

    def judge_for(self, devices: Collection[str]) -> Judge | None:
        """The judge for records of these devices that were received by now; ``None`` without
        schemas.

        :raises StoreError, GaveUpError: when schemas or types cannot be read.
        """
        if self._clock() - self._read_at >= READ_S:
            self._refresh()
        if self._judge is not None:
            self._learn_types(devices)
        return self._judge

    def _refresh(self) -> None:
        backoff = self._backoff()
        while True:
            began = self._clock()
            try:
                item = self._client.get_item(**self._request).get("Item", {})
            except (ClientError, BotoCoreError) as error:
                if isinstance(error, ClientError) and not (
                    is_throttle(error) or is_transient(error)
                ):
                    raise StoreError(
                        f"DynamoDB refuses to give the schemas: {error}; deploy the stack again"
                    ) from error
                log.warning("cannot read the schemas: %s", error)
                if began - self._read_at < STALE_S:
                    return
            else:
                self._read_at = began
                self._take(item)
                return
            backoff.wait("DynamoDB keeps refusing to give the schemas")

    def _take(self, item: Any) -> None:
        ver = item.get("ver", {}).get("N", "")
        if ver == self._item_ver:
            return
        from consumers.schemas.judge import Judge
        from ingest.schemas.item import history_of

        history = history_of(item)
        self._item_ver = ver
        self._judge = Judge(history, self._types) if history.applied else None

    def _learn_types(self, devices: Collection[str]) -> None:
        """Read the types of devices that are not known, or were read too long ago."""
        now, until = self._clock(), self._types_until
        if len(until) > _TYPES_KEPT:
            until.clear()
            self._types.clear()
        unread: list[tuple[str, ...]] = [(name,) for name in devices if until.get(name, 0.0) <= now]
        backoff = self._backoff()
        while unread:
            batch = unread[:_BATCH]
            items, left = self._roster.read(self._devices_table, ("device",), batch)
            again = set(left)
            for key in batch:
                if key not in again:
                    self._learn(key[0], items.get(key, {}).get("type", {}).get("S", ""), now)
            unread = [*left, *unread[_BATCH:]]
            if len(again) == len(batch):
                backoff.wait("DynamoDB keeps refusing to give the types of devices")

    def _learn(self, device: str, kind: str, now: float) -> None:
        self._types[device] = kind
        self._types_until[device] = now + (TYPE_S if kind else NO_TYPE_S)
