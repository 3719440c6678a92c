"""A resource that a customer-managed KMS key encrypts is used only by who may use the key through
the resource's service. MiniStack keeps no key of a stream or a bucket and asks for none.

Sources: Kinesis developer guide, "Permissions to use user-generated KMS keys"; S3 user guide,
"Using server-side encryption with AWS KMS keys"; SQS developer guide, "Key management" (a producer
generates and verifies a data key, a consumer decrypts it); DynamoDB developer guide, "How Amazon
DynamoDB uses AWS KMS" (each use of a table decrypts its table key).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from infra.emulator.world import World

_DECRYPT: Final = ("kms:Decrypt",)
_GENERATE: Final = ("kms:GenerateDataKey",)
_NEEDS: Final = {
    "kinesis:PutRecord": _GENERATE,
    "kinesis:PutRecords": _GENERATE,
    "kinesis:GetRecords": _DECRYPT,
    "kinesis:SubscribeToShard": _DECRYPT,
    "s3:PutObject": _GENERATE,
    "s3:GetObject": _DECRYPT,
    "sqs:SendMessage": _GENERATE + _DECRYPT,
    "sqs:ReceiveMessage": _DECRYPT,
    **{
        f"dynamodb:{name}": _DECRYPT
        for name in (
            "BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PartiQLDelete",
            "PartiQLInsert", "PartiQLSelect", "PartiQLUpdate", "PutItem", "Query", "Scan",
            "UpdateItem",
        )
    },
}  # fmt: skip


class KeyUse(NamedTuple):
    """An action on a key, and the conditions that it is asked with."""

    action: str
    key: str
    context: dict[str, Any]


def key_uses(keys: dict[str, str], action: str, resource: str, region: str) -> Iterator[KeyUse]:
    """What an allowed call asks KMS for. ``keys`` has the key of each encrypted resource by ARN.

    >>> queue, key = "arn:aws:sqs:eu-west-1:1:q", "arn:aws:kms:eu-west-1:1:key/k"
    >>> list(key_uses({queue: key}, "sqs:ReceiveMessage", queue, "eu-west-1"))[0].context
    {'kms:ViaService': 'sqs.eu-west-1.amazonaws.com'}
    """
    service = action.partition(":")[0]
    whole = resource.partition("/consumer/")[0].partition("/index/")[0]
    if service == "s3":
        whole = whole.partition("/")[0]
    key = keys.get(whole)
    if key:
        context = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
        for needed in _NEEDS.get(action, ()):
            yield KeyUse(needed, key, context)


def ask_for_keys(world: World) -> None:
    """Remember the keys of what stacks create, and ask for them on each use."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import get_account_id, get_region
    from ministack.services.cloudformation import provisioners

    enforce = iam_evaluator.enforce
    handlers = provisioners._RESOURCE_HANDLERS

    def remembering(kind: str, create: Any) -> Any:
        def created(logical_id: str, properties: dict[str, Any], *more: Any) -> Any:
            made = create(logical_id, properties, *more)
            arn, key = _key_of(kind, properties, get_region(), get_account_id())
            if key and ":key/" in key:  # not an alias of AWS's own
                world.keys[arn] = key
            return made

        return created

    def enforced(
        access_key: str, action: str, service: str, region: str, resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        denied = enforce(access_key, action, service, region, resource_arn, service_context)
        if denied is None:
            for use in key_uses(world.keys, action, resource_arn, region):
                denied = enforce(access_key, use.action, "kms", region, use.key, use.context)
                if denied is not None:
                    break
        return denied

    for kind in ("AWS::Kinesis::Stream", "AWS::DynamoDB::Table", "AWS::S3::Bucket",
                 "AWS::SQS::Queue"):  # fmt: skip
        handlers[kind]["create"] = remembering(kind, handlers[kind]["create"])
    iam_evaluator.enforce = enforced


def _key_of(
    kind: str, properties: dict[str, Any], region: str, account: str
) -> tuple[str, str | None]:
    """The ARN of a resource of a template, and its key."""
    match kind:
        case "AWS::Kinesis::Stream":
            name = f"arn:aws:kinesis:{region}:{account}:stream/{properties.get('Name')}"
            return name, properties.get("StreamEncryption", {}).get("KeyId")
        case "AWS::DynamoDB::Table":
            name = f"arn:aws:dynamodb:{region}:{account}:table/{properties.get('TableName')}"
            return name, properties.get("SSESpecification", {}).get("KMSMasterKeyId")
        case "AWS::S3::Bucket":
            rules = properties.get("BucketEncryption", {}).get(
                "ServerSideEncryptionConfiguration", [{}]
            )
            default = rules[0].get("ServerSideEncryptionByDefault", {})
            return f"arn:aws:s3:::{properties.get('BucketName')}", default.get("KMSMasterKeyID")
    name = f"arn:aws:sqs:{region}:{account}:{properties.get('QueueName')}"
    return name, properties.get("KmsMasterKeyId")
