"""Who may call what, where MiniStack's IAM differs from AWS's."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import cbor2

_PARTIQL_CALLS: Final = frozenset({"dynamodb:BatchExecuteStatement", "dynamodb:ExecuteStatement"})
_PRINCIPALS: Final = re.compile(r"/things/([^/]+)/principals")
_PARTIQL: Final = re.compile(
    r"\s*(?:(?P<insert>INSERT)\s+INTO|(?P<update>UPDATE)|(?P<delete>DELETE)\s+FROM"
    r"|(?P<select>SELECT)\b.*?\bFROM)\s+\"?(?P<table>[\w.-]+)",
    re.IGNORECASE | re.DOTALL,
)


def name_the_resource_of_calls() -> None:
    """Let roles be limited as on AWS: Kinesis calls by iterator or consumer belong to a stream,
    IoT policies are attached to a target and have targets. MiniStack takes these for calls on
    ``*``."""
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
        if service == "iot" and path.startswith("/policy-targets/"):
            return f"arn:aws:iot:{region}:{account_id}:policy/{unquote(path.split('/')[2])}"
        request = _json(body) if service == "kinesis" else {}
        if headers.get("x-amz-target", "").endswith(".DescribeStreamConsumer"):
            # By name, AWS does not know which one, and wants the right for all: awslabs/
            # amazon-kinesis-client-python issue 96.
            return str(request.get("ConsumerARN") or f"{request.get('StreamARN')}/consumer/*")
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


def know_leading_keys() -> None:
    """Let a role be limited to items by their hash key (``dynamodb:LeadingKeys``), as on AWS, in
    calls that name one item of a table without a range key."""
    from ministack.core import iam_actions

    original = iam_actions.dynamodb_service_context

    def dynamodb_service_context(body: bytes) -> dict[str, Any]:
        context: dict[str, Any] = dict(original(body))
        key = _json(body).get("Key")
        if isinstance(key, dict) and len(key) == 1:
            context["dynamodb:LeadingKeys"] = [
                str(part) for value in key.values() for part in value.values()
            ]
        return context

    iam_actions.dynamodb_service_context = dynamodb_service_context


def know_thing_arn() -> None:
    """Let a role be limited to the things that it attaches certificates to (``iot:thingArn``, see
    the service authorization reference), in ``AttachThingPrincipal`` and its counterpart."""
    from ministack.core import iam_actions

    resource_of, original = iam_actions.extract_resource_arn, iam_actions.request_tag_context
    thing: contextvars.ContextVar[str | None] = contextvars.ContextVar("thing", default=None)

    def extract_resource_arn(service: str, method: str, path: str, *more: Any) -> str:
        match = _PRINCIPALS.fullmatch(path) if service == "iot" else None
        region, account = more[-2:]
        thing.set(f"arn:aws:iot:{region}:{account}:thing/{unquote(match[1])}" if match else None)
        return str(resource_of(service, method, path, *more))

    def request_tag_context(*request: Any) -> dict[str, Any]:
        named = thing.get()
        return {**original(*request), **({"iot:thingArn": named} if named else {})}

    iam_actions.extract_resource_arn = extract_resource_arn
    iam_actions.request_tag_context = request_tag_context


def know_metric_namespace() -> None:
    """Let a role be limited to the metrics of a namespace (``cloudwatch:namespace``), whatever
    protocol of CloudWatch a client speaks."""
    from ministack.core import iam_actions

    original = iam_actions.request_tag_context

    def request_tag_context(service: str, action: str, body: bytes, query: Any) -> dict[str, Any]:
        context: dict[str, Any] = dict(original(service, action, body, query))
        if action == "cloudwatch:PutMetricData":
            context["cloudwatch:namespace"] = _namespace(body)
        return context

    iam_actions.request_tag_context = request_tag_context


def know_ecs_cluster() -> None:
    """Let a role be limited to the tasks of a cluster (``ecs:cluster``)."""
    from ministack.core import iam_actions
    from ministack.core.responses import get_account_id, get_region

    original = iam_actions.request_tag_context

    def request_tag_context(service: str, action: str, body: bytes, query: Any) -> dict[str, Any]:
        context: dict[str, Any] = dict(original(service, action, body, query))
        cluster = _json(body).get("cluster") if service == "ecs" else None
        if cluster:
            name = str(cluster).rpartition("/")[2]
            place = f"{get_region()}:{get_account_id()}"
            context["ecs:cluster"] = f"arn:aws:ecs:{place}:cluster/{name}"
        return context

    iam_actions.request_tag_context = request_tag_context


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


def _namespace(body: bytes) -> str | None:
    """Of a request in JSON, CBOR or a form."""
    document = _json(body)
    if not document:
        with contextlib.suppress(ValueError):
            document = cbor2.loads(body)
    if isinstance(document, dict) and document:
        return document.get("Namespace")
    return parse_qs(body.decode("utf-8", "replace")).get("Namespace", [None])[0]


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
