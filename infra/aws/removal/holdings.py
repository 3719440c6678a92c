"""Everything that an account holds in one Region, of each service that a deployment uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of
from infra.target import Target

Holding = tuple[str, str]
"""A kind and a name."""


class _Listing(NamedTuple):
    """How one kind is listed: the call, the path of the answer's list, and the name in each of its
    members (empty: the members are names)."""

    kind: str
    service: str
    operation: str
    members: str
    name: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})


_LISTINGS: Final = (
    _Listing("thing", "iot", "list_things", "things", "thingName"),
    _Listing("certificate", "iot", "list_certificates", "certificates", "certificateId"),
    _Listing("iot policy", "iot", "list_policies", "policies", "policyName"),
    _Listing("thing type", "iot", "list_thing_types", "thingTypes", "thingTypeName"),
    _Listing("provisioning template", "iot", "list_provisioning_templates", "templates",
             "templateName"),
    _Listing("topic rule", "iot", "list_topic_rules", "rules", "ruleName"),
    _Listing("dynamodb table", "dynamodb", "list_tables", "TableNames"),
    _Listing("stream", "kinesis", "list_streams", "StreamNames"),
    _Listing("s3 bucket", "s3", "list_buckets", "Buckets", "Name"),
    _Listing("queue", "sqs", "list_queues", "QueueUrls"),
    _Listing("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
    _Listing("role", "iam", "list_roles", "Roles", "RoleName"),
    _Listing("instance profile", "iam", "list_instance_profiles", "InstanceProfiles",
             "InstanceProfileName"),
    _Listing("iam policy", "iam", "list_policies", "Policies", "PolicyName", {"Scope": "Local"}),
    _Listing("function", "lambda", "list_functions", "Functions", "FunctionName"),
    _Listing("key alias", "kms", "list_aliases", "Aliases", "AliasName"),
    _Listing("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    _Listing("topic", "sns", "list_topics", "Topics", "TopicArn"),
    _Listing("event bus", "events", "list_event_buses", "EventBuses", "Name"),
    _Listing("ecs cluster", "ecs", "list_clusters", "clusterArns"),
    _Listing("task definition", "ecs", "list_task_definitions", "taskDefinitionArns"),
    _Listing("schedule group", "scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
    _Listing("http api", "apigatewayv2", "get_apis", "Items", "Name"),
    _Listing("distribution", "cloudfront", "list_distributions", "DistributionList.Items",
             "Comment"),
    _Listing("origin access control", "cloudfront", "list_origin_access_controls",
             "OriginAccessControlList.Items", "Name"),
    _Listing("user pool", "cognito-idp", "list_user_pools", "UserPools", "Name",
             MappingProxyType({"MaxResults": 60})),
    _Listing("glue database", "glue", "get_databases", "DatabaseList", "Name"),
    _Listing("athena workgroup", "athena", "list_work_groups", "WorkGroups", "Name"),
    _Listing("cloudformation stack", "cloudformation", "list_stacks", "StackSummaries",
             "StackName"),
)  # fmt: skip

_DENIALS: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
KINDS: Final = tuple(listing.kind for listing in _LISTINGS)


def holdings(target: Target) -> set[Holding]:
    """What the account of ``target`` holds in its Region; roles, buckets and
    distributions of all Regions."""
    return {holding for listing in _LISTINGS for holding in _listed(target, listing)}


class Search(NamedTuple):
    """What an account holds, and the kinds that the caller may not list."""

    found: set[Holding]
    denied: tuple[str, ...]


def search(target: Target) -> Search:
    """As :func:`holdings`, with whatever rights the caller has."""
    found: set[Holding] = set()
    denied: list[str] = []
    for listing in _LISTINGS:
        try:
            found |= set(_listed(target, listing))
        except ClientError as error:
            if code_of(error) not in _DENIALS:
                raise
            denied.append(listing.kind)
    return Search(found, tuple(denied))


def _listed(target: Target, listing: _Listing) -> Iterator[Holding]:
    for name in _names(target.client(listing.service), listing):
        yield listing.kind, _short(name)


def _short(name: str) -> str:
    """The name in a URL of SQS or in an ARN.

    >>> _short("arn:aws:ecs:eu-west-1:1:task-definition/plant-7-worker:3")
    'plant-7-worker:3'
    >>> _short("arn:aws:sns:eu-west-1:1:plant-7-alarms")
    'plant-7-alarms'
    """
    if name.startswith(("https://", "http://")):
        return name.rpartition("/")[2]
    if not name.startswith("arn:"):
        return name
    return name.rpartition("/" if "/" in name else ":")[2]


def _names(client: Any, listing: _Listing) -> Iterator[str]:
    for page in _pages(client, listing):
        for member in _members(page, listing.members):
            if not listing.name:
                yield member
            elif member.get("StackStatus") != "DELETE_COMPLETE":
                yield member[listing.name]


def _members(page: Any, path: str) -> Iterable[Any]:
    """
    >>> _members({"List": {"Items": ["a"]}}, "List.Items"), _members({"List": {}}, "List.Items")
    (['a'], ())
    """
    for name in path.split("."):
        page = page.get(name) or {}
    return page or ()


def _pages(client: Any, listing: _Listing) -> Iterator[dict[str, Any]]:
    if client.can_paginate(listing.operation):
        yield from client.get_paginator(listing.operation).paginate(**listing.arguments)
    else:
        yield getattr(client, listing.operation)(**listing.arguments)
