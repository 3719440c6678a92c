"""What the answers of AWS say about a deployment. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from infra.cost.prices import PriceList

REPORTING_MS: Final = 20_000
"""A worker reports every 5 s (:mod:`consumers.worker.status_table`)."""
_DAYS_A_MONTH: Final = 365 / 12


def workers_of(reports: Iterable[Mapping[str, Any]], now_ms: int) -> dict[str, Any]:
    """The workers that report, and the shards that they hold, furthest behind first.

    A worker that has not reported for :data:`REPORTING_MS` is counted in ``silent`` and its shards
    are left out: another one may hold them. ``lag_ms`` is the greatest, ``None`` when no shard's
    is known.
    """
    known = list(reports)
    working = [one for one in known if now_ms - one["updated_at"] <= REPORTING_MS]
    shards = [
        {
            "shard": shard["shard"],
            "worker": one["worker"],
            "lag_ms": shard.get("lag_ms"),
            "committed_at": shard.get("committed_at"),
        }
        for one in working
        for shard in one.get("shards", ())
    ]
    lags = [shard["lag_ms"] for shard in shards if shard["lag_ms"] is not None]
    return {
        "workers": [
            {
                "worker": one["worker"],
                "age_ms": now_ms - one["updated_at"],
                "not_ready": one.get("not_ready") or "",
                "messages_per_s": one.get("messages_per_s"),
                "restarts": one.get("restarts", 0),
                "shards_left_out": one.get("shards_left_out", 0),
            }
            for one in sorted(working, key=lambda one: str(one["worker"]))
        ],
        "silent": len(known) - len(working),
        "lag_ms": max(lags, default=None),
        "shards": sorted(shards, key=lambda one: (-(one["lag_ms"] or 0), str(one["shard"]))),
    }


def alarms_of(described: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How many alarms there are in each state, and those that are not ``OK`` with their reason.
    Missing data is no news for alarms here: most watch what happens rarely."""
    alarms = list(described)
    firing = [one for one in alarms if one["StateValue"] == "ALARM"]
    return {
        "ok": sum(one["StateValue"] == "OK" for one in alarms),
        "insufficient_data": sum(one["StateValue"] == "INSUFFICIENT_DATA" for one in alarms),
        "firing": [
            {
                "alarm": one["AlarmName"],
                "since": one["StateUpdatedTimestamp"].astimezone(UTC).isoformat(),
                "reason": one.get("StateReason", ""),
            }
            for one in sorted(firing, key=lambda one: str(one["AlarmName"]))
        ],
    }


def yesterday(now: datetime) -> tuple[datetime, datetime]:
    """The last whole day, by UTC.

    >>> start, end = yesterday(datetime(2026, 3, 1, 5, tzinfo=UTC))
    >>> start.isoformat(), (end - start).days
    ('2026-02-28T00:00:00+00:00', 1)
    """
    end = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return end - timedelta(days=1), end


def write_cost(
    consumed: Mapping[str, float], provisioned: Mapping[str, int], prices: PriceList
) -> dict[str, Any]:
    """What the write units of a day cost (USD), table by table, at list prices.

    ``consumed`` are the units of each table; ``provisioned`` the units a second of those that pay
    for capacity and not by request, as they are now.
    """
    by_id = prices.by_id()
    tables = {}
    for table, units in sorted(consumed.items()):
        if capacity := provisioned.get(table, 0):
            usd = by_id["dynamodb.provisioned-write"].cost(capacity) / _DAYS_A_MONTH
        else:
            usd = by_id["dynamodb.write"].cost(units)
        tables[table] = {"write_units": units, "provisioned": capacity, "usd": round(usd, 4)}
    return {
        "tables": tables,
        "write_units": sum(consumed.values()),
        "usd": round(sum(one["usd"] for one in tables.values()), 4),
        "prices": prices.region,
    }


def newest(objects: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any] | None:
    """The object of the archive that was made last; ``None`` when there is none."""
    if not objects:
        return None
    last = max(objects, key=lambda one: one["LastModified"])
    made = last["LastModified"].astimezone(UTC)
    return {
        "key": last["Key"],
        "bytes": last["Size"],
        "at": made.isoformat(),
        "age_s": round((now - made).total_seconds()),
    }
