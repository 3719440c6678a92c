"""The fleet at one moment, and what changed since another: search, sort, page, summary. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dashboard.queries import BadRequestError

ONLINE_MS: Final = 60_000
LATE_MS: Final = 15 * 60_000
"""A device is online when it was heard within the last minute, late within a quarter of an hour,
and silent beyond; ``new`` when it was never heard."""

SILENT_MS: Final = 10_000
"""A worker reports every five seconds; after this time without a report its shards' lag grows."""

REPORTING_MS: Final = 30_000
"""A worker that said nothing for so long is not shown as working."""

POINTS: Final = 30
MAX_LIMIT: Final = 200
SORTS: Final = ("device", "group", "type", "status", "last_seen")

Freshness = Literal["online", "late", "silent", "new"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The hot tables as they were read at ``at`` (ms); ``version`` grows with each."""

    version: int = 0
    at: int = 0
    devices: Mapping[str, Row] = field(default_factory=dict)
    workers: Sequence[Row] = ()


@dataclass(frozen=True)
class Wanted:
    """A page of devices that was asked for."""

    search: str = ""
    group: str = ""
    type: str = ""
    status: str = ""
    sort: str = "device"
    descending: bool = False
    offset: int = 0
    limit: int = 100

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise BadRequestError(f"sort: one of {', '.join(SORTS)}, not {self.sort!r:.60}")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadRequestError(f"limit: 1 to {MAX_LIMIT}, not {self.limit}")
        if not 0 <= self.offset <= 10_000_000:
            raise BadRequestError("offset: 0 or more")


def freshness(row: Row, now_ms: int) -> Freshness:
    """How long ago a device was heard, in a word."""
    if row["last_seen"] is None:
        return "new"
    age = now_ms - row["last_seen"]
    return "online" if age <= ONLINE_MS else "late" if age <= LATE_MS else "silent"


def page(snapshot: Snapshot, wanted: Wanted) -> dict[str, Any]:
    """The devices that match, a page of them, and how many there are."""
    needle = wanted.search.casefold()
    found = [
        shown
        for row in snapshot.devices.values()
        if (not needle or needle in row["device"].casefold())
        and (not wanted.group or row["group"] == wanted.group)
        and (not wanted.type or row["type"] == wanted.type)
        and (not wanted.status or freshness(row, snapshot.at) == wanted.status)
        and (shown := row)
    ]
    found.sort(key=lambda row: _key(row, wanted.sort, snapshot.at), reverse=wanted.descending)
    rows = found[wanted.offset : wanted.offset + wanted.limit]
    return {
        "total": len(found),
        "offset": wanted.offset,
        "devices": [show(row, snapshot.at) for row in rows],
        "version": snapshot.version,
    }


def show(row: Row, now_ms: int) -> Row:
    """A row with its freshness."""
    return {**row, "status": freshness(row, now_ms)}


def _key(row: Row, sort: str, now_ms: int) -> tuple[Any, str]:
    name = row["device"]
    if sort == "status":
        return ("online", "late", "silent", "new").index(freshness(row, now_ms)), name
    if sort == "last_seen":
        return row["last_seen"] or 0, name
    return row[sort], name


def summary(snapshot: Snapshot, units: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The fleet in a few figures, with the units of its metrics."""
    counts = Counter(freshness(row, snapshot.at) for row in snapshot.devices.values())
    working = [w for w in snapshot.workers if snapshot.at - w["updated_at"] <= REPORTING_MS]
    latency = [w["latency_ms"] for w in working if w["latency_ms"]["p50"] is not None]
    return {
        "at": snapshot.at,
        "version": snapshot.version,
        "devices": {
            "total": len(snapshot.devices),
            **{name: counts[name] for name in ("online", "late", "silent", "new")},
        },
        "messages_per_s": round(sum(w.get("messages_per_s", 0.0) for w in working), 1),
        "readings_per_s": round(sum(w.get("readings_per_s", 0.0) for w in working), 1),
        "latency_ms": {
            name: max((one[name] for one in latency), default=None)
            for name in ("p50", "p95", "p99")
        },
        "workers": len(working),
        "lag_ms": {
            shard["shard"]: shard["lag_ms"]
            for shard in stream(snapshot)["shards"]
            if shard["state"] != "lost" and shard["lag_ms"] is not None
        },
        "rejected": _rejected(snapshot.workers),
        "units": dict(units or {}),
        "groups": sorted({row["group"] for row in snapshot.devices.values()} - {""})[:200],
        "types": sorted({row["type"] for row in snapshot.devices.values()} - {""})[:200],
    }


def _rejected(workers: Iterable[Row]) -> dict[str, int]:
    """Counts of every disposition but ``ok``."""
    total: Counter[str] = Counter()
    for worker in workers:
        total.update(worker.get("dispositions", {}))
    return {name: count for name, count in sorted(total.items()) if name != "ok" and count}


def stream(snapshot: Snapshot) -> dict[str, Any]:
    """Shards, lag, commits and rejects, as the workers tell them."""
    dispositions: Counter[str] = Counter()
    shards: dict[str, Row] = {}
    rejects: list[Row] = []
    for worker in snapshot.workers:
        dispositions.update(worker.get("dispositions", {}))
        rejects += worker.get("rejects", [])
        reporting = snapshot.at - worker["updated_at"] <= REPORTING_MS
        for shard in worker.get("shards", []):
            known = shards.get(shard["shard"])
            mine = {**shard, "worker": worker["worker"], "updated_at": worker["updated_at"]}
            mine["lag_ms"] = lag_now(shard.get("lag_ms"), snapshot.at - worker["updated_at"])
            mine["state"] = "lost" if shard["lease_lost"] else "working" if reporting else "unknown"
            if known is None or (known["state"] != "working" and mine["state"] == "working"):
                shards[shard["shard"]] = mine
    rejects.sort(key=lambda one: int(one["at"]), reverse=True)
    return {
        "at": snapshot.at,
        "shards": [shards[name] for name in sorted(shards)],
        "dispositions": dict(dispositions),
        "rejects": rejects[:50],
        "workers": [
            {name: worker.get(name) for name in ("worker", "updated_at", "restarts", "conflicts",
                                                 "throttled", "records", "durable")}
            for worker in snapshot.workers
        ],
    }  # fmt: skip


def lag_now(lag_ms: int | None, age_ms: int) -> int | None:
    """The lag of a shard whose worker reported it ``age_ms`` ago. While a worker is silent, nobody
    knows whether records wait, so its lag grows."""
    if lag_ms is None or age_ms <= SILENT_MS:
        return lag_ms
    return lag_ms + age_ms


def changed(old: Snapshot, new: Snapshot, watched: Iterable[str]) -> list[Row]:
    """The watched devices that are not as they were, freshness included."""
    rows = []
    for name in watched:
        row = new.devices.get(name)
        if row is None:
            continue
        shown = show(row, new.at)
        before = old.devices.get(name)
        if before is None or show(before, old.at) != shown:
            rows.append(shown)
    return rows


class Sparks:
    """The last values of one metric of each device, as they were seen: one short line each. It is
    the first by name that was ever anything but 0 or 1."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[int, float]]] = {}
        self._metric: dict[str, str] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Note what is new."""
        for row in rows:
            if not row["metrics"]:
                continue
            name = self._metric.get(row["device"]) or self._choose(row)
            value = row["metrics"].get(name)
            if value is None:
                continue
            points = self._points.setdefault(row["device"], deque(maxlen=POINTS))
            if not points or points[-1][0] != value["ts"]:
                points.append((value["ts"], value["v"]))

    def _choose(self, row: Row) -> str:
        metrics = row["metrics"]
        name = next((name for name in metrics if metrics[name]["v"] not in (0, 1)), None)
        if name is not None:
            self._metric[row["device"]] = name
            self._points.pop(row["device"], None)
        return name or str(next(iter(metrics)))

    def of(self, device: str) -> list[float]:
        """Values, oldest first."""
        return [value for _, value in self._points.get(device, ())]
