"""``<stack>-alerts`` in memory, for the read side and for acts: with its index, paged, and with
conditions on the version."""

from __future__ import annotations

import hashlib
from typing import Any

from botocore.exceptions import ClientError

from ingest.tables.alarms import COLUMNS, DeviceAlarms, Entry, RuleState


class AlertTable:
    """Items by device. ``read`` counts the items that queries answered, ``keys`` those that were
    asked for by key; ``before_put`` is called
    before a write, as another writer that comes in between."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.read = 0
        self.keys = 0
        self.before_put: Any = None

    def add(
        self, device: str, *entries: Entry, changed: int, rule: str = "hot",
        severity: str = "critical", ver: int = 1,
    ) -> None:  # fmt: skip
        alarms = DeviceAlarms(device)
        state = RuleState(list(entries), severity=severity, text=f"{device} is hot")
        alarms.states[rule] = state
        values = dict(zip(COLUMNS, alarms.values(changed), strict=True))
        self.items[device] = {"device": {"S": device}, "ver": {"N": str(ver)}, **values}

    def get_item(self, **request: Any) -> Any:
        item = self.items.get(request["Key"]["device"]["S"])
        return {"Item": dict(item)} if item else {}

    def batch_get_item(self, **request: Any) -> Any:
        ((table, asked),) = request["RequestItems"].items()
        found = [self.items.get(key["device"]["S"]) for key in asked["Keys"]]
        self.keys += len(found)
        return {"Responses": {table: [dict(item) for item in found if item]}}

    def put_item(self, **request: Any) -> None:
        if self.before_put is not None:
            between, self.before_put = self.before_put, None
            between()
        item = request["Item"]
        stored = self.items.get(item["device"]["S"])
        wanted = request.get("ExpressionAttributeValues", {}).get(":ver")
        if (stored["ver"] if stored else None) != wanted:
            code = "ConditionalCheckFailedException"
            raise ClientError({"Error": {"Code": code, "Message": ""}}, "PutItem")
        self.items[item["device"]["S"]] = item

    def query(self, **request: Any) -> Any:
        values = request["ExpressionAttributeValues"]
        since = int(values.get(":since", {"N": "0"})["N"])
        until = int(values.get(":until", {"N": str(2**53)})["N"])
        found = sorted(
            (item for item in self.items.values()
             if item["is_open"] == values[":open"]
             and since <= int(item["changed"]["N"]) <= until),
            key=_order,
        )  # fmt: skip
        if after := request.get("ExclusiveStartKey"):
            found = [item for item in found if _order(item) > _order(after)]
        page = found[: request["Limit"]]
        self.read += len(page)
        answer: dict[str, Any] = {"Items": page}
        if len(page) < len(found):
            last = page[-1]
            answer["LastEvaluatedKey"] = {n: last[n] for n in ("is_open", "changed", "device")}
        return answer


def _order(item: Any) -> tuple[int, str]:
    """By time, the newest first; DynamoDB promises no order of what changed at the same time."""
    name = item["device"]["S"]
    return -int(item["changed"]["N"]), hashlib.sha256(name.encode()).hexdigest()
