"""``penstock alert test``: what a rule would have done with what the archive holds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import rich_click as click
from msgspec import to_builtins
from msgspec.structs import replace
from rich.table import Table

from consumers.alerts.rules import Rule, opposite, parse_condition
from consumers.alerts.store import WindowHistory
from infra.archive.auditing import source_of
from infra.archive.backtest_plot import plot
from infra.commands.alert_rules import FOLDER, read_folder
from infra.commands.archive_range import range_of
from infra.commands.options import Time, aws_option, json_option
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target, find_target
from ingest.times import show_time
from lake.audit.audit import Range
from lake.backtest.backtest import Backtest, Backtester, Progress, spans
from lake.replay.rows import Selection

SHOWN: Final = 40
BARS: Final = " ▁▂▃▄▅▆▇█"
COLUMNS: Final = 60


@click.command()
@click.argument("name", metavar="RULE")
@click.option(
    "--rules",
    "folder",
    default=FOLDER,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the rule is: a folder or a file.",
)
@click.option(
    "--from",
    "start",
    type=Time(),
    metavar="TIME",
    help="Event times from here on (ISO 8601, UTC).  [default: a day before --to]",
)
@click.option(
    "--to", "end", type=Time(), metavar="TIME", help="Event times before this.  [default: now]"
)
@click.option(
    "--device", "devices", multiple=True, metavar="NAME", help="This device only; repeatable."
)
@click.option("--when", metavar="CONDITION", help="Raise with this, instead of the rule's `when`.")
@click.option(
    "--clear", metavar="CONDITION", help="Clear with this, instead of the rule's `clear`."
)
@click.option(
    "--plot",
    "svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Draw values, thresholds and open alarms into a file.",
)
@json_option
@aws_option  # fmt: skip
def test_(
    name: str, folder: Path, start: int | None, end: int | None, devices: Sequence[str],
    when: str | None, clear: str | None, svg: Path | None, as_json: bool, aws: bool,
) -> None:  # fmt: skip
    """Show what RULE would have done in the past, from the archive. Nothing is changed or sent.

    The archive's readings go through the code that evaluates rules in a worker. With --when and
    --clear other thresholds are tried without editing the file. Readings that came late are there
    from the beginning, so alarms that they would have withdrawn are not told.
    """
    rule = with_conditions(rule_named(folder, name), when, clear)
    target = find_target(aws=aws)
    if rule.tier not in {tier.name for tier in target.settings.tiers}:
        raise UserError(f"rule {name}: there is no tier {rule.tier} here: see `penstock env`")
    wanted = range_of(target, start, end, devices, [rule.tier])
    found = backtest(target, rule, wanted)
    if svg is not None:
        svg.write_text(plot(found))
        say(f"  → plot {svg}")
    if as_json:
        print_json(document(found))
    else:
        print_result(found)


def rule_named(folder: Path, name: str) -> Rule:
    """A rule of a folder or a file.

    :raises UserError: when it is not there, is not one on a device's windows, or a rule is wrong.
    """
    rules = {rule.name: rule for rule in read_folder(folder)}
    if name not in rules:
        raise UserError(f"there is no rule {name!r} in {folder}: it has {', '.join(rules)}")
    if rules[name].is_of_fleet:
        raise UserError(
            f"rule {name} is of silence or of groups, which no archive tells: only rules on the "
            "windows of one device can be tested"
        )
    return rules[name]


def with_conditions(rule: Rule, when: str | None, clear: str | None) -> Rule:
    """The rule with other conditions. One that clears by the opposite of what raises it goes on to.

    :raises UserError: when a condition is wrong.
    """
    was_opposite = rule.clear_when == opposite(rule.raise_when)
    try:
        if when is not None:
            rule = replace(rule, raise_when=parse_condition(when))
        if clear is not None:
            return replace(rule, clear_when=parse_condition(clear))
    except ValueError as error:
        raise UserError(str(error)) from None
    return replace(rule, clear_when=opposite(rule.raise_when)) if was_opposite else rule


def backtest(target: Target, rule: Rule, wanted: Range) -> Backtest:
    """Back-test a rule on a deployment's archive, showing progress."""
    source, _ = source_of(target, None)
    newest = Progress()

    def tell(progress: Progress) -> None:
        nonlocal newest
        newest = progress

    tester = Backtester(
        source, {tier.name: tier for tier in target.settings.tiers},
        selects=_selects(target, rule, wanted.devices), progress=tell,
    )  # fmt: skip
    devices = frozenset(wanted.devices) if wanted.only else None
    gc.disable()  # windows are many, and in no circle
    try:
        with live(
            lambda: (
                f"  … segment {newest.segments_done} of {newest.segments}, "
                f"{newest.readings:,} readings folded"
            )
        ):
            return tester.run(rule, Selection(wanted.start, wanted.end, devices))
    finally:
        gc.enable()


def _selects(target: Target, rule: Rule, devices: Sequence[str]) -> Callable[[Rule, str], bool]:
    """Which devices are the rule's; the roster is read when it asks for their group or type."""
    known: dict[str, tuple[str, str]] = {}
    if rule.group or rule.type:
        history = WindowHistory(target.client("dynamodb", "reader"), "")
        for at in range(0, len(devices), 100):
            table = target.settings.devices_table
            known |= history.attributes(table, devices[at : at + 100])
    return lambda rule, device: rule.selects(device, *known.get(device, ("", "")))


def document(found: Backtest) -> dict[str, Any]:
    """For JSON."""
    return {
        "rule": found.rule.name,
        "from": found.start,
        "to": found.end,
        "devices": found.devices,
        "folded": found.folded,
        "readings": found.readings,
        "alarms": found.alarms,
        "open_at_the_end": found.open_at_the_end,
        "transitions": to_builtins(found.transitions),
    }


def print_result(found: Backtest) -> None:
    """A table of the transitions, a line over time, and a sentence."""
    if found.transitions:
        table = Table("window", "device", "", "value", "text", box=None, pad_edge=False)
        for one in found.transitions[:SHOWN]:
            value = "" if one.value is None else f"{one.value:.6g}"
            table.add_row(show_time(one.window), one.device, one.kind, value, one.text)
        STDOUT.print(table)
        if len(found.transitions) > SHOWN:
            say(f"{len(found.transitions) - SHOWN} more: --json has all")
        STDOUT.print(
            f"open over time  {bar(found)}  {show_time(found.start)} to {show_time(found.end)}",
            markup=False,
        )
    opened = spans(found.transitions, found.end)
    seconds = sum(end - begin for mine in opened.values() for begin, end in mine) / 1000
    mean = f", {seconds / found.alarms / 60:.1f} min on average" if found.alarms else ""
    STDOUT.print(
        f"{found.alarms} alarm{'' if found.alarms == 1 else 's'} on {len(opened)} of "
        f"{found.devices} devices{mean}; "
        f"{found.open_at_the_end} open at the end",
        markup=False,
    )


def bar(found: Backtest) -> str:
    """How many alarms were open over the time, as a line of blocks; the highest is the most."""
    width = max(1, (found.end - found.start) // COLUMNS)
    counts = [0] * COLUMNS
    for mine in spans(found.transitions, found.end).values():
        for begin, end in mine:
            first = max(0, (begin - found.start) // width)
            last = min(COLUMNS - 1, (max(begin, end - 1) - found.start) // width)
            for column in range(first, last + 1):
                counts[column] += 1
    most = max(counts) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
