"""The role of a topic rule's action has to allow what the action does; MiniStack asks for no right.

Source: AWS IoT developer guide, "Granting an AWS IoT rule the access it requires".
"""

from __future__ import annotations

from typing import Any, Final

from infra.emulator.keys import KeyUse, key_uses
from infra.emulator.world import World

CACHE_S: Final = 5.0
"""How long a decision stands. It is made for each message otherwise, which costs more than the
action itself."""


def right_of(kind: str, spec: dict[str, Any], account: str, region: str) -> tuple[str, str] | None:
    """The IAM action and the resource that a rule's action needs; ``None`` for those that no rule
    of ours has.

    >>> right_of("kinesis", {"streamName": "x-telemetry"}, "1", "us-east-1")
    ('kinesis:PutRecord', 'arn:aws:kinesis:us-east-1:1:stream/x-telemetry')
    """
    if kind == "kinesis":
        stream = spec.get("streamName")
        return "kinesis:PutRecord", f"arn:aws:kinesis:{region}:{account}:stream/{stream}"
    if kind == "sqs":
        queue = str(spec.get("queueUrl")).rpartition("/")[2]
        return "sqs:SendMessage", f"arn:aws:sqs:{region}:{account}:{queue}"
    return None


def authorize_rule_actions(world: World) -> None:
    """Fail an action whose role lacks the right; the rule's error action then sees it."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import request_scope
    from ministack.services import iot

    dispatch = iot._dispatch_rule_action
    gather, evaluate = iam_evaluator._gather_role_policies, iam_evaluator.evaluate
    known: dict[tuple[str, str, str], tuple[float, bool]] = {}

    def allows(account: str, region: str, role: str, action: str, resource: str) -> bool:
        now = world.clock()
        until, allowed = known.get((role, action, resource), (0.0, False))
        if now < until:
            return allowed
        name = role.rpartition("/")[2]
        session = f"arn:aws:sts::{account}:assumed-role/{name}/rule"
        with request_scope(account, region):
            trusted = bool(iot._iot_role_usable(role))
        asked = [KeyUse(action, resource, {}), *key_uses(world.keys, action, resource, region)]
        allowed = trusted
        for one, on, conditions in asked if trusted else []:
            context = iam_evaluator.EvalContext(
                principal_arn=session,
                principal_type="AssumedRole",
                principal_account=account,
                action=one,
                resource_arn=on,
                region=region,
                service_context={key.lower(): value for key, value in conditions.items()},
            )
            granted = evaluate(context, gather(name, account)).decision == "Allow"
            world.decisions.add(session, one, on, allowed=granted)
            allowed = allowed and granted
        known[role, action, resource] = (now + CACHE_S, allowed)
        return allowed

    async def dispatch_rule_action(
        account: str, region: str, rule_name: str, action: dict[str, Any], event: Any
    ) -> None:
        for kind, spec in action.items():
            right = right_of(kind, spec, account, region)
            if right and not allows(account, region, spec["roleArn"], *right):
                raise RuntimeError(
                    f"{spec['roleArn']} is not authorized to perform {right[0]} on {right[1]}"
                )
        await dispatch(account, region, rule_name, action, event)

    iot._dispatch_rule_action = dispatch_rule_action
