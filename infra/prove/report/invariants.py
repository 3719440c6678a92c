"""The invariants of the design, one by one, judged from what a run left. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Row = dict[str, Any]

NO_ALARMS: Final = (
    "Invariant T (each alert transition takes effect once): the run has no alert rules.",
)
NOT_EXERCISED: Final = (
    "Workers on ECS Fargate, their scaling and their roll-out: the worker ran on the machine that "
    "ran the proof, as child processes of the command.",
    "Loss of a whole Availability Zone or Region, and a stream that is full for longer than its "
    "retention.",
    "Load near the limits of a shard: the proof is of exactness, not of throughput "
    "(`docs/performance.md` has that).",
    "Alarms, dashboards and the read API: their own tests cover them.",
)
NOT_AWS: Final = (
    "AWS itself: the run was on the embedded AWS, which has AWS's limits and refusals, and with "
    "--like-aws its latency and capacity. Run `penstock prove --aws` in an account for the rest.",
    "The five minutes that AWS IoT keeps a thing type after its deprecation: 30 seconds here.",
)


def invariants(
    load: Mapping[str, Any], found: Mapping[str, Any], account: Mapping[str, Any]
) -> list[Row]:
    """Each invariant with its figures; ``held`` is ``None`` for one that was not exercised.

    ``load``, ``found`` and ``account`` are the results of the steps that load, compare, and search
    the account.
    """
    return [
        *_of_readings(load, found),
        _checkpoints(load, found),
        _healing(load, found),
        _identity(found),
        _transitions(found.get("alarms")),
        _removal(account),
    ]  # fmt: skip


def exact(rows: Sequence[Row]) -> bool:
    """Whether every invariant that was exercised holds.

    >>> exact([{"held": True}, {"held": None}])
    True
    """
    return all(row["held"] is not False for row in rows)


def _row(name: str, text: str, held: bool | None, figures: Mapping[str, Any], detail: str) -> Row:
    return {"id": name, "text": text, "held": held, "figures": dict(figures), "detail": detail}


def _of_readings(load: Mapping[str, Any], found: Mapping[str, Any]) -> list[Row]:
    windows, latest, archive = found["windows"], found["latest"], found["archive"]
    spool, dispositions = load["spool"], found["dispositions"]
    hot = {**windows, "latest_checked": latest["checked"], "latest_wrong": latest["wrong"]}
    folded = dispositions.get("ok", 0)
    others = sum(dispositions.values()) - folded
    rows = archive["readings"] + archive["repeated"] + archive["rejected"]
    return [
        _row("S", "No reading is lost between the sensor and the broker",
             not (spool["lost"] or spool["waiting"]), spool,
             f"{spool['numbered']:,} readings were taken; through power cuts and lost networks "
             "they waited in spools on the devices' disks"),
        _row("H", "Windows are the fold of the distinct readings that were sent",
             not (any(hot[k] for k in ("missing", "extra", "wrong")) or latest["wrong"]), hot,
             f"{windows['checked']:,} windows and {latest['checked']:,} latest states were "
             "compared with a computation of their own"),
        _row("A", "Every record is in the archive exactly once",
             not any(archive[k] for k in ("missing", "duplicated", "wrong", "extra")), archive,
             f"{archive['readings']:,} readings in {archive['records']:,} records, compared value "
             f"by value; {archive['repeated']:,} came more than once and count once"),
        _row("C", "Received = folded + what has another disposition",
             sum(dispositions.values()) == rows and not archive["wrong"], dispositions,
             f"{rows:,} rows: {folded:,} ok, {others:,} with another disposition, each with the "
             "one that the oracle expects"),
    ]  # fmt: skip


def _checkpoints(load: Mapping[str, Any], found: Mapping[str, Any]) -> Row:
    parts = (load["checkpoints"], found["checkpoints"])
    ahead = sorted({shard for part in parts for shard in part["ahead"]})
    compared = sum(part["compared"] for part in parts)
    return _row(
        "K", "A checkpoint never passes what is durable", not ahead and compared > 0,
        {"compared": compared, "ahead": len(ahead)},
        f"ahead of the archive: {', '.join(ahead)}" if ahead
        else f"{compared:,} comparisons of a checkpoint with the archive while faults happened",
    )  # fmt: skip


def _healing(load: Mapping[str, Any], found: Mapping[str, Any]) -> Row:
    faults = load["stack_faults"]
    unhealed = [fault["name"] for fault in faults if not fault["healed"]]
    waiting = found["unread_records"]
    longest = max((fault["healed_s"] or 0.0 for fault in faults), default=0.0)
    return _row(
        "L", "Lag returns to zero without intervention",
        bool(faults) and not unhealed and not waiting,
        {"faults": len(faults), "unhealed": len(unhealed), "unread_records": waiting,
         "longest_s": longest},
        f"not healed: {', '.join(unhealed)}" if unhealed
        else f"after {len(faults)} faults of the pipeline, the longest took {longest:.0f} s; "
        f"{waiting:,} records are unread at the end",
    )  # fmt: skip


def _identity(found: Mapping[str, Any]) -> Row:
    faults = found["device_faults"]
    tried, refused = faults.get("spoof", 0), faults.get("spoof_refused", 0)
    extra = found["archive"]["extra"] + found["windows"]["extra"]
    held = None if not tried else refused > 0 and not extra  # a power cut may hide an answer
    return _row(
        "I", "No device can write as another", held,
        {"attempts": tried, "refused": refused, "arrived": extra},
        f"{tried:,} attempts to publish as another device, {refused:,} refused by the broker, "
        f"{extra:,} arrived" if tried else "no attempt was made",
    )  # fmt: skip


def _transitions(alarms: Mapping[str, Any] | None) -> Row:
    text = "Each alert transition takes effect once, under one id"
    if alarms is None:
        return _row("T", text, None, {}, "not exercised: the run has no alert rules")
    names = ("expected", "missing", "extra", "twice", "late", "events", "repeated", "withdrawn")
    return _row(
        "T", text, alarms["verdict"] == "exact", {name: alarms[name] for name in names},
        f"{alarms['expected']:,} transitions had to be, and {alarms['events']:,} events were on "
        f"the bus; {alarms['repeated']:,} came again under the same id, {alarms['withdrawn']:,} "
        f"withdrew what late readings proved wrong; each came within {alarms['slowest_s']:.0f} s",
    )  # fmt: skip


def _removal(account: Mapping[str, Any]) -> Row:
    left, denied = account["left"], account["denied"]
    searched = f"{len(account['kinds'])} kinds of resources were searched for the run's name"
    unseen = f"; you may not list {', '.join(denied)}" if denied else ""
    return _row(
        "R", "Nothing of the run is left in the account", not left,
        {"left": len(left), "kinds": len(account["kinds"])},
        f"{', '.join(map(str, left[:5]))} is left" if left else searched + unseen,
    )  # fmt: skip
