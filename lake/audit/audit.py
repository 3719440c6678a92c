"""Compare the hot windows with the archive, reading by reading.

What a window must hold is folded from the archive with the worker's own code
(:mod:`lake.replay.expected`), a span of time and a part of the devices at once, so that memory is
bounded. A difference counts when it is still there, and neither side has changed, for longer than
anything may be on its way from the stream; one that keeps changing is reported apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from consumers.hot.windows import Window
from ingest.tables.hot import is_expired
from ingest.tiers import Tier
from lake.audit.differences import Difference, difference
from lake.replay.expected import ExpectedWindows
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource

SPAN_MS: Final = 3_600_000
"""Event time that is compared at once, unless a tier's windows are longer."""

PART_READINGS: Final = 500_000
"""Readings, about, that are folded at once."""

LOOKS: Final = 4
"""How often a window is looked at that keeps changing."""


class Stored(Protocol):
    """The stored windows, see :class:`lake.audit.stored.StoredWindows`."""

    def of(
        self,
        devices: Iterable[str],
        tier: Tier,
        start_ms: int,
        end_ms: int,
        *,
        consistent: bool = False,
    ) -> Iterable[Any]:
        """The items of these devices that begin in ``[start_ms, end_ms)``."""


class Range(NamedTuple):
    """What is compared: windows that begin from ``start`` up to, and without, ``end`` (ms), both
    multiples of every tier's size, of ``devices``: of ``only`` these, or of every other device too
    that the archive has readings of."""

    start: int
    end: int
    devices: Sequence[str]
    tiers: Sequence[Tier]
    only: bool = True

    @property
    def chunk_ms(self) -> int:
        """How much event time is compared at once."""
        return chunk_ms(self.tiers)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """The range in pieces of :attr:`chunk_ms`."""
        for start in range(self.start, self.end, self.chunk_ms):
            yield start, min(self.end, start + self.chunk_ms)


