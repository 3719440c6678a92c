"""The fleet at one moment: search, sort, page, summary, and what changed since another. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from dashboard.answers import (
    Alert,
    Device,
    FreshDevice,
    Freshness,
    ListedDevice,
    Reject,
    Rejected,
    Report,
    Shard,
    Stream,
    Summary,
    Worker,
)
from dashboard.errors import BadRequestError

ONLINE_MS: Final = 60_000
LATE_MS: Final = 15 * 60_000
"""A device is online when it was last heard within a minute, late within a quarter of an hour,
silent after that, and new when it was never heard."""

SILENT_MS: Final = 10_000
"""A worker reports every five seconds; after this time without a report its shards' lag grows."""

REPORTING_MS: Final = 30_000
"""A worker that has not reported for longer is not shown as working."""

POINTS: Final = 30
MAX_NAMES: Final = 200
MAX_REJECTS: Final = 50
MAX_LIMIT: Final = 200
SORTS: Final = ("device", "group", "type", "status", "last_seen")


@dataclass(frozen=True)
class Snapshot:
    """The hot tables as they were read at ``at`` (ms). ``version`` grows with each change, ``read``
    with each read of the tables. ``units`` are those of the applied schemas, by metric. One that is
    not whole holds what some groups' viewers may see, see :mod:`dashboard.tenants.visible`."""

    version: int = 0
    at: int = 0
    devices: Mapping[str, Device] = field(default_factory=dict)
    workers: Sequence[Report] = ()
    alerts: Mapping[str, Sequence[Alert]] = field(default_factory=dict)
    """Alerts by device, of those that changed lately."""
    units: Mapping[str, str] = field(default_factory=dict)
    read: int = 0
    is_whole: bool = True


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


def freshness(row: Device, now_ms: int) -> Freshness:
    """How long ago a device was last heard, in a word."""
    last_seen = row["last_seen"]
    if last_seen is None:
        return "new"
    age = now_ms - last_seen
    return "online" if age <= ONLINE_MS else "late" if age <= LATE_MS else "silent"


def with_status(row: Device, now_ms: int) -> FreshDevice:
    """A row with its freshness."""
    return {**row, "status": freshness(row, now_ms)}


def page(snapshot: Snapshot, wanted: Wanted) -> tuple[list[FreshDevice], int]:
    """The page of devices that is asked for, and how many match in all."""
    text = wanted.search.casefold()
    found = [
        row
        for row in (with_status(row, snapshot.at) for row in snapshot.devices.values())
        if (not text or text in row["device"].casefold())
        and (not wanted.group or row["group"] == wanted.group)
        and (not wanted.type or row["type"] == wanted.type)
        and (not wanted.status or row["status"] == wanted.status)
    ]
    found.sort(key=lambda row: _key(row, wanted.sort), reverse=wanted.descending)
    return found[wanted.offset : wanted.offset + wanted.limit], len(found)


def _key(row: FreshDevice, sort: str) -> tuple[int | str, str]:
    name = row["device"]
    if sort == "status":
        return get_args(Freshness).index(row["status"]), name
    if sort == "last_seen":
        return row["last_seen"] or 0, name
    return str(row[sort]), name  # type: ignore[literal-required]  # one of SORTS


def summary(snapshot: Snapshot, units: Mapping[str, str] | None = None) -> Summary:
    """The fleet in a few figures, with the units of its metrics: those that are given, and the
    schemas' for others. Of a snapshot that is not whole, what is added up over all groups is
    ``None``."""
    counts = Counter(freshness(row, snapshot.at) for row in snapshot.devices.values())
    working = [report for report in snapshot.workers if _reports(report, snapshot.at)]
    latency = [one["latency_ms"] for one in working if one["latency_ms"]["p50"] is not None]
    whole = snapshot.is_whole

    def worst(name: Literal["p50", "p95", "p99"]) -> float | None:
        return max((value for one in latency if (value := one[name]) is not None), default=None)

    def rate(name: Literal["messages_per_s", "readings_per_s"]) -> float | None:
        return round(sum(one.get(name, 0.0) for one in working), 1) if whole else None

    return {
        "at": snapshot.at,
        "version": snapshot.version,
        "devices": {
            "total": len(snapshot.devices),
            "online": counts["online"],
            "late": counts["late"],
            "silent": counts["silent"],
            "new": counts["new"],
        },
        "messages_per_s": rate("messages_per_s"),
        "readings_per_s": rate("readings_per_s"),
        "latency_ms": {"p50": worst("p50"), "p95": worst("p95"), "p99": worst("p99")},
        "workers": len(working) if whole else None,
        "lag_ms": {
            shard["shard"]: shard["lag_ms"]
            for shard in stream(snapshot)["shards"]
            if shard["state"] != "lost" and shard["lag_ms"] is not None
        },
        "rejected": _rejected(snapshot.workers),
        "units": _units(snapshot, {**snapshot.units, **(units or {})}),
        "groups": sorted({row["group"] for row in snapshot.devices.values()} - {""})[:MAX_NAMES],
        "types": sorted({row["type"] for row in snapshot.devices.values()} - {""})[:MAX_NAMES],
    }


def _units(snapshot: Snapshot, units: Mapping[str, str]) -> dict[str, str]:
    """The units of metrics; of a snapshot that is not whole, of those that its devices have."""
    if snapshot.is_whole:
        return dict(units)
    metrics = {name for row in snapshot.devices.values() for name in row["metrics"]}
    return {name: unit for name, unit in units.items() if name in metrics}


