"""What alerts read from DynamoDB beside their own items: the rules, stored windows, the roster."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from consumers.alerts.rules import Rule, RuleSet
from consumers.aws.backoff import Backoff
from consumers.aws.errors import is_throttle, is_transient
from consumers.aws.in_flight import Calls
from consumers.config import ChildConfig
from consumers.exceptions import StoreError
from consumers.hot.items import load_window
from consumers.hot.optimistic import Store
from consumers.hot.store import HotStore
from consumers.hot.windows import Window
from ingest.tables.hot import newest_windows_query, windows_query
from ingest.tiers import Tier
from ingest.times import parse_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from consumers.alerts.evaluator import Evaluator

log: Final = logging.getLogger(__name__)

RULES_KEY: Final = "#rules"
"""The key of the item that holds all rules: no device has such a name."""

READ_S: Final = 5.0
"""How often a shard's process asks for the rules (s)."""


def rules_item(rules: RuleSet) -> dict[str, Any]:
    """The item that holds a deployment's rules, compressed: 200 rules must fit."""
    return {
        "device": {"S": RULES_KEY},
        "ver": {"N": str(rules.ver)},
        "rules": {"B": zlib.compress(msgspec.json.encode(rules), 9)},
    }


def rules_of(item: Mapping[str, Any]) -> RuleSet:
    """The rules of an item; none when it is empty."""
    if not item:
        return RuleSet()
    return msgspec.json.decode(zlib.decompress(item["rules"]["B"]), type=RuleSet)


def read_rules(client: DynamoDBClient, table: str) -> RuleSet:
    """The rules that are applied now. Raises as ``boto3`` does."""
    answer = client.get_item(TableName=table, Key={"device": {"S": RULES_KEY}}, ConsistentRead=True)
    return rules_of(answer.get("Item", {}))


class RulesAtWork:
    """Gives a shard's hot store the rules, and asks every few seconds whether they changed.

    A process that has never read them must not go on: it would pass windows that a rule watches.
    What evaluates is imported when there is a rule.
    """

    def __init__(
        self,
        config: ChildConfig,
        client: DynamoDBClient,
        shard: str,
        worker_id: str,
        store: Store,
        clock: Callable[[], float],
        calls: Calls,
        on_recorded: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        """``on_recorded`` as of :class:`consumers.alerts.evaluator.Evaluator`."""
        self._on_recorded = on_recorded
        self._config = config
        self._shard = shard
        self._worker_id = worker_id
        self._client = client
        self._store = store
        self._clock = clock
        self._calls = calls
        self._asked = float("-inf")
        self._ver = -1

    def __call__(self, hot: HotStore) -> None:
        """Let ``hot`` evaluate the rules as they are now.

        :raises StoreError: when they have never been read and cannot be.
        """
        now = self._clock()
        if now - self._asked < READ_S:
            return
        self._asked = now
        rules = self._read()
        if rules is None or rules.ver == self._ver:
            return
        self._ver = rules.ver
        mine = [rule for rule in rules.rules if not rule.is_of_fleet]
        hot.evaluate = hot.decide = None
        if mine:
            evaluator = self._evaluator(mine)
            hot.evaluate, hot.decide = evaluator.evaluate, evaluator.windows_to_hasten

    def _read(self) -> RuleSet | None:
        try:
            return read_rules(self._client, self._config.alerts_table)
        except (ClientError, BotoCoreError) as error:
            if self._ver < 0:
                raise StoreError(
                    f"cannot read the alert rules from {self._config.alerts_table}: {error}; "
                    "deploy with the setting `alerts`, or switch it off"
                ) from error
            log.warning("cannot read the alert rules, going on with those of before: %s", error)
            return None

    def _evaluator(self, rules: Sequence[Rule]) -> Evaluator:
        from consumers.alerts.evaluator import Evaluator

        config = self._config
        return Evaluator(
            rules,
            store=self._store,
            history=WindowHistory(self._client, config.windows_table),
            alerts_table=config.alerts_table,
            devices_table=config.devices_table,
            tiers=config.tiers,
            calls=self._calls,
            holds_lease=self._holds_lease,
            on_recorded=self._on_recorded,
        )

    def _holds_lease(self) -> bool:
        """Whether the shard is still this worker's, asked before transitions are recorded: what a
        worker that lost it has in memory may be older than what is stored."""
        key = {"leaseKey": {"S": self._shard}}
        read = partial(
            self._client.get_item, TableName=self._config.lease_table, Key=key, ConsistentRead=True
        )
        lease = until_it_answers(read).get("Item", {})
        return bool(lease.get("leaseOwner", {}).get("S") == self._worker_id)


class WindowHistory:
    """Reads a device's stored windows, consistently, oldest first; from several threads."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def newest(self, device: str, tier: Tier, count: int) -> list[Window]:
        """The newest ``count`` windows."""
        query = newest_windows_query(self._table, device, tier.name, count)
        return self._windows(query, tier)[::-1]

    def before(self, device: str, tier: Tier, start_ms: int, count: int) -> list[Window]:
        """The newest ``count`` windows that begin before a time."""
        query = windows_query(self._table, device, tier.name, 0, start_ms - 1)
        return self._windows({**query, "ScanIndexForward": False, "Limit": count}, tier)[::-1]

    def between(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        """The windows that begin in ``[start_ms, end_ms]``."""
        return self._windows(windows_query(self._table, device, tier.name, start_ms, end_ms), tier)

    def _windows(self, query: dict[str, Any], tier: Tier) -> list[Window]:
        items: list[Mapping[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            answer = until_it_answers(
                partial(self._client.query, **query, **more, ConsistentRead=True)
            )
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer or len(items) >= query.get("Limit", 1 << 30):
                return [stored_window(item, tier) for item in items]
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def attributes(self, table: str, devices: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Group and type of up to 100 devices, from the roster; of those that it has."""
        request: Any = {
            table: {
                "Keys": [{"device": {"S": one}} for one in devices],
                "ProjectionExpression": "device, #g, #t",
                "ExpressionAttributeNames": {"#g": "group", "#t": "type"},
            }
        }
        found: dict[str, tuple[str, str]] = {}
        while request:
            answer = until_it_answers(partial(self._client.batch_get_item, RequestItems=request))
            for item in answer["Responses"].get(table, []):
                group, kind = (item.get(name, {}).get("S", "") for name in ("group", "type"))
                found[item["device"]["S"]] = (group, kind)
            request = answer.get("UnprocessedKeys")
        return found


def until_it_answers(call: Callable[[], Any]) -> Any:
    """What a read answers in the end.

    :raises StoreError, GaveUpError: when it does not answer.
    """
    backoff = Backoff()
    while True:
        try:
            return call()
        except ClientError as error:
            if not (is_throttle(error) or is_transient(error)):
                raise StoreError(f"DynamoDB refuses to read for alerts: {error}") from error
        except BotoCoreError as error:
            log.warning("reading for alerts: %s", error)
        backoff.wait("DynamoDB keeps refusing to read for alerts")


def stored_window(item: Mapping[str, Any], tier: Tier) -> Window:
    """A window from its item, without anything that is not durable."""
    name = item["window"]["S"]
    window = Window(item["device"]["S"], name, parse_time(name.partition("#")[2]) + tier.size_ms)
    load_window(window, item)
    window.loaded = True
    return window