def folded_parts(
    source: ArchiveSource, wanted: Range, progress: Callable[[str], None]
) -> Iterator[tuple[list[str], ExpectedWindows]]:
    """Fold one chunk from the archive, a part of the devices at once: the devices of each part, and
    the windows that they must have."""
    only = frozenset(wanted.devices) if wanted.only else None
    selection = Selection(wanted.start, wanted.end, only)
    segments = source.listed(selection)
    parts = max(1, sum(segment.size for segment in segments) // (PART_READINGS * 8))
    for part in range(parts):
        chosen = selection._replace(part=part, parts=parts)
        expected = ExpectedWindows(wanted.tiers)
        for count, records in enumerate(source.read(segments, chosen)):
            expected.fold(records)
            progress(f"segment {count + 1} of {len(segments)}")
        known = {*wanted.devices, *expected.newest_arrival}
        yield sorted(device for device in known if chosen.takes(device)), expected


def chunk_ms(tiers: Sequence[Tier]) -> int:
    """How much event time is compared at once: an hour, or the longest window."""
    return max(SPAN_MS, *(tier.size_ms for tier in tiers))


def aligned(start: int, end: int, tiers: Sequence[Tier]) -> tuple[int, int]:
    """The span (ms), extended so that every tier's windows begin and end at its ends."""
    longest = max(tier.size_ms for tier in tiers)
    return start - start % longest, end + -end % longest


@dataclass
class Audit:
    """A comparison. ``differences`` are proven; ``changing`` ones were different at each look, and
    not the same for long enough."""

    windows: int = 0
    readings: int = 0
    expired: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    changing: list[Difference] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no window differs from the archive."""
        return not self.differences


class Auditor:
    """Compares; all of its I/O is in what it is given. ``quiet_ms`` is for how long a reading may
    be on its way: a segment's age, or a flush, and a margin."""

    def __init__(
        self,
        source: ArchiveSource,
        stored: Stored,
        *,
        now_ms: Callable[[], int],
        quiet_ms: int,
        sleep: Callable[[float], None],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._stored = stored
        self._now_ms = now_ms
        self._quiet_ms = quiet_ms
        self._sleep = sleep
        self._progress = progress

    def run(self, wanted: Range) -> Audit:
        """Compare every window of the range."""
        audit = Audit()
        suspects: list[Difference] = []
        for start, end in wanted.chunks():
            for found in self._compare(wanted._replace(start=start, end=end), audit):
                settled = self._now_ms() - found.updated_at > self._quiet_ms
                (audit.differences if settled else suspects).append(found)
        for _ in range(LOOKS):
            if not suspects:
                break
            self._progress(f"{len(suspects)} windows differ and may be changing: waiting")
            self._sleep(self._quiet_ms / 1000)
            suspects = self._look_again(wanted, suspects, audit)
        audit.changing = suspects
        audit.differences.sort(key=lambda d: (d.device, d.window))
        return audit

    def _look_again(
        self, wanted: Range, suspects: Sequence[Difference], audit: Audit
    ) -> list[Difference]:
        """Compare these windows again: what is the same as before is proven; what still changes
        is returned."""
        before = {(one.device, one.window): one for one in suspects}
        left: list[Difference] = []
        for start, end in wanted.chunks():
            names = {one.device for one in suspects if start <= one.start < end}
            if not names:
                continue
            part = Range(start, end, sorted(names), wanted.tiers)
            for found in self._compare(part, Audit(), consistent=True):
                known = before.get((found.device, found.window))
                if known is None:
                    continue
                (audit.differences if found.is_same(known) else left).append(found)
        return left

    def _compare(
        self, wanted: Range, audit: Audit, *, consistent: bool = False
    ) -> Iterator[Difference]:
        """The windows of one chunk that differ."""
        for mine, expected in folded_parts(self._source, wanted, self._progress):
            audit.readings += expected.readings
            for name, readings in expected.refused.items():
                audit.refused[name] = audit.refused.get(name, 0) + readings
            yield from self._differences(
                wanted._replace(devices=mine), expected, audit, consistent=consistent
            )

    def _differences(
        self, wanted: Range, expected: ExpectedWindows, audit: Audit, *, consistent: bool
    ) -> Iterator[Difference]:
        by_tier: dict[str, dict[tuple[str, str], Window]] = {}
        for tier, window in expected.windows():
            by_tier.setdefault(tier.name, {})[window.device, window.name] = window
        for tier in wanted.tiers:
            windows = by_tier.get(tier.name, {})
            now_s = self._now_ms() / 1000
            for item in self._stored.of(
                wanted.devices, tier, wanted.start, wanted.end, consistent=consistent
            ):
                device, name = item["device"]["S"], item["window"]["S"]
                want = windows.pop((device, name), None)
                if is_expired(item, now_s):
                    audit.expired += 1
                    continue
                audit.windows += 1
                yield from self._one(tier, want, item, device, name, expected)
            for (device, name), want in windows.items():
                if want.end / 1000 + tier.ttl_s <= now_s:
                    audit.expired += 1
                    continue
                audit.windows += 1
                yield from self._one(tier, want, None, device, name, expected)

    def _one(
        self,
        tier: Tier,
        want: Window | None,
        item: Any,
        device: str,
        name: str,
        expected: ExpectedWindows,
    ) -> Iterator[Difference]:
        found = difference(
            want,
            item,
            device=device,
            name=name,
            end=want.end if want else start_of(name) + tier.size_ms,
            size_ms=tier.size_ms,
            newest_arrival=expected.newest_arrival.get(device, 0),
        )
        if found is not None:
            yield found


def start_of(name: str) -> int:
    """When a window begins (ms), from its name.

    >>> start_of("1m#2026-11-23T07:45:00Z")
    1795419900000
    """
    from ingest.times import parse_time

    return parse_time(name.split("#", 1)[1])
