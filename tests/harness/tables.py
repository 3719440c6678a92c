"""Hot tables in memory, for the read side: the calls that it makes, paged as DynamoDB pages."""

from __future__ import annotations

import json
from typing import Any

from dashboard.feed import Shadows as Commands
from dashboard.feed import Writer
from ingest.acts.log import ActLog
from tests.harness.act_bucket import ActBucket
from tests.harness.alert_table import AlertTable
from tests.harness.shadow import Shadows

PAGE = 7


def n(value: float) -> dict[str, str]:
    return {"N": repr(value)}


def metric(values: list[float]) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {
        "M": {
            "n": n(len(values)), "sum": n(sum(values)), "min": n(min(values)),
            "max": n(max(values)), "mean": n(mean), "first": n(values[0]), "last": n(values[-1]),
            "first_at": n(1), "last_at": n(2),
            "m2": n(sum((v - mean) ** 2 for v in values)),
        }
    }  # fmt: skip


class Tables:
    """Items by table; ``fail`` is raised by every call when it is set. A page of an answer has
    ``page`` items at most."""

    def __init__(self, page: int = PAGE) -> None:
        self.page = page
        self.devices: dict[str, dict[str, Any]] = {}
        self.windows: dict[str, dict[str, dict[str, Any]]] = {}
        self.workers: dict[str, dict[str, Any]] = {}
        self.fail: Exception | None = None
        self.calls = 0
        self.marks: list[dict[str, Any]] = []
        self.alerts = AlertTable()
        self.acts = ActBucket()
        log = ActLog(self.acts, "bucket", lambda: 1_795_420_800_000)
        self.writer = Writer(self.alerts, log)
        self.shadows = Shadows(1_795_420_800_000)
        self.commands = Commands(self.shadows, self.shadows, log)

    def add_device(
        self, name: str, *, seen: int | None = 0, group: str = "", kind: str = "",
        metrics: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        item: dict[str, Any] = {"device": {"S": name}}
        item |= {"group": {"S": group}, "type": {"S": kind}, "ver": n(1)}
        if seen is not None:
            item |= {"last_seen": n(seen), "last_ts": n(seen), "boot": {"S": "boot-one"}}
            item |= {"seq": n(1), "metrics": {"M": {
                name: {"M": {"v": n(value), "ts": n(seen)}}
                for name, value in (metrics or {"temperature": 21.5}).items()
            }}}  # fmt: skip
        self.devices[name] = item

    def add_window(
        self, device: str, window: str, ids: str = "0-1", expires_at: int = 2**40,
        values: list[float] | None = None, metrics: dict[str, list[float]] | None = None,
    ) -> None:  # fmt: skip
        metrics = metrics or {"temperature": values or [20.0, 22.0]}
        readings = max(map(len, metrics.values()))
        self.windows.setdefault(device, {})[window] = {
            "device": {"S": device}, "window": {"S": window}, "ver": n(1), "n": n(readings),
            "first_ts": n(1), "last_ts": n(2), "ids": {"M": {"boot-one": {"S": ids}}},
            "metrics": {"M": {name: metric(values) for name, values in metrics.items()}},
            "expires_at": n(expires_at),
        }  # fmt: skip

    def add_worker(self, name: str, updated_at: int, **report: Any) -> None:
        base: dict[str, Any] = {
            "records": 10, "durable": 9, "conflicts": 0, "throttled": 0, "restarts": 0,
            "messages_per_s": 5.0, "readings_per_s": 7.5, "dispositions": {"ok": 9, "malformed": 1},
            "latency_ms": {"p50": 300.0, "p95": 500.0, "p99": 600.0},
            "rejects": [{"device": "d", "disposition": "malformed", "at": 5, "preview": "\\xff"}],
            "shards": [{"shard": "shard-0", "pid": 1, "records": 10, "lag_ms": 40, "commits": 2,
                        "uncommitted_since": 1,
                        "committed_at": 1,
                        "lease_lost": False}],
        }  # fmt: skip
        self.workers[name] = {
            "worker": {"S": name}, "updated_at": n(updated_at),
            "report": {"S": json.dumps({**base, **report})},
        }  # fmt: skip

    # -- DynamoDB's calls --------------------------------------------------------------------

    def _called(self) -> None:
        self.calls += 1
        if self.fail:
            raise self.fail

    def get_item(self, **request: Any) -> Any:
        self._called()
        if request["TableName"] == "alerts":
            return self.alerts.get_item(**request)
        if "device" not in request["Key"]:
            return {}
        item = self.devices.get(request["Key"]["device"]["S"])
        return {"Item": item} if item else {}

    def batch_get_item(self, **request: Any) -> Any:
        self._called()
        ((table, asked),) = request["RequestItems"].items()
        if table == "alerts":
            return self.alerts.batch_get_item(**request)
        found = [self.windows.get(key["device"]["S"], {}).get(key["window"]["S"])
                 for key in asked["Keys"]]  # fmt: skip
        return {"Responses": {table: [item for item in found if item]}}

    def update_item(self, **request: Any) -> Any:
        self._called()
        self.marks.append(request)

    def scan(self, **request: Any) -> Any:
        self._called()
        if request["TableName"] != "devices":
            return {"Items": list(self.workers.values())}
        segment, segments = request["Segment"], request["TotalSegments"]
        found = [self.devices[name] for number, name in enumerate(sorted(self.devices))
                 if number % segments == segment]  # fmt: skip
        return self._page(found, "device", request)

    def query(self, **request: Any) -> Any:
        self._called()
        if request["TableName"] == "alerts":
            return self.alerts.query(**request)
        values = request["ExpressionAttributeValues"]
        mine = self.windows.get(values[":d"]["S"], {})
        low, high = values[":a"]["S"], values[":b"]["S"]
        found = [mine[name] for name in sorted(mine) if low <= name <= high]
        return self._page(found, "window", request)

    def _page(self, found: list[Any], key: str, request: Any) -> Any:
        start = request.get("ExclusiveStartKey", {}).get(key, {}).get("S", "")
        rest = [item for item in found if item[key]["S"] > start]
        size = min(self.page, request.get("Limit", self.page))
        answer: dict[str, Any] = {"Items": rest[:size]}
        if len(rest) > size:
            answer["LastEvaluatedKey"] = {key: rest[size - 1][key]}
        return answer
