"""``penstock rebuild``: make the hot windows new from the archive, beside live traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from msgspec import Struct

from consumers.aws.in_flight import InFlight
from consumers.exceptions import ConsumerError
from consumers.hot.dynamodb import DynamoStore
from infra.archive.auditing import quiet_s, source_of
from infra.aws.archived_since import SKEW_MS, archived_since, await_archived_since
from infra.commands.archive_range import range_of, range_options, span_text
from infra.commands.options import aws_option, json_option
from infra.commands.replay import lines as replay_lines
from infra.commands.replay import run_replay
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.interrupts import stop_on_signals
from infra.target import Target
from lake.audit.audit import Range
from lake.audit.stored import StoredWindows
from lake.rebuild.rebuild import Rebuild, Summary
from lake.replay.process import CALLS_IN_FLIGHT

FOLDER: Final = Path(".penstock")


class State(Struct):
    """How far a rebuild has come: its range, and the beginnings of the chunks that are new."""

    start: int
    end: int
    devices: tuple[str, ...]
    tiers: tuple[str, ...]
    drop: bool
    done: list[int] = []

    def is_of(self, wanted: Range, *, drop: bool) -> bool:
        """Whether this is the state of a rebuild of this range."""
        return (self.start, self.end, self.devices, self.tiers, self.drop) == (
            wanted.start, wanted.end, tuple(wanted.devices) if wanted.only else (),
            tuple(tier.name for tier in wanted.tiers), drop,
        )  # fmt: skip


@click.command()
@range_options
@click.option("--drop-unarchived", "drop", is_flag=True,
              help="Remove ids that the archive does not have, once it has every record that "
              "arrived before.")  # fmt: skip
@json_option
@aws_option
def rebuild(
    start: int | None,
    end: int | None,
    arrived_until: int | None,
    devices: Sequence[str],
    tier_names: Sequence[str],
    drop: bool,
    as_json: bool,
    aws: bool,
) -> int:
    """Make the hot windows new from the archive, whatever they hold, while workers go on.

    Each window that differs from the archive is replaced by one conditional write, and only when
    the archive has every id that it holds, so nothing is missing or counted twice at any moment.
    Then what arrived meanwhile is replayed. Stopped or killed, the same command goes on where it
    was; without --from and --to it goes on with the rebuild that was not finished. Exit code 1
    when windows are left that hold what the archive does not have.
    """
    action = "rebuild the hot windows from the archive"
    target = find_write_target(action, aws=aws)
    path = FOLDER / f"rebuild-{target.settings.stack}.json"
    before = _read(path)
    if before is not None and start is None and end is None:
        start, end = before.start, before.end
    wanted = range_of(target, start, end, devices, tier_names)
    state = _state(wanted, before, drop=drop)
    say(f"{action}: {span_text(wanted)}")
    if state.done:
        say(f"{len(state.done)} of {len(list(wanted.chunks()))} chunks were rebuilt before")
    stopping = threading.Event()
    with stop_on_signals(stopping):
        summary = run_rebuild(
            target, wanted, arrived_until, state, partial(_write, path, state), stopping
        )
        if stopping.is_set():
            raise UserError("stopped: what was rebuilt is right; `penstock rebuild` goes on")
        done = run_replay(target, wanted, arrived_until=arrived_until, stopping=stopping)
    if not stopping.is_set():
        path.unlink(missing_ok=True)
    if as_json:
        print_json({**msgspec.to_builtins(summary), "replayed": msgspec.to_builtins(done)})
    else:
        STDOUT.print("\n".join([*lines(summary, drop=drop), *replay_lines(done)]), markup=False)
    return 130 if done.stopped else int(summary.left > 0)


def run_rebuild(
    target: Target,
    wanted: Range,
    arrived_until: int | None,
    state: State,
    save: Callable[[], None],
    stopping: threading.Event,
) -> Summary:
    """Rebuild with progress on a terminal; ``save`` is called whenever ``state`` has changed.

    :raises UserError: when a table refuses, or stays busy.
    """
    settings = target.settings
    source, _ = source_of(target, arrived_until)
    doing = "the archive is listed"

    def progress(what: str) -> None:
        nonlocal doing
        doing = what

    def done(chunk: int) -> None:
        if chunk not in state.done:
            state.done.append(chunk)
            save()

    kinesis, dynamodb = target.client("kinesis"), target.client("dynamodb")
    look = partial(archived_since, kinesis, dynamodb, settings)
    patience_s = 2 * quiet_s(target) + 2 * SKEW_MS / 1000
    work = Rebuild(
        source,
        StoredWindows(dynamodb, settings.windows_table),
        DynamoStore(_writing_client(target)),
        settings.windows_table,
        now_ms=lambda: time.time_ns() // 1_000_000,
        settle=lambda moment_ms: await_archived_since(
            look, moment_ms, patience_s=patience_s, stopping=stopping.is_set,
            clock=time.monotonic, sleep=time.sleep,
        ),
        drop=state.drop,
        calls=InFlight(CALLS_IN_FLIGHT),
        stopping=stopping.is_set,
        progress=progress,
    )  # fmt: skip
    try:
        with live(lambda: f"  … {doing}"):
            return work.run(wanted, skip=frozenset(state.done), done=done)
    except ConsumerError as error:
        raise UserError(
            f"{error} (what was rebuilt before is right; `penstock rebuild` goes on)"
        ) from None


def _writing_client(target: Target) -> Any:
    """A client of DynamoDB that does not retry by itself: see
    :class:`consumers.hot.dynamodb.DynamoStore`."""
    from botocore.config import Config

    return target.session().client(
        "dynamodb",
        endpoint_url=target.settings.endpoint_url,
        config=Config(
            connect_timeout=5, read_timeout=20, max_pool_connections=2 * CALLS_IN_FLIGHT,
            retries={"total_max_attempts": 1, "mode": "standard"},
        ),
    )  # fmt: skip


def _state(wanted: Range, before: State | None, *, drop: bool) -> State:
    """The state that a rebuild of this range begins with."""
    if before is not None and before.is_of(wanted, drop=drop):
        return before
    return State(
        wanted.start, wanted.end, tuple(wanted.devices) if wanted.only else (),
        tuple(tier.name for tier in wanted.tiers), drop,
    )  # fmt: skip


def _read(path: Path) -> State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(path: Path, state: State) -> None:
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(path)


def lines(summary: Summary, *, drop: bool) -> Sequence[str]:
    """What was done, for a person."""
    found = [
        f"{summary.windows:,} windows compared with {summary.readings:,} accepted rows, "
        f"{summary.written:,} made new"
    ]
    if summary.left:
        why = (
            "they kept receiving readings: rebuild them again when they have ended"
            if drop
            else "--drop-unarchived removes the ids once no worker is behind"
        )
        found.append(
            f"{summary.left:,} windows hold ids that the archive does not have and were left: {why}"
        )
        found += [f"  {name}" for name in summary.left_windows[:20]]
    return found
