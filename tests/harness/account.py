"""Everything that an account holds in one Region, of each service that a deployment uses."""

from __future__ import annotations

from collections.abc import Iterator

from infra.target import Target

Holding = tuple[str, str]
"""A kind and a name."""


def holdings(target: Target) -> set[Holding]:
    """What the account of ``target`` holds in its Region; roles and buckets of all Regions."""
    return set(_iot(target)) | set(_data(target)) | set(_the_rest(target))


def _iot(target: Target) -> Iterator[Holding]:
    iot = target.client("iot")
    yield from (("thing", one["thingName"]) for one in iot.list_things()["things"])
    for one in iot.list_certificates()["certificates"]:
        yield "certificate", one["certificateId"]
    yield from (("iot policy", one["policyName"]) for one in iot.list_policies()["policies"])
    yield from (
        ("thing type", one["thingTypeName"]) for one in iot.list_thing_types()["thingTypes"]
    )
    for one in iot.list_provisioning_templates()["templates"]:
        yield "provisioning template", one["templateName"]
    yield from (("topic rule", one["ruleName"]) for one in iot.list_topic_rules()["rules"])


def _data(target: Target) -> Iterator[Holding]:
    tables = target.client("dynamodb").list_tables()["TableNames"]
    yield from (("dynamodb table", name) for name in tables)
    yield from (("stream", name) for name in target.client("kinesis").list_streams()["StreamNames"])
    yield from (("s3 bucket", one["Name"]) for one in target.client("s3").list_buckets()["Buckets"])
    for url in target.client("sqs").list_queues().get("QueueUrls", []):
        yield "queue", url.rpartition("/")[2]
    for one in target.client("logs").describe_log_groups()["logGroups"]:
        yield "log group", one["logGroupName"]


def _the_rest(target: Target) -> Iterator[Holding]:
    iam = target.client("iam")
    yield from (("role", one["RoleName"]) for one in iam.list_roles()["Roles"])
    for one in iam.list_instance_profiles()["InstanceProfiles"]:
        yield "instance profile", one["InstanceProfileName"]
    for one in iam.list_policies(Scope="Local")["Policies"]:
        yield "iam policy", one["PolicyName"]
    for one in target.client("lambda").list_functions()["Functions"]:
        yield "function", one["FunctionName"]
    for one in target.client("kms").list_aliases()["Aliases"]:
        yield "key alias", one["AliasName"]
    for one in target.client("cloudwatch").describe_alarms()["MetricAlarms"]:
        yield "alarm", one["AlarmName"]
    for one in target.client("cloudformation").list_stacks()["StackSummaries"]:
        if one["StackStatus"] != "DELETE_COMPLETE":
            yield "cloudformation stack", one["StackName"]
