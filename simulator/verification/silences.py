"""Invariant T for rules of silence: which silences of devices must be told, from when each was
heard.

Computed from the messages that the stream took and the times at which the broker received them, so
from what was sent; nothing here knows how a worker finds a silence. A silence is known by the time
at which it reached its limit, by the device's clock; when it is found is the worker's own affair,
within a minute. So one that ended within that minute may be told, and need not be.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from simulator.errors import ScenarioError
from simulator.verification.oracle import Rules, Sent
from simulator.verification.transitions import LATE_S, Alarms, Heard, differ, distinct

FOUND_S: Final = 60.0
"""A silence is found so long after it reached its limit, and its end so long after the device was
heard (s): what was over sooner need not be told."""

KEYS: Final = frozenset({"name", "silent", "devices", "severity", "summary", "quiet"})
"""What a rule of silence may have here; the last three change no transition."""

_SPAN: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class SilenceWatch(NamedTuple):
    """A rule: an alarm for each of its devices that is not heard for longer than a limit."""

    name: str
    limit_ms: int
    devices: tuple[str, ...]

    def is_about(self, device: str) -> bool:
        """Whether it watches a device."""
        return any(fnmatchcase(device, pattern) for pattern in self.devices)


class Silence(NamedTuple):
    """A device was heard at ``since``, its newest reading was of ``ts``, and it was heard next at
    ``until``; ``None`` when it was not. Times in ms."""

    since: int
    ts: int
    until: int | None


class _Told(NamedTuple):
    """What is said of a silence: of one that began by when it reached its limit (ms), of one that
    ended by the second of that, which is what its key says."""

    device: str
    at: int
    kind: str


_Heard = dict[_Told, list[Heard]]


class _Limits(NamedTuple):
    """Until when (ms) it was heard, and the times of :func:`compare_silences`."""

    now: int
    late_ms: int
    found_ms: int


def silence_watch_of(entry: Mapping[str, Any]) -> SilenceWatch:
    """A rule from its TOML table.

    >>> silence_watch_of({"name": "gone", "silent": "10m"}).limit_ms
    600000

    :raises ScenarioError: for a rule that the oracle does not know.
    """
    name = entry.get("name", "?")
    if unknown := sorted(entry.keys() - KEYS):
        raise ScenarioError(f"rule {name}: a scenario's rule of silence cannot have {unknown[0]}")
    span = _SPAN.fullmatch(str(entry["silent"]))
    if span is None:
        raise ScenarioError(f"rule {name}: silent is a time as 10m, not {entry['silent']!r}")
    devices = entry.get("devices", "*")
    return SilenceWatch(
        name,
        int(span[1]) * _SECONDS[span[2]] * 1000,
        (devices,) if isinstance(devices, str) else tuple(devices),
    )


def silences(arrivals: Iterable[tuple[int, int]], limit_ms: int, now: int) -> Iterator[Silence]:
    """The times in which a device was silent for longer than a limit, until ``now`` (ms).
    ``arrivals`` are the times at which its readings were received, and their event times: a device
    whose clock is ahead was heard at the time that it says."""
    heard = newest = 0
    for at, ts in sorted(arrivals):
        if heard and at - heard > limit_ms:
            yield Silence(heard, newest, at)
        heard, newest = max(heard, at, ts), max(newest, ts)
    if heard and now - heard > limit_ms:
        yield Silence(heard, newest, None)


def arrivals_of(taken: Iterable[Sent], rules: Rules) -> dict[str, list[tuple[int, int]]]:
    """When each device's readings were received (ms), repeated ones included, and their event
    times; of those that are not rejected."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for reading in taken:
        for at in reading.received_at:
            if rules.disposition(reading.ts, reading.metrics, at) == "ok":
                found[reading.device].append((at, reading.ts))
    return found


def told_until(
    arrivals: Mapping[str, Sequence[tuple[int, int]]],
    watches: Sequence[SilenceWatch],
    found_s: float = FOUND_S,
) -> int:
    """When (ms) the silence of every device that has stopped must have been told, but for those
    whose clocks are ahead of the last message of all; 0 when there is none to wait for."""
    last = max((at for mine in arrivals.values() for at, _ in mine), default=0)
    limits = [
        watch.limit_ms
        for watch in watches
        if any(watch.is_about(device) for device, mine in arrivals.items() if mine)
    ]
    return last + max(limits) + round(found_s * 1000) if limits else 0


