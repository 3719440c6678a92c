"""Which sequence numbers of a device are missing, from the id sets of its windows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from dashboard.answers import Boot
from ingest.id_ranges import parse

SHOWN: Final = 50


def missing(ids: Iterable[Mapping[str, str]]) -> dict[str, Boot]:
    """For each boot: the first and last number seen, how many numbers are present and how many are
    missing in between, and the first :data:`SHOWN` gaps as ``[from, to]``.

    :param ids: the ``ids`` of windows of one tier: boot to ranges. A gap may still be filled (a
        reading on its way), or lie in a window outside the span that was asked for.

    >>> missing([{"boot-one": "1-60"}, {"boot-one": "62"}])["boot-one"]["gaps"]
    [[61, 61]]
    """
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in ids:
        for boot, text in one.items():
            ranges[boot] += parse(text)
    return {boot: _gaps(sorted(found)) for boot, found in sorted(ranges.items())}


def _gaps(ranges: list[tuple[int, int]]) -> Boot:
    gaps = []
    present = lost = 0
    end = ranges[0][0] - 1
    for first, last in ranges:
        if first > end + 1:
            gaps.append([end + 1, first - 1])
            lost += first - end - 1
        present += max(0, last - max(first - 1, end))
        end = max(end, last)
    return {
        "first": ranges[0][0],
        "last": end,
        "present": present,
        "missing": lost,
        "gaps": gaps[:SHOWN],
    }
