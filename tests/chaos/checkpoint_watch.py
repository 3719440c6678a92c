"""K: no checkpoint passes an uncommitted segment or a reading that is not durable."""

from __future__ import annotations

import json
import time
from typing import Any

from consumers.kcl.position import position
from simulator.verification.ledger import OK
from simulator.verification.observe import ArchiveRow, rows_of
from tests.chaos.plan import Call
from tests.chaos.stack import DeployedStack


class CheckpointWatch:
    """Checks each checkpoint that a worker writes, in the proxy, before it is let through."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack = stack
        self._found: list[str] = []

    def take(self) -> list[str]:
        """The violations since the last call."""
        found, self._found = self._found, []
        return found

    def on_call(self, call: Call) -> None:
        """At a checkpoint: the archive must reach as far, and the newest rows there must be in
        their windows."""
        if (
            call.operation != "UpdateItem"
            or f'"{self._stack.settings.application}"' not in call.text
        ):
            return
        if (asked := _checkpoint_of(call.text)) is None:
            return
        shard, sequence = asked
        if (found := self._too_early(shard, sequence)) is not None:
            self._found.append(found)

    def _too_early(self, shard: str, sequence: str) -> str | None:
        reached = position(sequence, 0)
        bucket = self._stack.settings.bucket(self._stack.target.account)
        newest: tuple[Any, str] | None = None
        for page in self._stack.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                if f"/{shard}-" in item["Key"]:
                    first = position(item["Key"].rsplit("-", 1)[1].split(".")[0], 0)
                    if first <= reached and (newest is None or first > newest[0]):
                        newest = (first, item["Key"])
        if newest is None:
            return f"K: {shard} is checkpointed at {sequence} and nothing of it is archived"
        body = self._stack.s3.get_object(Bucket=bucket, Key=newest[1])["Body"].read()
        rows = rows_of(body)
        last = max(position(row.sequence_number, 0) for row in rows)
        if last < reached:
            return f"K: {shard} is checkpointed at {sequence}, archived up to {last.sequence}"
        good = [
            r for r in rows if r.disposition == OK and position(r.sequence_number, 0) <= reached
        ]
        for row in good[-5:]:
            if not self._is_durable(row):
                return f"K: {shard} is checkpointed past {row.device_id}/{row.seq}, not durable"
        return None

    def _is_durable(self, row: ArchiveRow) -> bool:
        tier = self._stack.settings.tiers[-1]  # the last to be flushed
        ts = row.ts or 0
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((ts - ts % tier.size_ms) / 1000))
        item = self._stack.dynamodb.get_item(
            TableName=self._stack.settings.windows_table,
            Key={"device": {"S": row.device_id}, "window": {"S": f"{tier.name}#{start}"}},
            ConsistentRead=True,
        ).get("Item", {"ids": {"M": {}}})
        ranges = item["ids"]["M"].get(row.boot, {"S": ""})["S"]
        bounds = (part.split("-") for part in ranges.split(",") if part)
        return any(int(part[0]) <= (row.seq or 0) <= int(part[-1]) for part in bounds)


def _checkpoint_of(body: str) -> tuple[str, str] | None:
    """Shard and sequence number of a lease's update that moves its checkpoint."""
    document = json.loads(body)
    shard = document.get("Key", {}).get("leaseKey", {}).get("S", "")
    moved = document.get("AttributeUpdates", {}).get("checkpoint", {}).get("Value", {}).get("S")
    if moved is None:
        return None
    return (shard, moved) if moved.isdigit() else None
