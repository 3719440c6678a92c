"""``penstock lake``: the archive as Iceberg tables."""

from __future__ import annotations

import time
from typing import Any

import rich_click as click

from infra.archive.lake import archive_bucket, compact_lake, count_run, sync_lake, writing
from infra.archive.tables import open_catalog_of
from infra.commands.options import Size, aws_option, json_option
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target, find_target, refusals_as
from ingest.times import show_time


@click.group()
def lake() -> None:
    """Keep the archive as Iceberg tables, for Athena, Spark and `penstock sql`."""


@lake.command("sync")
@json_option
@aws_option
def sync_command(as_json: bool, aws: bool) -> None:
    """Register new segments of the archive in the table `records`, unchanged.

    Segments are where they were; the table's snapshots say which are in it. Can be stopped and
    repeated at any time.
    """
    target = find_write_target("register the archive's segments in the catalog", aws=aws)
    with writing(target):
        synced = _sync(target)
    count_run(target, "LakeSyncs")
    _print(as_json, synced._asdict(), f"{synced.segments} segments registered")


@lake.command("compact")
@click.option(
    "--memory",
    type=Size(),
    default="600MB",
    show_default=True,
    help="The memory for rows; what does not fit waits on the disk.",
)
@json_option
@aws_option  # fmt: skip
def compact_command(memory: int, as_json: bool, aws: bool) -> None:
    """Bring new readings into the table `readings`: each once, sorted by device and time.

    Run it every hour. Days that are over, and have got late readings, become few files again.
    Can be stopped and repeated at any time: readers see all of a commit or nothing.
    """
    target = find_write_target("compact the archive's readings", aws=aws)
    with writing(target):
        done = _compact(target, memory)
    count_run(target, "LakeCompactions")
    sentence = f"{done.readings} readings added, {done.merged_days} days merged"
    _print(as_json, done._asdict(), sentence)


@lake.command("clean")
@click.option(
    "--older-than",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    metavar="HOURS",
    help="Only files of at least this age: a writer may still commit younger ones.",
)
@click.option(
    "--forget",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="First forget snapshots that were replaced longer ago: no time travel beyond.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
@aws_option  # fmt: skip
def clean_command(
    older_than: int, forget: int | None, dry_run: bool, as_json: bool, aws: bool
) -> None:
    """Remove files below lake/ that no snapshot names, as a commit that failed leaves them.

    The archive is not touched: its segments are what proves.
    """
    from lake.catalog.clean import HOUR_MS, OtherTableError, clean

    target = find_write_target("clean the lake", aws=aws)
    with writing(target):
        catalog, config = open_catalog_of(target)
        try:
            done = clean(
                catalog, config, target.client("s3"), archive_bucket(target),
                now_ms=time.time_ns() // 1_000_000, min_age_ms=older_than * HOUR_MS,
                forget_ms=None if forget is None else forget * 24 * HOUR_MS, dry_run=dry_run,
            )  # fmt: skip
        except OtherTableError as error:
            raise UserError(str(error)) from None
    would = "would be " if dry_run else ""
    sentence = f"{done.objects} objects ({done.bytes / 1e6:.1f} MB) {would}removed"
    _print(as_json, done._asdict(), f"{sentence}, {done.snapshots} snapshots {would}forgotten")


@lake.command("status")
@json_option
@aws_option
def status_command(as_json: bool, aws: bool) -> None:
    """Show both tables, and how far they are behind the archive."""
    from lake.librarian.status import status

    target = find_target(aws=aws)
    catalog, config = open_catalog_of(target)
    with refusals_as("AWS refuses to show the lake"):
        tables = status(catalog, config, target.client("s3"), archive_bucket(target))
    if as_json:
        print_json([one._asdict() for one in tables])
        return
    for one in tables:
        since = (
            "" if one.oldest_missing_ms is None else f" since {show_time(one.oldest_missing_ms)}"
        )
        STDOUT.print(
            f"{one.table}: {one.rows} rows in {one.files} files, {one.snapshots} snapshots; "
            f"{one.missing_segments} segments not in it{since}",
            markup=False,
        )


@lake.command("rebuild")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@aws_option
def rebuild_command(yes: bool, as_json: bool, aws: bool) -> None:
    """Make both tables again from the archive, after a catalog was lost or cannot be read.

    The archive is not touched. Files of the former tables stay in the bucket, under lake/.
    """
    target = find_write_target("make the lake's tables again", aws=aws)
    if not yes and not click.confirm("Forget the lake's tables and make them again?", err=True):
        raise UserError("nothing was changed")
    with writing(target):
        catalog, config = open_catalog_of(target)
        for name in ("records", "readings"):
            if catalog.table_exists(config.table(name)):
                catalog.drop_table(config.table(name))
        synced, done = _sync(target), _compact(target)
    document = {"registered": synced._asdict(), "compacted": done._asdict()}
    _print(as_json, document, f"{synced.segments} segments, {done.readings} readings")


def _sync(target: Target) -> Any:
    with live(lambda: "  … registering segments"):
        return sync_lake(target)


def _compact(target: Target, memory: int = 600_000_000) -> Any:
    from lake.compaction.compact import Done, Limits

    so_far = Done()

    def progress(done: Done) -> None:
        nonlocal so_far
        so_far = done

    with live(lambda: f"  … {so_far.readings} readings added"):
        return compact_lake(target, Limits(memory), progress)


def _print(as_json: bool, document: dict[str, Any], sentence: str) -> None:
    if as_json:
        print_json(document)
    else:
        say(sentence)
