"""Alert rules and alarms in ``<stack>-alerts``, as a person reads and changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from consumers.alerts.rules import Rule, RuleSet
from consumers.alerts.store import read_rules, rules_item
from consumers.aws.errors import code_of
from infra.console import UserError
from infra.target import Target
from ingest.tables.alarm_acts import AlarmBusyError, change_alarms, read_device_alarms
from ingest.tables.alarms import DeviceAlarms, alarms_query, read_alarms

READER = "reader"
OPERATOR = "operator"


@dataclass(frozen=True)
class Applied:
    """What applying rules changed: names of rules."""

    added: list[str]
    changed: list[str]
    removed: list[str]


def applied_rules(target: Target, role: str = READER) -> RuleSet:
    """The rules that the workers evaluate.

    :raises UserError: when the deployment has no alerts.
    """
    try:
        return read_rules(target.client("dynamodb", role), target.settings.alerts_table)
    except ClientError as error:
        raise _without_alerts(target, error) from None


def apply_rules(target: Target, rules: Sequence[Rule], now_ms: int) -> Applied:
    """Replace the rules. A rule that is new or was changed decides windows that end after
    ``now_ms``; one that stays the same goes on.

    :raises UserError: when the deployment has no alerts, or somebody else applies rules now.
    """
    before = applied_rules(target, OPERATOR)
    known = {rule.name: rule for rule in before.rules}
    after = [_with_since(rule, known.get(rule.name), now_ms) for rule in rules]
    names = {rule.name for rule in after}
    applied = Applied(
        added=sorted(names - known.keys()),
        changed=sorted(r.name for r in after if r.name in known and r != known[r.name]),
        removed=sorted(known.keys() - names),
    )
    if applied == Applied([], [], []):
        return applied
    condition: dict[str, Any] = {
        "ConditionExpression": "ver = :ver",
        "ExpressionAttributeValues": {":ver": {"N": str(before.ver)}},
    }
    if not before.ver:
        condition = {"ConditionExpression": "attribute_not_exists(ver)"}
    try:
        target.client("dynamodb", OPERATOR).put_item(
            TableName=target.settings.alerts_table,
            Item=rules_item(RuleSet(before.ver + 1, after)),
            **condition,
        )
    except ClientError as error:
        if code_of(error) == "ConditionalCheckFailedException":
            raise UserError("somebody else applies rules at this moment: run it again") from None
        raise
    return applied


def _with_since(rule: Rule, before: Rule | None, now_ms: int) -> Rule:
    kept = 0 if before is None else before.since
    if before == msgspec.structs.replace(rule, since=kept):
        return before
    return msgspec.structs.replace(rule, since=now_ms)


def listed_alarms(
    target: Target, *, is_open: bool, since_ms: int | None = None
) -> Iterator[DeviceAlarms]:
    """Devices with an open alarm, or those that had one before, the latest change first; with
    ``since_ms`` those that changed then or later.

    :raises UserError: when the deployment has no alerts.
    """
    pages = target.client("dynamodb", READER).get_paginator("query")
    query = alarms_query(target.settings.alerts_table, is_open=is_open, since_ms=since_ms)
    try:
        for page in pages.paginate(**query):
            yield from map(read_alarms, page["Items"])
    except ClientError as error:
        raise _without_alerts(target, error) from None


def alarms_of(target: Target, device: str, role: str = READER) -> DeviceAlarms:
    """A device's alarms; empty for one that never had any.

    :raises UserError: when the deployment has no alerts.
    """
    try:
        return read_device_alarms(
            target.client("dynamodb", role), target.settings.alerts_table, device
        )
    except ClientError as error:
        raise _without_alerts(target, error) from None


def act_on_alarms(target: Target, device: str, act: Callable[[DeviceAlarms], Any]) -> None:
    """Let a person's act change a device's alarms; done again on what a worker wrote meanwhile.

    :raises UserError: when the deployment has no alerts. What ``act`` raises goes on.
    """
    client = target.client("dynamodb", OPERATOR)
    try:
        change_alarms(client, target.settings.alerts_table, device, act)
    except AlarmBusyError as error:
        raise UserError(str(error)) from None
    except ClientError as error:
        raise _without_alerts(target, error) from None


def _without_alerts(target: Target, error: ClientError) -> UserError:
    if code_of(error) in ("ResourceNotFoundException", "AccessDeniedException"):
        return UserError(
            f"stack {target.settings.stack} has no alerts: set `alerts = true` in penstock.toml "
            "and deploy, or run `penstock up` again"
        )
    return UserError(f"AWS refuses: {error}")
