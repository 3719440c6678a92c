"""The lake's jobs on a deployment: register segments, compact readings, one writer at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumers.worker.emf import count_line
from infra.archive.tables import open_catalog_of, retention_hours
from infra.console import UserError
from infra.target import Target, refusals_as
from lake.catalog.lock import HeldError, held

if TYPE_CHECKING:  # they load an Iceberg library and DuckDB, which takes a second or two
    from lake.compaction.compact import Done, Limits
    from lake.librarian.sync import Synced


@contextmanager
def writing(target: Target) -> Iterator[None]:
    """One writer at a time.

    :raises UserError: when there is another one, or AWS refuses.
    """
    from lake.librarian.sync import BusyError

    try:
        with (
            refusals_as("AWS refuses to write the lake"),
            held(target.client("s3"), archive_bucket(target), "lake"),
        ):
            yield
    except (HeldError, BusyError) as error:
        raise UserError(str(error)) from None


def sync_lake(target: Target) -> Synced:
    """Register every committed segment; only while :func:`writing`."""
    from lake.librarian.sync import sync

    catalog, config = open_catalog_of(target)
    return sync(
        catalog, config, target.client("s3"), archive_bucket(target),
        now_ms=_now_ms(), retention_hours=retention_hours(target),
    )  # fmt: skip


def compact_lake(
    target: Target,
    limits: Limits | None = None,
    progress: Callable[[Done], object] = lambda _: None,
) -> Done:
    """Bring every committed reading into ``readings``; only while :func:`writing`."""
    from lake.compaction.compact import Compactor, Limits

    catalog, config = open_catalog_of(target)
    compactor = Compactor(
        catalog, config, target.client("s3"), archive_bucket(target),
        retention_hours=retention_hours(target), limits=limits or Limits(), progress=progress,
    )  # fmt: skip
    return compactor.run(_now_ms())


def count_run(target: Target, metric: str) -> None:
    """With ``metrics = "emf"``, as the scheduled tasks have it, say in the log that a run reached
    its end: an alarm watches that runs do. On stderr, since stdout has the result."""
    if target.settings.metrics == "emf":
        line = count_line(metric, stack=target.settings.stack, at_ms=_now_ms())
        print(line.decode(), file=sys.stderr, flush=True)


def archive_bucket(target: Target) -> str:
    """The bucket of the archive and of the lake."""
    return target.settings.bucket(target.account)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
