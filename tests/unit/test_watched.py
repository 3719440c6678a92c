"""Watched devices: marks in one item, which workers follow and nobody depends on."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from consumers.hot.dynamodb import WatchedReader
from ingest.tables import watched
from ingest.tiers import Tier
from tests.harness.shard import NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

SLOW = (Tier("1m", 75.0, 86400), Tier("1h", 600.0, 864000))


class StatusTable:
    """One item, and the two calls on it."""

    def __init__(self) -> None:
        self.item: dict[str, Any] = {}
        self.fail = False

    def get_item(self, **request: Any) -> Any:
        assert request["Key"] == watched.key()
        if self.fail:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetItem")
        return {"Item": self.item}

    def update_item(self, **request: Any) -> None:
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        assert request["UpdateExpression"].startswith("SET #mine = :mine, #expires = :expires")
        self.item[names["#mine"]] = values[":mine"]
        self.item["expires_at"] = values[":expires"]
        for name in [names[one] for one in names if one.startswith("#o")]:
            del self.item[name]

    def watch(self, viewer: str, devices: list[str], now_s: float) -> None:
        self.update_item(**watched.watch("status", viewer, devices, now_s, dict(self.item)))


def test_marks_of_several_viewers_add_up_and_end_after_a_minute() -> None:
    table = StatusTable()
    table.watch("one", ["a", "b"], 1000)
    table.watch("two", ["b", "c"], 1030)
    assert watched.read_watched(table.item, 1031) == {"a", "b", "c"}
    assert watched.read_watched(table.item, 1061) == {"b", "c"}
    assert watched.read_watched(table.item, 1091) == frozenset()


def test_a_viewer_removes_the_marks_that_are_over() -> None:
    table = StatusTable()
    table.watch("one", ["a"], 1000)
    table.watch("two", ["b"], 2000)
    assert [name for name in table.item if name.startswith("v:")] == ["v:two"]


def test_watching_is_bounded() -> None:
    table = StatusTable()
    for viewer in range(20):
        table.watch(f"viewer-{viewer}", [f"d{viewer}-{i}" for i in range(500)], 1000 + viewer)
    found = watched.read_watched(table.item, 1020)
    assert len(found) == watched.MAX_DEVICES * watched.MAX_VIEWERS
    assert "d19-0" in found
    assert "d0-0" not in found


def test_what_is_no_mark_is_ignored() -> None:
    broken: list[Any] = [{"S": "x"}, {"M": {}}, {"M": {"until": {"N": "9999"}}},
                         {"M": {"until": {"N": "9999"}, "devices": {"L": [{"N": "1"}]}}},
                         {"M": {"until": {"N": "soon"}, "devices": {"L": []}}}]  # fmt: skip
    for mark in broken:
        assert watched.read_watched({"v:x": mark, "expires_at": {"N": "1"}}, 1) == frozenset()


class Site:
    """A worker with slow tiers over a status table, in virtual time."""

    def __init__(self) -> None:
        self.status, self.dynamo, self.now = StatusTable(), MemoryDynamo(), 0.0
        self.shard = Shard()
        reader: Any = WatchedReader(self.status, "status", lambda: self.now)  # type: ignore[arg-type]
        self.worker = open_worker(
            self.shard, self.dynamo, MemoryS3(), lambda: self.now, tiers=SLOW, read_watched=reader
        )
        self.given = 0

    def run(self, until: float) -> None:
        """A message of each device every second, processed as it comes."""
        while self.now < until:
            self.now += 0.25
            if self.now % 1 == 0:
                at = NOW + int(self.now * 1000)
                for device in ("watched", "other"):
                    data = payload("boot-one", int(self.now), [(at, {"t": 1.0})])
                    self.shard.put(device, data, at, at)
            self.worker.process(self.shard.records[self.given :])
            self.given = len(self.shard.records)

    def seen(self, device: str) -> float:
        """How old the newest stored reading of a device is (s)."""
        newest = max(
            (int(item["last_ts"]["N"]) for (name, window), item
             in self.dynamo.tables.get("windows", {}).items()
             if name == device and window.startswith("1m")),
            default=NOW,
        )  # fmt: skip
        return self.now - (newest - NOW) / 1000


def test_a_watched_device_is_written_within_a_second_and_others_at_their_pace() -> None:
    site = Site()
    site.run(20)
    assert site.seen("watched") > 15
    site.status.watch("page", ["watched"], site.now)
    site.run(24)
    for _ in range(10):
        site.run(site.now + 1)
        assert site.seen("watched") <= 1.5
        assert site.seen("other") > 15


def test_a_worker_that_cannot_read_the_marks_goes_on_and_forgets_them() -> None:
    site = Site()
    site.status.watch("page", ["watched"], 0)
    site.run(5)
    assert site.seen("watched") <= 1.5
    site.status.fail = True
    site.run(30)
    assert site.seen("watched") <= 1.5
    site.run(90)
    assert site.seen("watched") > 5
    site.worker.commit()
    assert site.seen("other") <= 1.5
