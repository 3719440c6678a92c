"""What the librarian registers next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lake.archive.segments import Segment
from lake.catalog.positions import Reached


class Batch(NamedTuple):
    """Segments for one commit, and the positions after it."""

    segments: Sequence[Segment]
    reached: Reached


def in_order(segments: Iterable[Segment]) -> list[Segment]:
    """Segments in an order in which any beginning is complete: within a shard by position, and
    among shards by hour. An hour of arrival can go back within a shard, a position cannot."""
    queues: dict[str, list[Segment]] = {}
    for one in sorted(segments, key=lambda one: one.first, reverse=True):
        queues.setdefault(one.shard, []).append(one)
    found = []
    while queues:
        shard = min(queues, key=lambda name: (queues[name][-1].hour, name))
        found.append(queues[shard].pop())
        if not queues[shard]:
            del queues[shard]
    return found


def batches(
    segments: Iterable[Segment], reached: Reached, from_hour: int, most: int, most_bytes: int
) -> Iterator[Batch]:
    """The segments of a complete listing that are not in the table, in commits of at most ``most``
    segments and (but for the first of each) ``most_bytes``. Only the last one moves ``from_hour``:
    before it, older segments than that are still missing."""
    fresh = in_order(one for one in segments if not reached.has(one))
    batch: list[Segment] = []
    size = 0
    for one in fresh:
        if batch and (len(batch) == most or size + one.size > most_bytes):
            reached = reached.after(batch)
            yield Batch(batch, reached)
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield Batch(batch, reached.after(batch)._replace(from_hour=from_hour))
