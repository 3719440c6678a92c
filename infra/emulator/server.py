"""The embedded AWS's process: MiniStack with what the pipeline needs and it lacks.

Eleven extensions, each for the exact version that ``pyproject.toml`` pins, and each held by a
test (``test_emulator.py`` and ``test_provisioning.py`` in ``tests/integration``). A private name
that is missing ends the process with an ``AttributeError`` before it serves anything.

Run as ``python -m infra.emulator.server``; see ``infra.emulator.process`` for the environment
it expects.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import json
import os
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from infra.emulator.iot_certificates import (
    end_connections_of_revoked_certificates,
    sign_requests_over_mqtt,
)
from infra.emulator.kinesis_resharding import keep_closed_shards

LOOPBACK: Final = "127.0.0.1"
_TEMPLATE: Final = re.compile(r"\$\{(.*?)\}")
_PARTIQL_CALLS: Final = frozenset({"dynamodb:BatchExecuteStatement", "dynamodb:ExecuteStatement"})
_PARTIQL: Final = re.compile(
    r"\s*(?:(?P<insert>INSERT)\s+INTO|(?P<update>UPDATE)|(?P<delete>DELETE)\s+FROM"
    r"|(?P<select>SELECT)\b.*?\bFROM)\s+\"?(?P<table>[\w.-]+)",
    re.IGNORECASE | re.DOTALL,
)


class _Publish(NamedTuple):
    """The message that a rule is being run for."""

    topic: str
    payload: bytes
    client_id: str | None


def listen_on_loopback_only() -> None:
    """Bind every listener of this process to loopback, the MQTT one (fixed to 0.0.0.0) too."""
    original = asyncio.base_events.BaseEventLoop.create_server

    async def create_server(
        self: Any, factory: Any, host: Any = None, *args: Any, **kw: Any
    ) -> Any:
        if kw.get("sock") is None:
            host = LOOPBACK
        return await original(self, factory, host, *args, **kw)

    asyncio.base_events.BaseEventLoop.create_server = create_server  # type: ignore[method-assign,assignment]


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


def name_the_resource_of_calls() -> None:
    """Let roles be limited as on AWS: Kinesis calls by iterator or consumer belong to a stream,
    IoT policies are attached to a target. MiniStack takes these for calls on ``*``."""
    from ministack.core import iam_actions
    from ministack.services import kinesis

    original = iam_actions.extract_resource_arn
    _ = kinesis._shard_iterators.get_scoped

    def extract_resource_arn(
        service: str,
        method: str,
        path: str,
        headers: Any,
        body: bytes,
        query_params: Any,
        region: str,
        account_id: str,
    ) -> str:
        found = original(service, method, path, headers, body, query_params, region, account_id)
        if service == "iot" and path.startswith("/target-policies/"):
            return str(_json(body).get("target") or "*")
        request = _json(body) if service == "kinesis" else {}
        if headers.get("x-amz-target", "").endswith(".DescribeStreamConsumer"):
            named = f"{request.get('StreamARN')}/consumer/{request.get('ConsumerName')}:0"
            return str(request.get("ConsumerARN") or named)  # 0: when it was registered
        if service != "kinesis" or found != "*":
            return str(found)
        if consumer := request.get("ConsumerARN"):
            return str(consumer)
        iterator = kinesis._shard_iterators.get_scoped(
            account_id, region, request.get("ShardIterator", "")
        )
        stream = iterator["stream"] if iterator else None
        return f"arn:aws:kinesis:{region}:{account_id}:stream/{stream}" if stream else "*"

    iam_actions.extract_resource_arn = extract_resource_arn


def count_loopback_as_secure_transport() -> None:
    """The bucket's policy refuses what does not come by TLS; a call that never leaves the
    machine is taken as if it did, so that the template is the same here and on AWS."""
    from ministack.core import iam_evaluator

    original = iam_evaluator._resolve_condition_key

    def resolve_condition_key(key: str, context: Any) -> Any:
        return "true" if key.lower() == "aws:securetransport" else original(key, context)

    iam_evaluator._resolve_condition_key = resolve_condition_key


def authorize_partiql_by_statement() -> None:
    """Ask, as AWS does, for ``dynamodb:PartiQLInsert`` and its like on each statement's table;
    MiniStack asks for an action called after the API call."""
    from ministack.core import iam_actions

    original = iam_actions.dynamodb_transaction_checks

    def dynamodb_transaction_checks(
        action: str, body: bytes, region: str, account_id: str
    ) -> list[tuple[str, str]]:
        if action not in _PARTIQL_CALLS:
            return list(original(action, body, region, account_id))
        request = _json(body)
        statements = [s.get("Statement", "") for s in request.get("Statements", [request])]
        return sorted({_partiql_check(text, region, account_id) for text in statements})

    iam_actions.dynamodb_transaction_checks = dynamodb_transaction_checks


def authorize_sqs_batches_by_message() -> None:
    """Ask for ``sqs:DeleteMessage`` where ten are deleted, and alike: IAM knows no batch of SQS;
    MiniStack asks for an action called after the API call."""
    from ministack.core import iam_actions

    original = iam_actions.extract_iam_action

    def extract_iam_action(service: str, *args: Any, **kw: Any) -> str | None:
        action: str | None = original(service, *args, **kw)
        return action.removesuffix("Batch") if service == "sqs" and action else action

    iam_actions.extract_iam_action = extract_iam_action


def keep_sessions() -> None:
    """Save temporary credentials with the rest of the state: on AWS they outlive an outage."""
    from ministack.services import sts

    sts.get_state = lambda: {"sessions": dict(sts._sessions)}
    sts.load_persisted_state = lambda data: sts._sessions.update(data.get("sessions", {}))


def _partiql_check(statement: str, region: str, account: str) -> tuple[str, str]:
    """The action and the table of one statement; one that cannot be read needs every right."""
    match = _PARTIQL.match(statement)
    if match is None:
        return "dynamodb:*", "*"
    verb = next(v for v in ("insert", "update", "delete", "select") if match[v])
    return (
        f"dynamodb:PartiQL{verb.capitalize()}",
        f"arn:aws:dynamodb:{region}:{account}:table/{match['table']}",
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def main() -> None:
    """Extend, then serve until SIGTERM."""
    extensions: list[Callable[[], None]] = [
        listen_on_loopback_only,
        add_kinesis_rule_action,
        take_any_payload,
        name_the_resource_of_calls,
        authorize_partiql_by_statement,
        authorize_sqs_batches_by_message,
        count_loopback_as_secure_transport,
        keep_sessions,
        keep_closed_shards,
        sign_requests_over_mqtt,
        end_connections_of_revoked_certificates,
    ]
    for extend in extensions:
        extend()
    from ministack.app import main as serve

    assert os.environ.get("BIND_HOST") == LOOPBACK, "start it with infra.emulator.process"
    serve()


if __name__ == "__main__":
    main()
