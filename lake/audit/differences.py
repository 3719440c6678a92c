"""How a stored window differs from the fold of the archive's readings. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from consumers.hot.items import load_window
from consumers.hot.metric import Metric
from consumers.hot.windows import Window
from ingest.id_ranges import IdSet
from ingest.times import show_time

_SUM: Final = 1e-9
"""Sums depend on the order of adding: they may differ by this share of what was added up."""

MISSING: Final = "missing"
EXTRA: Final = "extra"
WRONG: Final = "wrong"


class Difference(Struct, frozen=True):
    """One window that is not what the archive says.

    ``kind`` is ``missing`` (the archive has accepted readings that the window lacks; the window
    may not exist at all), ``extra`` (the window has ids that the archive does not have as ``ok``,
    whether or not some are missing too) or ``wrong`` (the ids are right, and an aggregate is not).
    ``missing`` and ``extra`` count readings. ``start`` and ``end`` are the window's (ms), ``ver``
    the stored item's version, 0 when there is none. ``updated_at`` is when the item was written
    last, or a record of the device arrived last, whichever is later (ms).
    """

    device: str
    window: str
    start: int
    end: int
    kind: str
    missing: int
    extra: int
    details: tuple[str, ...]
    ver: int
    updated_at: int

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.device} {self.window}: {'; '.join(self.details)}"

    def mending(self) -> str:
        """The command that mends it. A replay adds what is missing; aggregates that are wrong, and
        ids that no archived reading has, need the window to be made anew."""
        command = "replay" if self.kind == MISSING else "rebuild"
        start, end = (show_time(ms).replace(" ", "T") + "Z" for ms in (self.start, self.end))
        drop = " --drop-unarchived" if self.kind == EXTRA else ""
        return f"penstock {command} --from {start} --to {end} --device {self.device}{drop}"

    def is_same(self, other: Difference) -> bool:
        """Whether neither side changed between two looks at the window."""
        return (self.ver, self.missing, self.extra, self.updated_at) == (
            other.ver, other.missing, other.extra, other.updated_at,
        )  # fmt: skip


def difference(
    expected: Window | None,
    stored: Mapping[str, Any] | None,
    *,
    device: str,
    name: str,
    end: int,
    size_ms: int,
    newest_arrival: int = 0,
) -> Difference | None:
    """Compare one window of a device that ends then (ms); one of the two sides may be ``None``."""
    want = expected or Window(device, name, end)
    have = Window(device, name, end)
    if stored is not None:
        try:
            load_window(have, stored)
        except (KeyError, ValueError) as error:
            have.clear()
            return _found(want, have, (f"its item cannot be read: {error!r}",), WRONG, 0, 0,
                          size_ms, newest_arrival, stored)  # fmt: skip
    missing, extra = count_beyond(want.ids, have.ids), count_beyond(have.ids, want.ids)
    if missing or extra:
        details = [f"{missing} readings are missing"] if missing else []
        details += [f"{extra} readings are not in the archive"] if extra else []
        kind = EXTRA if extra else MISSING
    else:
        details, kind = [*_wrong(want, have)], WRONG
    if not details:
        return None
    return _found(
        want, have, tuple(details), kind, missing, extra, size_ms, newest_arrival, stored or {}
    )


def _found(
    want: Window,
    have: Window,
    details: tuple[str, ...],
    kind: str,
    missing: int,
    extra: int,
    size_ms: int,
    newest_arrival: int,
    stored: Mapping[str, Any],
) -> Difference:
    updated_at = int(stored.get("updated_at", {}).get("N", 0))
    return Difference(
        want.device, want.name, want.end - size_ms, want.end, kind, missing, extra, details,
        have.ver, max(updated_at, newest_arrival),
    )  # fmt: skip


def count_beyond(ids: IdSet, known: IdSet) -> int:
    """How many ids are not among the known ones."""
    return sum(end - start for _, start, end in beyond(ids, known))


def beyond(ids: IdSet, known: IdSet) -> Iterator[tuple[str, int, int]]:
    """The ids that are not among the known ones: boot, and half-open ranges."""
    for boot, bounds in ids.bounds.items():
        if known.bounds.get(boot) == bounds:
            continue
        rest = IdSet()
        rest.bounds[boot] = [*known.bounds.get(boot, ())]
        for start, end in zip(bounds[0::2], bounds[1::2], strict=True):
            if not rest.bounds[boot]:
                del rest.bounds[boot]
            yield from ((boot, a, b) for a, b in rest.add(boot, start, end))


def _wrong(want: Window, have: Window) -> Iterator[str]:
    for field in ("n", "first_ts", "last_ts"):
        if getattr(want, field) != getattr(have, field):
            yield f"{field} is {getattr(have, field)}, expected {getattr(want, field)}"
    if want.metrics.keys() != have.metrics.keys():
        yield f"metrics are {sorted(have.metrics)}, expected {sorted(want.metrics)}"
        return
    for name, metric in want.metrics.items():
        yield from _wrong_metric(name, metric, have.metrics[name])


def _wrong_metric(name: str, want: Metric, have: Metric) -> Iterator[str]:
    for field in ("n", "min", "max", "first", "first_at", "last", "last_at"):
        if getattr(want, field) != getattr(have, field):
            yield f"{name}.{field} is {getattr(have, field)}, expected {getattr(want, field)}"
    greatest = max(abs(want.min), abs(want.max))
    scales = {"sum": greatest * want.n, "mean": greatest, "m2": greatest * greatest * want.n}
    for field, scale in scales.items():
        wanted, found = getattr(want, field), getattr(have, field)
        if not math.isclose(wanted, found, rel_tol=_SUM, abs_tol=_SUM * scale):
            yield f"{name}.{field} is {found}, expected {wanted}"
