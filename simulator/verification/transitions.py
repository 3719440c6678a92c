"""Invariant T: which transitions of alarms must stand, and what differs from them.

Computed from the windows that must exist (:mod:`simulator.verification.oracle`), so from what was
sent; nothing here knows the worker's state or its order of events.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from ingest.tiers import Tier
from simulator.verification import oracle
from simulator.verification.oracle import Rules, Sent, Window
from simulator.verification.watches import CLEAR, RAISE, Watch

GROUP: Final = "#group/"
"""What stands for a group is named so, where a device's name is expected."""

LATE_S: Final = 60.0
"""A transition that comes so long after the reading that decided it is late (s)."""
SHOWN: Final = 20


class Transition(NamedTuple):
    """What must take effect once: of a rule on a device, at the window that begins at ``window``
    (ms)."""

    rule: str
    device: str
    window: int
    kind: str


class Heard(NamedTuple):
    """An event as a receiver of the bus got it, at a time (ms)."""

    event: Mapping[str, Any]
    at: int


@dataclass
class Alarms:
    """How what was heard compares with what must stand. ``events`` is how many were heard, of which
    ``repeated`` came under an id that was known; ``slowest_s`` is the longest that a transition
    took from the reading that decided it."""

    expected: int = 0
    missing: int = 0
    extra: int = 0
    twice: int = 0
    late: int = 0
    events: int = 0
    repeated: int = 0
    withdrawn: int = 0
    slowest_s: float = 0.0
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether each transition took effect once, in time."""
        return not (self.missing or self.extra or self.twice or self.late)

    def and_also(self, other: Alarms) -> Alarms:
        """This comparison and one of other rules, together."""
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        slowest_s = max(self.slowest_s, other.slowest_s)
        differences = sums.pop("differences")[:SHOWN]
        return Alarms(**{**sums, "slowest_s": slowest_s}, differences=differences)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": "exact" if self.exact else "inexact",
            **{name: value for name, value in vars(self).items() if name != "differences"},
            "differences": self.differences,
        }


def must_stand(
    windows: Mapping[tuple[str, str], Window], watches: Sequence[Watch], tiers: Sequence[Tier]
) -> set[Transition]:
    """Every transition of rules on devices that must stand at the end. ``windows`` is by (device,
    window name). Watches of one name are versions of a rule: a window is decided by the last that
    began before its end."""
    return {
        Transition(rule, device, at, kind)
        for rule, mine in _versions(watches).items()
        if not mine[-1].per_group
        for device, size, its in _of_tier(windows, mine[-1].tier, tiers)
        if mine[-1].is_about(device)
        for at, kind in _walk(mine, its, size, newest=max(its))
    }


def groups_must_stand(
    taken: Iterable[Sent], rules: Rules, watches: Sequence[Watch], groups: Mapping[str, str]
) -> set[Transition]:
    """The same of rules on groups. A group's windows hold all readings of its devices, and none of
    them waits for a later one. ``groups`` is device to group."""
    readings = [one for one in taken if one.device in groups]
    found: set[Transition] = set()
    for rule, mine in _versions(watches).items():
        if not mine[-1].per_group:
            continue
        whole = [
            one._replace(device=GROUP + groups[one.device], boot=f"{one.device}/{one.boot}")
            for one in readings
            if mine[-1].is_about(one.device)
        ]
        of_groups = oracle.windows(whole, rules)
        for group, size, its in _of_tier(of_groups, mine[-1].tier, rules.tiers):
            ended = _walk(mine, its, size, newest=math.inf)
            found |= {Transition(rule, group, at, kind) for at, kind in ended}
    return found


def _versions(watches: Sequence[Watch]) -> Mapping[str, list[Watch]]:
    versions: dict[str, list[Watch]] = defaultdict(list)
    for watch in sorted(watches, key=lambda watch: watch.since):
        versions[watch.name].append(watch)
    return versions


def _of_tier(
    windows: Mapping[tuple[str, str], Window], tier: str, tiers: Sequence[Tier]
) -> Iterator[tuple[str, int, dict[int, Window]]]:
    """Each device with its windows of a tier by start (ms), and their size (ms)."""
    found: dict[str, dict[int, Window]] = defaultdict(dict)
    for (device, name), window in windows.items():
        its_tier, _, start = name.partition("#")
        if its_tier == tier:
            found[device][_ms(start)] = window
    for device, its in found.items():
        yield device, next(one.size_ms for one in tiers if one.name == tier), its


def _walk(
    versions: Sequence[Watch], windows: Mapping[int, Window], size: int, newest: float
) -> Iterator[tuple[int, str]]:
    """The transitions of one rule and device. The newest window is not finished: it has no say,
    unless more readings cannot change what it says."""

    def says(watch: Watch, start: int) -> str | None:
        if start not in windows or start + size <= watch.since:
            return None
        said = watch.says(windows[start], windows.get(start - size))
        return said if start < newest or (watch.raises_early and said == RAISE) else None

    is_open = False
    for start in sorted(windows):
        watch = next((one for one in reversed(versions) if one.since < start + size), None)
        if watch is None:
            continue
        said = says(watch, start)
        span = watch.of if not is_open else watch.clear_needed
        last = [says(watch, start - back * size) for back in range(span)]
        if not is_open and said == RAISE and last.count(RAISE) >= watch.needed:
            is_open = True
            yield start, "raised"
        elif is_open and last.count(CLEAR) == watch.clear_needed:
            is_open = False
            yield start, "cleared"


def compare(
    heard: Iterable[Heard],
    wanted: set[Transition],
    taken: Sequence[Sent],
    watches: Sequence[Watch],
    tiers: Sequence[Tier],
    late_s: float = LATE_S,
) -> Alarms:
    """Compare what was heard of these rules with what must stand. ``taken`` are the readings that
    the stream took. What people did to alarms is passed over. A transition of a device is late
    after ``late_s``."""
    result = Alarms(expected=len(wanted))
    events = distinct(heard, {watch.name for watch in watches}, result)
    standing = _standing(events, result)
    for transition, count in standing.items():
        if count > 1:
            result.twice += 1
            differ(result, f"{_text(transition)} took effect under {count} ids")
    for transition in sorted(wanted - standing.keys()):
        result.missing += 1
        differ(result, f"{_text(transition)}: it never was")
    for transition in sorted(standing.keys() - wanted):
        result.extra += 1
        differ(result, f"{_text(transition)}: it must not stand")
    _measure(result, events, wanted, taken, watches, tiers, late_s)
    return result


def distinct(heard: Iterable[Heard], rules: Set[str], result: Alarms) -> list[Heard]:
    """What was heard of some rules, but for what people did; of each id the first."""
    mine = [one for one in heard if one.event["rule"] in rules and not one.event["by"]]
    first: dict[str, Heard] = {}
    for one in sorted(mine, key=lambda one: one.at):
        known = first.setdefault(one.event["id"], one)
        if known.event != one.event:
            result.twice += 1
            differ(result, f"two transitions have the id {one.event['id']}")
    result.events, result.repeated = len(mine), len(mine) - len(first)
    return list(first.values())


def _standing(events: Iterable[Heard], result: Alarms) -> Counter[Transition]:
    """How often each transition stands, after what was withdrawn."""
    known: dict[str, Transition] = {}
    for one in events:
        event = one.event
        if event["withdraws"]:
            result.withdrawn += 1
        else:
            known[event["id"]] = Transition(
                event["rule"], event["device"], event["window"], event["kind"]
            )
    gone = {one.event["withdraws"] for one in events}
    return Counter(one for id_, one in known.items() if id_ not in gone)


def _measure(
    result: Alarms,
    events: Iterable[Heard],
    wanted: set[Transition],
    taken: Sequence[Sent],
    watches: Sequence[Watch],
    tiers: Sequence[Tier],
    late_s: float,
) -> None:
    """How long each transition took that stands. One that had to be decided again is measured from
    the last reading that had a say in it."""
    by_name = {watch.name: watch for watch in watches}
    sizes = {tier.name: tier.size_ms for tier in tiers}
    readings: dict[str, list[Sent]] = defaultdict(list)
    for reading in taken:
        readings[reading.device].append(reading)
    for one in events:
        event = one.event
        transition = Transition(event["rule"], event["device"], event["window"], event["kind"])
        if event["withdraws"] or transition not in wanted:
            continue
        size = sizes[by_name[transition.rule].tier]
        due = _due(readings[transition.device], transition.window, size, one.at)
        seconds = (one.at - due) / 1000
        result.slowest_s = max(result.slowest_s, seconds)
        if seconds > late_s:
            result.late += 1
            differ(result, f"{_text(transition)}: it came after {seconds:.0f} s")


def _due(readings: Sequence[Sent], window: int, size: int, at: int) -> int:
    """When the last reading arrived that could decide a transition, of those that arrived before it
    was told: one of its window or before, or the first after it."""
    arrived = [(min(one.received_at), one.ts >= window + size) for one in readings]
    after = min((when for when, is_after in arrived if is_after), default=at + 1)
    had_a_say = [when for when, is_after in arrived if not is_after or when == after]
    return max((when for when in had_a_say if when <= at), default=at)


def differ(result: Alarms, sentence: str) -> None:
    """Note a difference."""
    if len(result.differences) < SHOWN:
        result.differences.append(sentence)


def _text(one: Transition) -> str:
    return f"{one.kind} of {one.rule} on {one.device} at {one.window}"


def _ms(start: str) -> int:
    return round(datetime.fromisoformat(start).timestamp() * 1000)