def compare_silences(
    heard: Iterable[Heard],
    arrivals: Mapping[str, Sequence[tuple[int, int]]],
    watches: Sequence[SilenceWatch],
    now: int,
    late_s: float = LATE_S,
    found_s: float = FOUND_S,
) -> Alarms:
    """Compare what was heard of these rules until ``now`` (ms) with what must be told. What lasts
    longer than ``found_s`` must be, and what comes after ``late_s`` is late."""
    limits = _Limits(now, round(late_s * 1000), round(found_s * 1000))
    result = Alarms()
    events = distinct(heard, {watch.name for watch in watches}, result)
    withdrawn = {one.event["withdraws"] for one in events if one.event["withdraws"]}
    result.withdrawn = len(withdrawn)
    for watch in watches:
        told: _Heard = defaultdict(list)
        for one in events:
            if one.event["rule"] == watch.name and one.event["id"] not in withdrawn:
                _take(one, told)
        for what, several in told.items():
            if what.kind == "raised" and len(several) > 1:
                result.twice += 1
                differ(result, f"{_text(watch, what)} took effect under {len(several)} ids")
                del several[1:]
        for device in sorted(arrivals):
            if watch.is_about(device):
                mine = silences(arrivals[device], watch.limit_ms, now)
                _compare(result, watch, device, mine, told, limits)
        for what in [what for what, several in told.items() for _ in several]:
            result.extra += 1
            differ(result, f"{_text(watch, what)}: it must not stand")
    return result


def _compare(
    result: Alarms, watch: SilenceWatch, device: str, found: Iterable[Silence],
    told: _Heard, limits: _Limits,
) -> None:  # fmt: skip
    """Compare the silences of one device, and take out of ``told`` what was right."""
    least = 0
    for one in found:
        at, due = max(one.ts + watch.limit_ms, least), one.since + watch.limit_ms
        raised = _Told(device, at, "raised")
        alarm = _pop(told, raised)
        must_be = (limits.now if one.until is None else one.until) - due > limits.found_ms
        result.expected += must_be
        if alarm is None:
            if must_be:
                result.missing += 1
                differ(result, f"{_text(watch, raised)}: it never was")
            continue
        least = at + 2  # the clearing has a time between
        as_of = alarm.event["as_of"]
        if as_of < due or (one.until is not None and as_of >= one.until):
            result.extra += 1
            differ(result, f"{_text(watch, raised)}: it was not silent as of {as_of}")
        _measure(result, watch, raised, alarm.at - due, limits)
        if one.until is not None:
            cleared = _Told(device, at // 1000 * 1000, "cleared")
            _compare_end(result, watch, cleared, one.until, told, limits)


def _compare_end(
    result: Alarms, watch: SilenceWatch, cleared: _Told, until: int, told: _Heard,
    limits: _Limits,
) -> None:  # fmt: skip
    """Compare the end of a silence that was told."""
    end = _pop(told, cleared)
    must_be = limits.now - until > limits.found_ms
    result.expected += must_be
    if end is not None:
        _measure(result, watch, cleared, end.at - until, limits)
    elif must_be:
        result.missing += 1
        differ(result, f"{_text(watch, cleared)}: it never was")


def _measure(
    result: Alarms, watch: SilenceWatch, what: _Told, took_ms: int, limits: _Limits
) -> None:
    result.slowest_s = max(result.slowest_s, took_ms / 1000)
    if took_ms > limits.late_ms:
        result.late += 1
        differ(result, f"{_text(watch, what)}: it came after {took_ms / 1000:.0f} s")


def _take(one: Heard, told: _Heard) -> None:
    event = one.event
    if event["withdraws"]:
        return
    at = event["window"]
    if event["kind"] == "cleared":
        at = round(datetime.fromisoformat(event["key"].partition("#")[2]).timestamp() * 1000)
    told[_Told(event["device"], at, event["kind"])].append(one)


def _pop(told: _Heard, what: _Told) -> Heard | None:
    """The first that was told of something and is not taken yet."""
    return told[what].pop(0) if told.get(what) else None


def _text(watch: SilenceWatch, what: _Told) -> str:
    return f"{what.kind} of {watch.name} on {what.device}, silent at {what.at}"
