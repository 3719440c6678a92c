"""Devices that are on somebody's page: marked as watched, and shown as their current windows are.

The roster's latest state is written at a slow pace. Workers write the finest windows of watched
devices as soon as they change (:mod:`ingest.tables.watched`), and the newest values are in there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dashboard.answers import Device
from dashboard.queries import Client
from ingest.tables.hot import number, window_key
from ingest.tables.watched import MAX_DEVICES, WATCH_S, key, watch
from ingest.tiers import Tier

RENEW_S: Final = WATCH_S / 3
_KEYS_A_CALL: Final = 100


class Watched:
    """The devices that the viewers of one dashboard look at, those asked for last first."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._marked: frozenset[str] = frozenset()
        self._marked_at = -float(WATCH_S)
        self.viewer = secrets.token_hex(6)

    def add(self, devices: Iterable[str], now_s: float) -> None:
        """Somebody looks at these devices."""
        for name in devices:
            self._until.pop(name, None)
            self._until[name] = now_s + WATCH_S

    def devices(self, now_s: float) -> list[str]:
        """The devices that are looked at now, as many as can be marked."""
        self._until = {name: until for name, until in self._until.items() if until > now_s}
        return list(reversed(self._until))[:MAX_DEVICES]

    def is_due(self, now_s: float) -> bool:
        """Whether the mark must be put again: for a device that it does not name, or for age."""
        devices = self.devices(now_s)
        return bool(devices) and (
            now_s - self._marked_at >= RENEW_S or not self._marked.issuperset(devices)
        )

    def mark(self, client: Client, table: str, now_s: float) -> None:
        """Mark the devices that are looked at."""
        devices = self.devices(now_s)
        item = client.get_item(TableName=table, Key=key()).get("Item")
        client.update_item(**watch(table, self.viewer, devices, now_s, item))
        self._marked, self._marked_at = frozenset(devices), now_s


def newest_windows(
    client: Client, table: str, devices: Sequence[str], tier: Tier, now_ms: int
) -> dict[str, list[Mapping[str, Any]]]:
    """The items of the current and the last window of each device. What DynamoDB does not answer
    for is left out: it is asked again a second later."""
    start = now_ms - now_ms % tier.size_ms
    keys = [
        window_key(name, tier.name, at) for name in devices for at in (start - tier.size_ms, start)
    ]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for first in range(0, len(keys), _KEYS_A_CALL):
        some = keys[first : first + _KEYS_A_CALL]
        answer = client.batch_get_item(RequestItems={table: {"Keys": some}})
        for item in answer["Responses"].get(table, []):
            found.setdefault(item["device"]["S"], []).append(item)
    return found


def with_newest(row: Device, windows: Iterable[Mapping[str, Any]], now_ms: int) -> Device:
    """A roster row with what its windows know better: newer values, and when it was last heard. Of
    a window that is the event time, so a device whose clock is ahead is heard now."""
    metrics, last_ts = dict(row["metrics"]), row["last_ts"] or 0
    for item in windows:
        last_ts = max(last_ts, int(item["last_ts"]["N"]))
        for name, value in item["metrics"]["M"].items():
            at = int(value["M"]["last_at"]["N"])
            if name not in metrics or at > metrics[name]["ts"]:
                metrics[name] = {"v": number(value["M"]["last"]) or 0, "ts": at}
    if last_ts == (row["last_ts"] or 0):
        return row
    seen = max(row["last_seen"] or 0, min(last_ts, now_ms))
    return {**row, "metrics": metrics, "last_ts": last_ts, "last_seen": seen}
