"""Alert rules and alarms in ``<stack>-alerts``, as a person reads and changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from consumers.alerts.alarms import Alarms, AlarmsCodec, load_alarms
from consumers.alerts.delivery import OPEN_INDEX
from consumers.alerts.rules import Rule, RuleSet
from consumers.alerts.store import read_rules, rules_item
from consumers.aws.errors import code_of
from infra.console import UserError
from infra.target import Target

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


def listed_alarms(target: Target, *, is_open: bool) -> Iterator[Alarms]:
    """Devices with an open alarm, or those that had one before, the latest change first.

    :raises UserError: when the deployment has no alerts.
    """
    pages = target.client("dynamodb", READER).get_paginator("query")
    try:
        for page in pages.paginate(
            TableName=target.settings.alerts_table,
            IndexName=OPEN_INDEX,
            KeyConditionExpression="is_open = :open",
            ExpressionAttributeValues={":open": {"S": "1" if is_open else "0"}},
            ScanIndexForward=False,
        ):
            yield from map(_alarms, page["Items"])
    except ClientError as error:
        raise _without_alerts(target, error) from None


def alarms_of(target: Target, device: str, role: str = READER) -> Alarms:
    """A device's alarms; empty for one that never had any.

    :raises UserError: when the deployment has no alerts.
    """
    try:
        item = target.client("dynamodb", role).get_item(
            TableName=target.settings.alerts_table,
            Key={"device": {"S": device}},
            ConsistentRead=True,
        )
    except ClientError as error:
        raise _without_alerts(target, error) from None
    return _alarms(item["Item"]) if "Item" in item else Alarms(device)


def change_alarms(target: Target, device: str, act: Callable[[Alarms], Any]) -> None:
    """Let a person's act change a device's alarms; done again on what a worker wrote meanwhile.

    :raises UserError: when the deployment has no alerts. What ``act`` raises goes on.
    """
    codec = AlarmsCodec(target.settings.alerts_table)
    dynamodb = target.client("dynamodb", OPERATOR)
    while True:
        alarms = alarms_of(target, device, OPERATOR)
        act(alarms)
        values = dict(zip(codec.columns, codec.values(alarms), strict=True))
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(ver)"}
        if alarms.ver:
            condition = {
                "ConditionExpression": "ver = :ver",
                "ExpressionAttributeValues": {":ver": {"N": str(alarms.ver)}},
            }
        item = {"device": {"S": device}, "ver": {"N": str(alarms.ver + 1)}, **values}
        try:
            dynamodb.put_item(TableName=codec.table, Item=item, **condition)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
        else:
            return


def _alarms(item: dict[str, Any]) -> Alarms:
    alarms = Alarms(item["device"]["S"])
    load_alarms(alarms, item)
    return alarms


def _without_alerts(target: Target, error: ClientError) -> UserError:
    if code_of(error) in ("ResourceNotFoundException", "AccessDeniedException"):
        return UserError(
            f"stack {target.settings.stack} has no alerts: set `alerts = true` in penstock.toml "
            "and deploy, or run `penstock up` again"
        )
    return UserError(f"AWS refuses: {error}")
