"""Topic rules: the ``kinesis`` action, which MiniStack's rules lack, and payloads of any kind."""

from __future__ import annotations

import base64
import contextvars
import json
import re
from typing import Any, Final, NamedTuple

_TEMPLATE: Final = re.compile(r"\$\{(.*?)\}")


class _Publish(NamedTuple):
    """The message that a rule is being run for."""

    topic: str
    payload: bytes
    client_id: str | None


def add_kinesis_rule_action() -> None:
    """Give topic rules the ``kinesis`` action: one ``PutRecord`` a message, and an error that
    the rule's ``errorAction`` sees when it fails."""
    from ministack.core.responses import request_scope
    from ministack.services import iot, kinesis

    _ = (request_scope, kinesis._put_record)  # used for each message: missed now, or never
    _ = (iot._rule_message, iot._eval_select_expr, iot._MISSING)
    publish: contextvars.ContextVar[_Publish] = contextvars.ContextVar("publish")
    run, dispatch = iot._run_rule_actions, iot._dispatch_rule_action

    async def run_rule_actions(
        account: str, region: str, rule: Any, payload: bytes, topic: str = "",
        client_id: str | None = None,
    ) -> None:  # fmt: skip
        token = publish.set(_Publish(topic, payload or b"", client_id))
        try:
            await run(account, region, rule, payload, topic, client_id)
        finally:
            publish.reset(token)

    async def dispatch_rule_action(
        account: str, region: str, rule_name: str, action: dict[str, Any], event: Any
    ) -> None:
        if "kinesis" in action:
            _put_record(account, region, action["kinesis"], event, publish.get())
        else:
            await dispatch(account, region, rule_name, action, event)

    iot._run_rule_actions = run_rule_actions
    iot._dispatch_rule_action = dispatch_rule_action
    iot._RULE_ACTION_RESOURCE_KEYS["kinesis"] = ("streamName",)


def take_any_payload() -> None:
    """Let JSON that Python's parser gives up on (numbers of 5,000 digits, deep nesting) pass as
    text, as payloads that are no JSON do; it would close the device's connection instead."""
    from ministack.services import iot

    original = iot._rule_message

    def rule_message(payload: bytes) -> Any:
        try:
            return original(payload)
        except (ValueError, RecursionError):
            return payload.decode()

    iot._rule_message = rule_message


def _put_record(
    account: str, region: str, spec: dict[str, Any], event: Any, sent: _Publish
) -> None:
    from ministack.core.responses import request_scope
    from ministack.services import kinesis

    data = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    with request_scope(account, region):
        status, _, body = kinesis._put_record(
            {
                "StreamName": spec["streamName"],
                "PartitionKey": _substituted(spec.get("partitionKey", "${newuuid()}"), sent),
                "Data": base64.b64encode(data).decode("ascii"),
            }
        )
    if status >= 400:
        raise RuntimeError(f"Kinesis PutRecord to {spec['streamName']} failed: {body!r}")


def _substituted(template: str, sent: _Publish) -> str:
    """A substitution template's text for one message."""
    from ministack.services import iot

    message = iot._rule_message(sent.payload)

    def value(match: re.Match[str]) -> str:
        result = iot._eval_select_expr(match[1], sent.topic, sent.payload, message, sent.client_id)
        return "" if result is iot._MISSING else str(result)

    return _TEMPLATE.sub(value, template)
