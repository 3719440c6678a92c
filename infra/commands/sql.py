"""``penstock sql``: one query on the archive, without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import duckdb
import rich_click as click

from infra.archive.tables import compacted_readings
from infra.commands.options import Time, aws_option, json_option
from infra.commands.sql_output import TABLE_ROWS, table_lines, write_csv, write_json, write_parquet
from infra.console import UserError, live, say
from infra.schemas import applied_schemas, roster_types
from infra.target import Target, find_target, refusals_as
from lake.sql.session import QueryError, Session
from lake.sql.typed_views import DeviceTypes

BATCH_ROWS: Final = 10_000


@click.command()
@click.argument("query")
@click.option(
    "--from",
    "start",
    type=Time(),
    metavar="TIME",
    help="Only readings with a ts, and records that arrived, at it or later (UTC).",
)
@click.option("--to", "end", type=Time(), metavar="TIME", help="The same, before this time.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")
@click.option(
    "--parquet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the answer to a Parquet file.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="The most memory to take, as 2GB; then the disk.  [default: 80% of all]",
)
@json_option
@aws_option  # fmt: skip
def sql(
    query: str,
    start: int | None,
    end: int | None,
    as_csv: bool,
    parquet: Path | None,
    memory: str | None,
    as_json: bool,
    aws: bool,
) -> None:
    """Ask the archive one QUERY, a SELECT of DuckDB's SQL; - reads it from stdin.

    Two tables: `readings` has each accepted reading once (device_id, ts, boot, seq, metrics,
    received_at, arrived_at), `records` the archive as it is. A type of device with a schema has a
    view `readings_<type>`, with a column for each metric. A comparison of ts, arrived_at or
    device_id with a constant saves reading what it leaves out. docs/sql.md has ten examples.
    """
    if as_csv + as_json + (parquet is not None) > 1:
        raise click.UsageError("choose one of --csv, --json and --parquet")
    text = sys.stdin.read() if query == "-" else query
    target = find_target(aws=aws)
    with _session(target, memory) as lake, refusals_as("S3 refuses to read the archive"):
        try:
            write = _writer(as_csv, as_json, parquet)
            rows = _interruptible(lake, lambda: _answer(lake, text, start, end, write))
        except (QueryError, duckdb.Error) as error:  # the second while rows are computed
            raise UserError(str(error).rstrip()) from None
        reads = lake.reads
    say(f"{rows} rows from {reads.objects} objects, {reads.bytes / 1e6:.1f} MB")


def _session(target: Target, memory: str | None) -> Session:
    bucket = target.settings.bucket(target.account)
    ahead = target.settings.clock_ahead_s
    return Session(
        target.client("s3", "reader"),
        bucket,
        clock_ahead_s=ahead,
        memory=memory,
        compacted=lambda: compacted_readings(target),
        device_types=lambda: _device_types(target),
    )


def _device_types(target: Target) -> DeviceTypes:
    """The applied schemas, and the roster's types."""
    return DeviceTypes(applied_schemas(target).newest.schemas, roster_types(target))


def _interruptible(lake: Session, work: Callable[[], int]) -> int:
    """Do the work in a thread: DuckDB does not look for signals while it computes.

    :raises KeyboardInterrupt: at Ctrl-C, when the thread has ended.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # it may be between two steps of DuckDB
                lake.interrupt()
                wait([future], timeout=0.1)
            raise


def _answer(lake: Session, text: str, start: int | None, end: int | None, write: Any) -> int:
    done = (0, 0)

    def progress(*counts: int) -> None:
        nonlocal done
        done = (counts[0], counts[1])

    def line() -> str:
        return f"  … {done[0]} of {done[1]} segments read" if done[1] else "  … asking"

    with live(line):
        answer = lake.query(text, start_ms=start, end_ms=end, progress=progress)
        reader = answer.to_arrow_reader(BATCH_ROWS)
    rows: int = write(reader)
    return rows


def _writer(as_csv: bool, as_json: bool, parquet: Path | None) -> Any:
    if parquet is not None:
        return lambda reader: write_parquet(reader, parquet)
    if as_csv:
        return lambda reader: write_csv(reader, sys.stdout)
    if as_json:
        return lambda reader: write_json(reader, sys.stdout)
    return _write_table


def _write_table(reader: Any) -> int:
    lines, more = table_lines(reader)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if more:
        say(f"only the first {TABLE_ROWS} rows: --csv, --json and --parquet write all")
    return len(lines) - 1
