"""CloudFormation fails where AWS's resource handlers do: on names that exist, and on tables that
are protected against deletion. It takes over what a change set imports.

Sources: CloudFormation user guide, "DeletionPolicy attribute" and "Troubleshooting" (a resource
that already exists outside the stack); DynamoDB developer guide, "Deletion protection" (deletion
fails, that of a rollback too). MiniStack takes existing tables, streams, roles, rules and
functions over, and what was in them is gone. A change set with ``ImportExistingResources`` imports
a bucket of the template's name (user guide, "Import AWS resources into a CloudFormation stack
automatically"); MiniStack makes the change set so, and then takes the name for a conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple


class _Named(NamedTuple):
    """A type's property with the name, and whether a name is taken."""

    property: str
    exists: Callable[[str], bool]


_PROTECTED: Final = (
    'Resource handler returned message: "Table is protected against deletion. To delete the '
    'table, disable deletion protection." (HandlerErrorCode: InvalidRequest)'
)


def fail_as_resource_handlers_do() -> None:
    """Refuse to create what exists, and to delete what is protected."""
    from ministack.services import dynamodb, iam, iot, kinesis, lambda_svc
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS
    for kind, named in {
        "AWS::DynamoDB::Table": _Named("TableName", lambda name: name in dynamodb._tables),
        "AWS::Kinesis::Stream": _Named("Name", lambda name: name in kinesis._streams),
        "AWS::IAM::Role": _Named("RoleName", lambda name: name in iam._roles),
        "AWS::IoT::TopicRule": _Named("RuleName", lambda name: name in iot._topic_rules),
        "AWS::Lambda::Function": _Named("FunctionName", lambda name: name in lambda_svc._functions),
    }.items():
        handlers[kind]["create"] = _only_new(kind, named, handlers[kind]["create"])
    service = handlers["AWS::ECS::Service"]
    service["create"] = _with_count(service["create"])
    table = handlers["AWS::DynamoDB::Table"]
    table["delete"] = _unless_protected(dynamodb, table["delete"])


CREATE_ONLY: Final[dict[str, tuple[str, ...]]] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        "ResourceId", "ScalableDimension", "ServiceNamespace",
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": (
        "PolicyName", "ResourceId", "ScalableDimension", "ScalingTargetId", "ServiceNamespace",
    ),
    "AWS::IAM::Policy": (),
    "AWS::IoT::Policy": ("PolicyName",),
    "AWS::IoT::TopicRule": ("RuleName",),
    "AWS::Kinesis::Stream": ("Name",),
    "AWS::Lambda::Permission": (
        "Action", "EventSourceToken", "FunctionName", "FunctionUrlAuthType",
        "InvokedViaFunctionUrl", "Principal", "PrincipalOrgID", "SourceAccount", "SourceArn",
    ),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::S3::Bucket": ("BucketName", "BucketNamePrefix", "BucketNamespace"),
    "AWS::S3::BucketPolicy": ("Bucket",),
}  # fmt: skip
"""Properties whose change replaces the resource ("createOnlyProperties" of the types' schemas). Of
these types MiniStack says of any change that it may replace."""


def know_what_replaces() -> None:
    """Change sets say of the template's types what of them a change replaces."""
    from ministack.services.cloudformation import provisioners

    provisioners._REPLACING_PROPERTIES.update(CREATE_ONLY)


def add_and_remove_by_condition() -> None:
    """A change set adds and removes what a condition does ("Condition attribute" of the user
    guide); MiniStack compares what is declared, and executes nothing when that is the same."""
    from ministack.services.cloudformation import changesets

    original, evaluate = changesets._resolve_props_for_diff, changesets._evaluate_conditions

    def resolve(template: Any, parameters: Any, stack_name: str, stack_id: str) -> Any:
        resolved = original(template, parameters, stack_name, stack_id)
        if not resolved:
            return resolved
        holds = evaluate(template, parameters)
        return {
            "Resources": {
                name: one
                for name, one in resolved["Resources"].items()
                if "Condition" not in one or holds.get(one["Condition"], True)
            }
        }

    changesets._resolve_props_for_diff = resolve


def import_buckets() -> None:
    """A bucket that a change set imports is no conflict of names when it is executed."""
    from ministack.services.cloudformation import _change_sets, stacks

    original = stacks._validation_errors

    def imported(stack_id: str) -> frozenset[str]:
        return frozenset(
            identifier["BucketName"]
            for one in _change_sets.values()
            if one["StackId"] == stack_id
            for identifier in one["_import_existing"].values()
            if "BucketName" in identifier
        )

    def validation_errors(
        resources: Any, ordered: Any, parameters: Any, conditions: Any, mappings: Any,
        stack_name: str, stack_id: str, owned: frozenset[str] = frozenset(),
    ) -> Any:  # fmt: skip
        return original(
            resources, ordered, parameters, conditions, mappings, stack_name, stack_id,
            owned | imported(stack_id),
        )  # fmt: skip

    stacks._validation_errors = validation_errors


def _with_count(create: Callable[..., Any]) -> Callable[..., Any]:
    """Take a number of tasks that comes from a parameter, and so is a text, as the number."""

    def call(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        if "DesiredCount" in properties:
            properties = {**properties, "DesiredCount": int(properties["DesiredCount"])}
        return create(logical_id, properties, stack_name)

    return call


def _only_new(kind: str, named: _Named, create: Callable[..., Any]) -> Callable[..., Any]:
    def call(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        name = properties.get(named.property)
        if name and named.exists(name) and not _is_of(stack_name, kind, name):
            raise ValueError(f"Resource of type '{kind}' with identifier '{name}' already exists.")
        return create(logical_id, properties, stack_name)

    return call


def _is_of(stack_name: str, kind: str, physical_id: str) -> bool:
    """Whether the stack has it already: the rollback of an update creates it once more."""
    from ministack.services.cloudformation import _stacks

    resources = (_stacks.get(stack_name) or {}).get("_resources", {}).values()
    return any(
        one.get("ResourceType") == kind and one.get("PhysicalResourceId") == physical_id
        for one in resources
    )


def _unless_protected(dynamodb: Any, delete: Callable[..., Any]) -> Callable[..., Any]:
    def call(physical_id: str, properties: Any) -> Any:
        if (dynamodb._tables.get(physical_id) or {}).get("DeletionProtectionEnabled"):
            raise ValueError(_PROTECTED)
        return delete(physical_id, properties)

    return call
