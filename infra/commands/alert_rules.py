"""``penstock alert check``, ``apply`` and ``rules``: the rules of a deployment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from msgspec import to_builtins
from rich.table import Table

from consumers.alerts.rule_file import RuleError, read_rules
from consumers.alerts.rules import Condition, Rule
from infra.alarms import applied_rules, apply_rules
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, print_json, say
from infra.target import find_target
from ingest.tiers import Tier

FOLDER = Path("alerts")

folder_argument = click.argument(
    "folder", default=FOLDER, type=click.Path(path_type=Path, exists=False)
)


@click.command()
@folder_argument
@json_option
def check_(folder: Path, as_json: bool) -> None:
    """Check the rules in FOLDER, alerts/ by default, without applying them.

    A wrong rule is named with its file, its line and what is wrong with it.
    """
    rules = read_folder(folder)
    if as_json:
        print_json(to_builtins(rules))
    else:
        STDOUT.print(_table(rules))
        say(f"{len(rules)} rules are right; `penstock alert apply` puts them to work")


@click.command()
@folder_argument
@json_option
@aws_option
def apply_(folder: Path, as_json: bool, aws: bool) -> None:
    """Apply the rules in FOLDER, alerts/ by default, in place of those that are at work.

    Workers evaluate them within five seconds. A rule that is new or changed decides the windows
    that end from now on.
    """
    rules = read_folder(folder)
    target = find_operator_target("apply alert rules", aws=aws)
    _refuse_what_cannot_work(rules, target.settings.tiers)
    applied = apply_rules(target, rules, time.time_ns() // 1_000_000)
    if as_json:
        print_json(asdict(applied))
        return
    for what, names in asdict(applied).items():
        if names:
            STDOUT.print(f"{what}: {', '.join(names)}", markup=False)
    say("applied" if any(asdict(applied).values()) else "nothing to change")


@click.command()
@json_option
@aws_option
def rules_(as_json: bool, aws: bool) -> None:
    """List the rules that are at work."""
    rules = applied_rules(find_target(aws=aws)).rules
    if as_json:
        print_json(to_builtins(rules))
    elif rules:
        STDOUT.print(_table(rules))
    else:
        raise UserError("no rules are at work: write alerts/*.toml, then `penstock alert apply`")


def read_folder(folder: Path) -> list[Rule]:
    """The rules of a folder or a file.

    :raises UserError: when one is wrong, or there is none.
    """
    try:
        return read_rules(folder)
    except RuleError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(
            f"cannot read rules ({error}): see docs/alerts.md for a first one"
        ) from None


def _refuse_what_cannot_work(rules: Sequence[Rule], tiers: Sequence[Tier]) -> None:
    """:raises UserError: for a rule that this deployment's tiers cannot decide."""
    names = {tier.name for tier in tiers}
    finest = tiers[0]
    shortest_s = max(2 * finest.flush_s, finest.size_ms / 1000)
    for rule in rules:
        if not rule.silent_s and rule.tier not in names:
            raise UserError(
                f"rule {rule.name}: there is no tier {rule.tier} here, only "
                f"{', '.join(tier.name for tier in tiers)}"
            )
        if 0 < rule.silent_s < shortest_s:
            raise UserError(
                f"rule {rule.name}: silent must be {shortest_s:.0f} s or more here, because a "
                f"reading waits up to {finest.flush_s:g} s before it is written; choose a longer "
                "time, or set `freshness`"
            )


def _table(rules: Sequence[Rule]) -> Table:
    table = Table("rule", "raised when", "for", "cleared when", "severity", "devices",
                  box=None, pad_edge=False)  # fmt: skip
    for rule in rules:
        table.add_row(
            rule.name,
            f"silent for {rule.silent_s} s" if rule.silent_s else _text(rule.raise_when),
            "" if rule.silent_s else f"{rule.windows} of {rule.of} {rule.tier}",
            "heard again" if rule.silent_s else _text(rule.clear_when),
            rule.severity,
            " ".join(
                [
                    *rule.devices,
                    *filter(None, (rule.group, rule.type)),
                    *(["per group"] if rule.per_group else []),
                ]
            ),
        )
    return table


def _text(condition: Condition) -> str:
    return (" and " if condition.all_of else " or ").join(
        f"{one.statistic}({one.metric}) {one.operator} {one.threshold:g}"
        for one in condition.comparisons
    )
