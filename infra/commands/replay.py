"""``penstock replay``: fold the archive into the hot tables, or into a new windows table."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import rich_click as click

from consumers.config import child_config
from consumers.exceptions import ConsumerError
from consumers.worker.launch import daemon_environment
from infra.aws.windows_table import ensure_windows_table
from infra.commands.archive_range import range_of, range_options, span_text
from infra.commands.audit import run_audit
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.interrupts import stop_on_signals
from infra.target import LOCAL_KEYS, Target
from lake.audit.audit import Range
from lake.replay.part import Replayed
from lake.replay.part import Target as Tables
from lake.replay.process import Part
from lake.replay.run import run_parts


@click.command()
@range_options
@click.option("--into", metavar="TABLE", help="Another windows table, made if it does not exist.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing.")
@click.option("--rate", type=click.FloatRange(1), metavar="N", help="At most N readings a second.")
@click.option("--processes", type=click.IntRange(1, 64),
              help="Each folds a part of the devices.  [default: one a core]")  # fmt: skip
@json_option
@aws_option
def replay(
    start: int | None,
    end: int | None,
    arrived_until: int | None,
    devices: Sequence[str],
    tier_names: Sequence[str],
    into: str | None,
    dry_run: bool,
    rate: float | None,
    processes: int | None,
    as_json: bool,
    aws: bool,
) -> int:
    """Fold the archive into the hot tables, by event time. Adds what is missing, changes no more.

    The accepted readings of the archive go through the same code as a worker's. A window knows the
    ids that it holds, so the command may run beside workers, twice, or again after Ctrl-C: what is
    there already is not counted again. A tier that was added later is filled with --tier.
    """
    action = f"replay the archive into {into or 'the hot tables'}"
    target = find_write_target(action, aws=aws)
    wanted = range_of(target, start, end, devices, tier_names)
    say(f"{action}: {span_text(wanted)}")
    if dry_run:
        return _dry_run(target, wanted, arrived_until, into, as_json=as_json)
    stopping = threading.Event()
    with stop_on_signals(stopping):
        if into is not None and ensure_windows_table(target.client("dynamodb"), into):
            say(f"created table {into}")
        done = run_replay(
            target, wanted, arrived_until=arrived_until, into=into, rate=rate,
            processes=processes, stopping=stopping,
        )  # fmt: skip
    if as_json:
        print_json({**msgspec.to_builtins(done), "from": wanted.start, "to": wanted.end})
    else:
        STDOUT.print("\n".join(lines(done)), markup=False)
    return 130 if done.stopped else 0


def run_replay(
    target: Target,
    wanted: Range,
    *,
    arrived_until: int | None = None,
    into: str | None = None,
    rate: float | None = None,
    processes: int | None = None,
    stopping: threading.Event | None = None,
) -> Replayed:
    """Replay with progress on a terminal.

    :raises UserError: when a table refuses, or stays busy.
    """
    parts = processes or min(8, os.cpu_count() or 1)
    if wanted.only:
        parts = min(parts, len(wanted.devices))
    config = child_config(target.settings, target.account)
    tables = Tables(
        into or config.windows_table, None if into else config.devices_table, tuple(wanted.tiers)
    )
    newest = Replayed()

    def progress(done: Replayed) -> None:
        nonlocal newest
        newest = done

    try:
        with live(lambda: f"  … {_progress(newest)}"):
            return run_parts(
                [
                    Part(
                        config, tables, wanted.start, wanted.end,
                        tuple(wanted.devices) if wanted.only else None, part, parts,
                        arrived_until, rate / parts if rate else None,
                    )
                    for part in range(parts)
                ],
                environment(target),
                progress=progress,
                stopping=stopping,
            )  # fmt: skip
    except ConsumerError as error:
        raise UserError(
            f"{error} (what was folded before is right; the same command goes on)"
        ) from None


def environment(target: Target) -> Mapping[str, str]:
    """The environment of the processes: credentials are the caller's own."""
    keys = {name.upper(): value for name, value in LOCAL_KEYS.items()} if target.local else None
    return daemon_environment(target.settings, keys)


def _dry_run(
    target: Target, wanted: Range, arrived_until: int | None, into: str | None, *, as_json: bool
) -> int:
    """Say which readings are missing: an audit, without what a replay does not mend."""
    result, _ = run_audit(target, wanted, arrived_until, into)
    missing = [one for one in (*result.differences, *result.changing) if one.missing]
    document: dict[str, Any] = {
        "windows": len(missing),
        "readings": {
            tier.name: sum(one.missing for one in missing if one.window.startswith(f"{tier.name}#"))
            for tier in wanted.tiers
        },
    }
    if as_json:
        print_json(document)
    else:
        parts = ", ".join(f"{count} in {tier}" for tier, count in document["readings"].items())
        STDOUT.print(f"would write {len(missing)} windows; readings that they lack: {parts}",
                     markup=False)  # fmt: skip
    return 0


def _progress(done: Replayed) -> str:
    return (
        f"segment {done.segments_done} of {done.segments}: {done.readings:,} readings, "
        f"{done.added:,} added, {done.windows:,} windows written"
    )


def lines(done: Replayed) -> Sequence[str]:
    """What was done, for a person."""
    rate = done.readings / done.seconds if done.seconds else 0.0
    found = [
        f"{done.readings:,} accepted rows folded from {done.segments} segments in "
        f"{done.seconds:.1f} s ({rate:,.0f}/s)",
        f"{done.added:,} readings added, {done.windows:,} windows written"
        + ("" if done.windows else ": nothing was missing"),
    ]
    if done.refused:
        parts = ", ".join(f"{count} {name}" for name, count in sorted(done.refused.items()))
        found.append(f"rows that the tiers of today do not take: {parts}")
    if done.stopped:
        found.append("stopped: what was folded is written; the same command goes on")
    return found
