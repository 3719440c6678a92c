"""``penstock alert list``, ``show`` and ``follow``: alarms as they are now, and as they change."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import rich_click as click
from orjson import dumps
from rich.table import Table

from infra.alarms import alarms_of, listed_alarms
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target
from ingest.tables.alarms import OVERLAP_MS, Act, DeviceAlarms, Entry, RuleState, wall_ms
from ingest.times import show_time

FOLLOW_S: Final = 0.5
MOST: Final = 200


@click.command()
@click.option("--all", "every", is_flag=True, help="Also devices whose alarms are cleared.")
@json_option
@aws_option
def list_(every: bool, as_json: bool, aws: bool) -> None:
    """List the open alarms, those that changed last first."""
    target = find_target(aws=aws)
    found = [
        row
        for is_open in ([True, False] if every else [True])
        for alarms in itertools.islice(listed_alarms(target, is_open=is_open), MOST)
        for row in _rows(alarms)
        if every or row["open"]
    ]
    if as_json:
        print_json(found)
    elif found:
        STDOUT.print(_table(found))
    else:
        say("no alarm is open")


@click.command()
@click.argument("device")
@json_option
@aws_option
def show_(device: str, as_json: bool, aws: bool) -> None:
    """Show the alarms of a DEVICE: what happened to each, and what people did."""
    alarms = alarms_of(find_target(aws=aws), device)
    rows = _rows(alarms)
    if as_json:
        print_json(rows)
        return
    if not rows:
        raise UserError(f"{device} has never had an alarm; `penstock alert list` shows who has")
    for row in rows:
        STDOUT.print(_line(row), markup=False)
        for entry in row["history"]:
            STDOUT.print(f"  {show_time(entry['window'])}  {_what(entry)}", markup=False)


@click.command()
@json_option
@aws_option
def follow_(as_json: bool, aws: bool) -> None:
    """Print alarms as they are raised, cleared, withdrawn, acknowledged and muted, until Ctrl-C.

    With --json each is one line.
    """
    target = find_target(aws=aws)
    news = News()
    since, started = None, wall_ms()
    while True:
        for row in news.take(_changed(target, since)):
            if since is not None:
                text = dumps(row).decode() if as_json else _event_line(row)
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()
        if since is None:
            say("following alarms; stop with Ctrl-C")
        else:
            time.sleep(FOLLOW_S)
        since, started = started - OVERLAP_MS, wall_ms()


def _changed(target: Target, since_ms: int | None) -> Iterator[DeviceAlarms]:
    """The devices whose alarms changed since a time (ms), or all that ever had any."""
    for is_open in (True, False):
        yield from listed_alarms(target, is_open=is_open, since_ms=since_ms)


class News:
    """Tells what is new in devices' alarms, however often and in which order it is shown them."""

    def __init__(self) -> None:
        self._seen: dict[str, frozenset[tuple[Any, ...]]] = {}

    def take(self, found: Iterable[DeviceAlarms]) -> list[dict[str, Any]]:
        """The remembered transitions that were not there before, oldest first."""
        new = []
        for alarms in found:
            rows = dict(_entries(alarms))
            seen = self._seen.get(alarms.device, frozenset())
            new += [row for key, row in rows.items() if key not in seen]
            self._seen[alarms.device] = seen | rows.keys()
        return sorted(new, key=lambda row: row["window"])


def _entries(alarms: DeviceAlarms) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for name, state in alarms.states.items():
        about = {"device": alarms.device, "rule": name, "severity": state.severity}
        for entry in state.log:
            kind = entry.kind if entry.stands else "withdrawn"
            yield (name, entry.window, entry.kind, entry.nth, entry.stands), {
                **about, "kind": kind, "window": entry.window, "text": state.text, "by": "",
            }  # fmt: skip
        for act in state.acts:
            text = f"{name} on {alarms.device}: {_what(_act(act))}"
            yield (name, act.at, act.kind, act.by), {
                **about, "kind": act.kind, "window": act.at, "text": text, "by": act.by,
            }  # fmt: skip


def _event_line(row: dict[str, Any]) -> str:
    return f"{show_time(row['window'])}  {row['severity']:8}  {row['kind']:12}  {row['text']}"


def _rows(alarms: DeviceAlarms) -> list[dict[str, Any]]:
    """A device's alarms as plain values."""
    return [_row(alarms.device, name, state) for name, state in sorted(alarms.states.items())]


def _row(device: str, rule: str, state: RuleState) -> dict[str, Any]:
    newest = state.newest
    return {
        "device": device,
        "rule": rule,
        "open": state.is_raised,
        "severity": state.severity,
        "since": newest.window if newest else None,
        "text": state.text,
        "acknowledged": state.acknowledged,
        "muted_until": state.muted_until or None,
        "history": sorted(
            [*map(_entry, state.log), *map(_act, state.acts)], key=lambda one: one["window"]
        ),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {"window": entry.window, "kind": entry.kind, "stands": entry.stands}


def _act(act: Act) -> dict[str, Any]:
    """What a person did; ``window`` is when."""
    until = {"until": act.until} if act.until else {}
    return {"window": act.at, "kind": act.kind, "stands": True, "by": act.by, **until}


def _what(entry: Mapping[str, Any]) -> str:
    """A row of the history, after its time."""
    by = f" by {entry['by']}" if "by" in entry else ""
    until = f" until {show_time(entry['until'])}" if "until" in entry else ""
    stands = "" if entry["stands"] else "  (withdrawn: late data changed the window)"
    return f"{entry['kind']}{by}{until}{stands}"


def _line(row: dict[str, Any]) -> str:
    return f"{row['rule']}: {_state(row)}: {row['text']}"


def _state(row: dict[str, Any]) -> str:
    state = "open" if row["open"] else "cleared"
    who = f", acknowledged by {row['acknowledged']}" if row["acknowledged"] else ""
    mute = f", muted until {show_time(row['muted_until'])}" if row["muted_until"] else ""
    return f"{state}{who}{mute}"


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("severity", "rule", "device", "window (UTC)", "state", "text",
                  box=None, pad_edge=False)  # fmt: skip
    for row in rows:
        table.add_row(
            row["severity"], row["rule"], row["device"],
            show_time(row["since"]) if row["since"] else "", _state(row), row["text"],
        )  # fmt: skip
    return table
