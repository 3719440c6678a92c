"""Which sequence numbers of a device are missing, from the id sets of its windows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ingest.id_ranges import parse

SHOWN: Final = 50


def missing(ids: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Per boot: first and last number seen, how many are there and how many are not in between,
    and the first :data:`SHOWN` gaps as ``[from, to]``.

    ``ids`` are the ``ids`` of windows of one tier: boot to ranges as ``"1-60,62"``. A gap may be
    filled still (a reading on its way), or lie in a window outside the span that was asked for.
    """
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in ids:
        for boot, text in one.items():
            ranges[boot] += parse(text)
    return {boot: _judge(sorted(found)) for boot, found in sorted(ranges.items())}


def _judge(ranges: list[tuple[int, int]]) -> dict[str, Any]:
    gaps = []
    there = lost = 0
    end = ranges[0][0] - 1
    for first, last in ranges:
        if first > end + 1:
            gaps.append([end + 1, first - 1])
            lost += first - end - 1
        there += max(0, last - max(first - 1, end))
        end = max(end, last)
    return {
        "first": ranges[0][0],
        "last": end,
        "present": there,
        "missing": lost,
        "gaps": gaps[:SHOWN],
    }