def _reports(report: Report, now_ms: int) -> bool:
    return now_ms - report["updated_at"] <= REPORTING_MS


def _dispositions(reports: Iterable[Report]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.get("dispositions", {}))
    return dict(total)


def _rejected(reports: Iterable[Report]) -> dict[str, int]:
    """Counts of every disposition but ``ok``."""
    counts = sorted(_dispositions(reports).items())
    return {name: count for name, count in counts if name != "ok" and count}


def stream(snapshot: Snapshot) -> Stream:
    """Shards, lag, commits and rejects, as the workers report them.

    A shard that two workers report is shown as the one that works on it has it.
    """
    shards: dict[str, Shard] = {}
    rejects: list[Reject] = []
    for report in snapshot.workers:
        rejects += report.get("rejects", [])
        reporting = _reports(report, snapshot.at)
        for shard in report.get("shards", []):
            known = shards.get(shard["shard"])
            mine: Shard = {
                **shard,
                "worker": report["worker"],
                "updated_at": report["updated_at"],
                "lag_ms": lag_now(shard.get("lag_ms"), snapshot.at - report["updated_at"]),
                "state": "lost" if shard["lease_lost"] else "working" if reporting else "unknown",
            }
            if known is None or (known["state"] != "working" and mine["state"] == "working"):
                shards[shard["shard"]] = mine
    rejects.sort(key=lambda one: int(one["at"]), reverse=True)
    return {
        "at": snapshot.at,
        "shards": [shards[name] for name in sorted(shards)],
        "dispositions": _dispositions(snapshot.workers),
        "rejects": rejects[:MAX_REJECTS],
        "workers": [_worker(report) for report in snapshot.workers if snapshot.is_whole],
    }


def rejected(snapshot: Snapshot, device: str) -> Rejected | None:
    """What of a device was not folded, added up over the workers' reports."""
    found = [
        one
        for report in snapshot.workers
        if (one := report.get("rejected_devices", {}).get(device)) is not None
    ]
    if not found:
        return None
    dispositions: Counter[str] = Counter()
    for one in found:
        dispositions.update(one["dispositions"])
    return {"dispositions": dict(dispositions), "last_at": max(one["last_at"] for one in found)}


def lag_now(lag_ms: int | None, age_ms: int) -> int | None:
    """The lag of a shard whose worker reported it ``age_ms`` ago. While a worker is silent, nobody
    knows whether records wait, so its lag grows."""
    if lag_ms is None or age_ms <= SILENT_MS:
        return lag_ms
    return lag_ms + age_ms


def _worker(report: Report) -> Worker:
    return {
        "worker": report["worker"],
        "updated_at": report["updated_at"],
        "restarts": report["restarts"],
        "conflicts": report["conflicts"],
        "throttled": report["throttled"],
        "records": report["records"],
        "durable": report["durable"],
    }


def changed(old: Snapshot, new: Snapshot, watched: Iterable[str]) -> list[FreshDevice]:
    """The watched devices that differ between two snapshots, in their freshness too."""
    rows = []
    for name in watched:
        row = new.devices.get(name)
        if row is None:
            continue
        shown = with_status(row, new.at)
        before = old.devices.get(name)
        if before is None or with_status(before, old.at) != shown:
            rows.append(shown)
    return rows


class Sparks:
    """The last values of one metric of each device, for the small line beside its name. It is the
    first metric by name that ever had a value other than 0 and 1. A device that is moved to another
    group begins anew: its values of before are of those who saw it then."""

    def __init__(self) -> None:
        self._group: dict[str, str] = {}
        self._points: dict[str, deque[tuple[int, float]]] = {}
        self._metric: dict[str, str] = {}

    def add(self, rows: Sequence[Device]) -> None:
        """Take the values that are newer than the last ones; ``rows`` are all devices there are."""
        for row in rows:
            if self._group.setdefault(row["device"], row["group"]) != row["group"]:
                self._forget(row["device"])
                self._group[row["device"]] = row["group"]
            if not row["metrics"]:
                continue
            name = self._metric.get(row["device"]) or self._choose(row)
            value = row["metrics"].get(name)
            if value is None:
                continue
            points = self._points.setdefault(row["device"], deque(maxlen=POINTS))
            if not points or points[-1][0] != value["ts"]:
                points.append((value["ts"], value["v"]))
        if len(self._group) > len(rows):
            for gone in self._group.keys() - {row["device"] for row in rows}:
                self._forget(gone)

    def _forget(self, device: str) -> None:
        for known in (self._group, self._points, self._metric):
            known.pop(device, None)

    def _choose(self, row: Device) -> str:
        metrics = row["metrics"]
        name = next((name for name in metrics if metrics[name]["v"] not in (0, 1)), None)
        if name is not None:
            self._metric[row["device"]] = name
            self._points.pop(row["device"], None)
        return name or str(next(iter(metrics)))

    def of(self, device: str) -> list[float]:
        """Values, oldest first."""
        return [value for _, value in self._points.get(device, ())]

    def listed(self, rows: Iterable[FreshDevice]) -> list[ListedDevice]:
        """The rows with their values."""
        return [{**row, "spark": self.of(row["device"])} for row in rows]
