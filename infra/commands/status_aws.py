"""``penstock status --aws``: a deployment, section by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.table import Column, Table
from rich.text import Text

from infra.commands.write_target import describe
from infra.console import STDOUT, print_json, say
from infra.target import Target

Section = Mapping[str, Any]
SHARDS_SHOWN: Final = 20


def show_deployment(target: Target, as_json: bool) -> None:
    """Ask AWS, and print what it says."""
    from infra.aws.status.ask import ask  # a local status needs no boto3

    sections = ask(target)
    if as_json:
        where = {"stack": target.settings.stack, "region": target.settings.region}
        print_json({**where, "account": target.account, **sections})
        return
    say(f"status of {describe(target)}")
    for name, section in sections.items():
        if "problem" in section:
            _line(_NAMES[name], str(section["problem"]), "yellow")
        else:
            _SHOWN[name](section)


def _line(name: str, text: str, style: str = "") -> None:
    STDOUT.print(Text.assemble((f"{name:<12} ", "bold"), (text, style)))


def _stacks(section: Section) -> None:
    for one in section["stacks"]:
        well = one["status"].endswith("_COMPLETE") and "ROLLBACK" not in one["status"]
        _line(one["stack"], f"{one['status']} since {one['changed']}", "" if well else "red")


def _workers(section: Section) -> None:
    workers, shards = section["workers"], section["shards"]
    silent = f", {section['silent']} silent" if section["silent"] else ""
    held = len(shards) + sum(one["shards_left_out"] for one in workers)
    _line(
        "workers",
        f"{len(workers)} report{silent}; {held} shards, greatest lag {_lag(section['lag_ms'])}",
        "" if workers else "red",
    )
    for one in workers:
        if one["not_ready"]:
            _line("", f"{one['worker']} is not ready: {one['not_ready']}", "red")
    if not shards:
        return
    table = Table(Column("shard", no_wrap=True), "worker", "lag", box=None, pad_edge=False)
    for shard in shards[:SHARDS_SHOWN]:
        table.add_row(str(shard["shard"]), str(shard["worker"]), _lag(shard["lag_ms"]))
    STDOUT.print(table)
    if len(shards) > SHARDS_SHOWN:
        _line("", f"and {len(shards) - SHARDS_SHOWN} shards that are less behind; see --json")


def _lag(lag_ms: float | None) -> str:
    return "unknown" if lag_ms is None else f"{lag_ms / 1000:.1f} s"


def _alarms(section: Section) -> None:
    firing = section["firing"]
    _line(
        "alarms",
        f"{len(firing)} firing, {section['ok']} ok, {section['insufficient_data']} without data",
        "red" if firing else "",
    )
    for one in firing:
        _line("", f"{one['alarm']} since {one['since']}: {one['reason']}", "red")


def _rule_errors(section: Section) -> None:
    oldest = section["oldest_s"]
    age = f", the oldest {oldest:.0f} s old" if oldest is not None else ""
    _line(
        "rule errors",
        f"{section['messages']} messages{age}",
        "red" if section["messages"] else "",
    )


def _archive(section: Section) -> None:
    last = section["last"]
    if last is None:
        _line("archive", "empty")
    else:
        _line("archive", f"last object {last['age_s']} s ago: {last['key']}")


def _cost(section: Section) -> None:
    _line(
        "cost",
        f"{section['usd']:.2f} USD for {section['write_units']:,.0f} write units on "
        f"{section['day']} (UTC), at list prices of {section['prices']}",
    )


_NAMES: Final = {
    "stacks": "stack",
    "workers": "workers",
    "alarms": "alarms",
    "rule_errors": "rule errors",
    "archive": "archive",
    "cost": "cost",
}
_SHOWN: Final[Mapping[str, Callable[[Section], None]]] = {
    "stacks": _stacks,
    "workers": _workers,
    "alarms": _alarms,
    "rule_errors": _rule_errors,
    "archive": _archive,
    "cost": _cost,
}
