"""Schedules of what happens to a lake: commits of workers, jobs, kills, rivals, a lost catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

from consumers.archive.segment_key import HOUR_MS
from lake.catalog.config import READINGS, RECORDS
from lake.catalog.positions import reached_in
from tests.harness.lake_tables import KilledError, World
from tests.harness.shard import NOW

SYNC_STEPS: Final = ("loaded", "listed", "prepared", "committed")
COMPACT_STEPS: Final = (
    "loaded", "listed", "sorted", "written", "merged", "uploaded", "indexed", "prepared",
    "committed",
)  # fmt: skip
PAGE: Final = 2
"""Keys in a page of a listing: workers commit between two pages."""

Harm = Literal["none", "kill", "rival", "commit"]


class Event(NamedTuple):
    """One thing that happens.

    ``commit``: workers commit a segment of each shard, in an hour so many ``hours`` before now.
    ``wait``: so many ``hours`` pass. ``lose``: the catalog is gone. ``sync`` and ``compact``: a
    job runs, and when it reaches ``step`` for the first time it is killed, or a second one runs
    meanwhile; or workers commit between two pages of its listing. With ``small``, a commit of the
    job has one segment.
    """

    what: Literal["commit", "wait", "lose", "sync", "compact"]
    hours: int = 0
    harm: Harm = "none"
    step: str = ""
    small: bool = False


def play(world: World, schedule: Sequence[Event]) -> list[str]:
    """Let it happen, then run both jobs undisturbed; what is wrong in any snapshot, then or
    before."""
    world.bucket.page = PAGE
    hour = 0
    found: list[str] = []
    for event in schedule:
        if event.what == "commit":
            world.grow(max(0, hour - event.hours))
        elif event.what == "wait":
            hour += event.hours
        elif event.what == "lose":
            found += violations(world)
            Path(world.bucket.config.uri).unlink(missing_ok=True)
        else:
            _run(world, event, hour)
    _job(world, Event("sync"), hour, _undisturbed)
    _job(world, Event("compact"), hour, _undisturbed)
    return found + violations(world) + list(_unfinished(world))


def violations(world: World) -> list[str]:
    """How snapshots differ from what their positions say: rows of ``records`` are those of the
    archive up to there, rows of ``readings`` the distinct accepted readings."""
    return [*_wrong(world, RECORDS), *_wrong(world, READINGS)]


def _wrong(world: World, name: str) -> Iterator[str]:
    if not world.has(name):
        return
    for snapshot in world.table(name).snapshots():
        keys = world.keys_up_to(reached_in(snapshot.summary.additional_properties))
        found: Counter[object] = Counter()
        wanted: Counter[object] = Counter()
        if name == RECORDS:
            found.update(world.records(snapshot.snapshot_id))
            wanted.update(world.rows_of(keys))
        else:
            found.update(world.readings(snapshot.snapshot_id))
            wanted.update(world.accepted(keys))
        if found != wanted:
            yield f"{name}: {found - wanted} too many, {wanted - found} missing"


def _unfinished(world: World) -> Iterator[str]:
    for name in (RECORDS, READINGS):
        if set(world.keys_up_to(world.reached(name))) != world.archived.keys():
            yield f"{name} does not reach the end of the archive"


def _run(world: World, event: Event, hour: int) -> None:
    harmed = False

    def at(step: str) -> None:
        nonlocal harmed
        if step != event.step or harmed:
            return
        harmed = True
        if event.harm == "kill":
            raise KilledError(step)
        if event.harm == "rival":
            _job(world, Event(event.what), hour, _undisturbed)
        if event.harm == "commit":  # into a part that was listed already, and into one that was not
            world.grow(max(0, hour - 1))
            world.grow(hour)

    def after_page(page: list[str]) -> None:
        if _hour(hour) in page[-1]:
            at(event.step)

    if event.harm == "commit":
        world.bucket.after_page = after_page
    try:
        _job(world, event, hour, at)
    except KilledError:
        pass
    finally:
        world.bucket.after_page = None


def _job(world: World, event: Event, hour: int, at: Callable[[str], None]) -> None:
    if event.what == "sync":
        world.sync(hour, at)
    else:
        world.compact(hour, at, **({"chunk_bytes": 1} if event.small else {}))


def _hour(hour: int) -> str:
    """The part of a key that names an hour after ``NOW``."""
    return f"{datetime.fromtimestamp((NOW + hour * HOUR_MS) / 1000, UTC):dt=%Y-%m-%d/hour=%H}/"


def _undisturbed(_: str) -> None:
    """Nothing happens at a step."""
