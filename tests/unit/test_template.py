"""The template says what the code expects, and grants no more than the code needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.decode import decode

from consumers.kcl.first_leases import INDEX
from devices.provisioning.attributes import DEFAULT_GROUP, DEFAULT_TYPE
from infra.aws.stacks.template import TEMPLATE
from infra.commands.deploy import COMPUTE, LOG_DAYS
from infra.simulation.provision_fleet import fleet_names, simulated
from ingest.settings import Settings
from ingest.topic import (
    PARTITION_KEY,
    acknowledgement_topic,
    basic_ingest_topic,
    presence_topic,
    rule_sql,
    shadow_topic,
    telemetry_topic,
)
from tests.harness.template import resources

ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "plant-7"
SETTINGS = Settings(stack=STACK, region=REGION)
THING = "${iot:Connection.Thing.ThingName}"

WILD = {
    ("ProvisioningRole", "CallsThatNameNoResource"): "AWS IoT authorizes these by no resource",
    ("ArchiveBucketPolicy", "TlsOnly"): "a Deny of everything that does not come by TLS",
    ("WorkerRole", "PublishKclMetrics"): "CloudWatch has no resources; limited by namespace",
    ("SimulatorRole", "CallsThatNameNoResource"): "AWS IoT authorizes these by no resource",
    ("SimulatorRole", "CertificatesOfItsThings"): "by no resource; limited by iot:thingArn",
    ("OperatorRole", "CallsThatNameNoResource"): "AWS IoT authorizes these by no resource",
}
"""The only statements that may say ``*``, and why."""


RAW = decode(TEMPLATE)[0]
RESOURCES: dict[str, Any] = resources(STACK, REGION, ACCOUNT)


def _properties(name: str) -> Any:
    return RESOURCES[name]["Properties"]


def _statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every IAM statement that grants or denies, with the resource that holds it."""
    for name, body in RESOURCES.items():
        if body["Type"] == "AWS::IAM::Role":
            for policy in body["Properties"]["Policies"]:
                yield from ((name, s) for s in policy["PolicyDocument"]["Statement"])
        elif "PolicyDocument" in body["Properties"]:
            yield from ((name, s) for s in body["Properties"]["PolicyDocument"]["Statement"])


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _actions(role: str) -> set[str]:
    return {a for name, s in _statements() if name == role for a in _listed(s["Action"])}


def test_the_template_is_clean() -> None:
    found = lint(TEMPLATE.read_text(), config=ManualArgs(regions=["us-east-1", "eu-west-1"]))
    assert [str(match) for match in found] == []


def test_the_rule_is_the_one_of_the_contract() -> None:
    rule = _properties("TopicRule")["TopicRulePayload"]
    assert rule["Sql"] == rule_sql(STACK)
    assert rule["AwsIotSqlVersion"] == "2016-03-23"
    assert rule["Actions"][0]["Kinesis"]["PartitionKey"] == PARTITION_KEY
    assert rule["ErrorAction"]["Sqs"]["UseBase64"] is False


@pytest.mark.parametrize(
    ("resource", "key", "expected"),
    [
        ("Stream", "Name", SETTINGS.stream),
        ("WindowsTable", "TableName", SETTINGS.windows_table),
        ("DevicesTable", "TableName", SETTINGS.devices_table),
        ("ClaimsTable", "TableName", SETTINGS.claims_table),
        ("ArchiveBucket", "BucketName", SETTINGS.bucket(ACCOUNT)),
        ("TopicRule", "RuleName", SETTINGS.rule),
        ("ErrorQueue", "QueueName", SETTINGS.error_queue),
        ("DevicePolicy", "PolicyName", SETTINGS.device_policy),
        ("DeviceType", "ThingTypeName", SETTINGS.thing_type),
        ("ClaimPolicy", "PolicyName", SETTINGS.claim_policy),
        ("ProvisioningTemplate", "TemplateName", SETTINGS.provisioning_template),
    ],
)
def test_names_are_those_of_the_settings(resource: str, key: str, expected: str) -> None:
    assert _properties(resource)[key] == expected


def test_roles_which_are_an_account_s_in_all_regions_are_named_by_stack_and_region() -> None:
    roles = [body for body in RESOURCES.values() if body["Type"] == "AWS::IAM::Role"]
    names = [body["Properties"]["RoleName"] for body in roles]
    kinds = [name.removeprefix(f"{STACK}-").removesuffix(f"-{REGION}") for name in names]
    assert names == [SETTINGS.role_name(kind) for kind in kinds]


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("WindowsTable", [("device", "HASH"), ("window", "RANGE")]),
        ("DevicesTable", [("device", "HASH")]),
    ],
)
def test_tables_have_the_keys_of_the_design(table: str, keys: list[tuple[str, str]]) -> None:
    properties = _properties(table)
    assert [(k["AttributeName"], k["KeyType"]) for k in properties["KeySchema"]] == keys
    assert {a["AttributeType"] for a in properties["AttributeDefinitions"]} == {"S"}
    assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert properties["SSESpecification"]["SSEEnabled"] is True


def test_windows_expire_by_their_own_attribute() -> None:
    ttl = _properties("WindowsTable")["TimeToLiveSpecification"]
    assert ttl == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize("resource", ["WindowsTable", "DevicesTable", "ArchiveBucket"])
def test_data_outlives_the_stack(resource: str) -> None:
    assert RESOURCES[resource]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[resource]["UpdateReplacePolicy"] == "Retain"


def test_the_archive_is_private_encrypted_and_versioned() -> None:
    bucket = _properties("ArchiveBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "AES256" in str(bucket["BucketEncryption"])
    tls = _properties("ArchiveBucketPolicy")["PolicyDocument"]["Statement"][0]
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_the_archive_ages_only_when_asked_to() -> None:
    rules = _properties("ArchiveBucket")["LifecycleConfiguration"]["Rules"]
    always, athena, *asked = rules
    assert athena["Prefix"] == "athena/"
    assert "AbortIncompleteMultipartUpload" in always
    assert "NoncurrentVersionExpiration" in always
    moves = {r["Fn::If"][0]: r["Fn::If"][1]["Transitions"][0]["StorageClass"] for r in asked}
    assert moves == {"MovesToGlacier": "GLACIER_IR", "MovesToDeepArchive": "DEEP_ARCHIVE"}
    for parameter in ("GlacierAfterDays", "DeepArchiveAfterDays"):
        assert RAW["Parameters"][parameter]["Default"] == 0


def test_a_device_connects_and_publishes_as_itself_only() -> None:
    connect, publish, subscribe, receive = _properties("DevicePolicy")["PolicyDocument"][
        "Statement"
    ]
    prefix = f"arn:aws:iot:{REGION}:{ACCOUNT}"
    assert (connect["Action"], publish["Action"]) == ("iot:Connect", "iot:Publish")
    assert connect["Resource"] == f"{prefix}:client/{THING}"
    assert connect["Condition"] == {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
    topics = [
        basic_ingest_topic(STACK, "me"),
        telemetry_topic(STACK, "me"),
        presence_topic(STACK, "me"),
        shadow_topic("me", "get"),
        shadow_topic("me", "update"),
    ]
    assert publish["Resource"] == [f"{prefix}:topic/{_of_thing(topic)}" for topic in topics]
    heard = [
        _of_thing(topic) for topic in (shadow_topic("me", "*"), acknowledgement_topic(STACK, "me"))
    ]
    assert (subscribe["Action"], receive["Action"]) == ("iot:Subscribe", "iot:Receive")
    assert subscribe["Resource"] == [f"{prefix}:topicfilter/{topic}" for topic in heard]
    assert receive["Resource"] == [f"{prefix}:topic/{topic}" for topic in heard]


def test_a_worker_may_tell_devices_what_is_durable_only_when_that_is_asked_for() -> None:
    policy = RESOURCES["AcknowledgePolicy"]
    assert policy["Condition"] == "Acknowledges"
    assert RAW["Parameters"]["Acknowledge"]["Default"] == "false"
    assert policy["Properties"]["Roles"] == ["<WorkerRole>"]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    prefix = f"arn:aws:iot:{REGION}:{ACCOUNT}"
    assert statement["Action"] == "iot:Publish"
    assert statement["Resource"] == f"{prefix}:topic/ack/{STACK}/*"
    assert not any(action.startswith("iot:") for action in _actions("WorkerRole"))


def _of_thing(topic: str) -> str:
    return "/".join(THING if part == "me" else part for part in topic.split("/"))


def test_the_device_policy_is_within_the_limit_of_aws_iot() -> None:
    document = json.dumps(_properties("DevicePolicy")["PolicyDocument"], separators=(",", ":"))
    longest = document.replace(STACK, "s" * 31).replace(REGION, "ap-southeast-2")
    assert len(longest) <= 2048


def test_no_statement_is_wider_than_it_has_to_be() -> None:
    wide = {
        (name, statement.get("Sid", ""))
        for name, statement in _statements()
        if "*" in _listed(statement["Resource"])
        or any("*" in action for action in _listed(statement["Action"]))
    }
    assert wide == set(WILD)


def test_a_statement_that_says_star_is_limited_otherwise() -> None:
    by_sid = {(name, s.get("Sid", "")): s for name, s in _statements()}
    assert by_sid["ArchiveBucketPolicy", "TlsOnly"]["Effect"] == "Deny"
    metrics = by_sid["WorkerRole", "PublishKclMetrics"]
    assert metrics["Action"] == "cloudwatch:PutMetricData"
    namespace = {"cloudwatch:namespace": SETTINGS.application}
    assert metrics["Condition"] == {"StringEquals": namespace}


def test_only_the_rule_and_its_redrive_write_into_the_stream_and_nobody_deletes_data() -> None:
    assert _actions("RuleRole") == {"kinesis:PutRecord", "sqs:SendMessage"}
    assert not any(a.startswith("kinesis:Put") for a in _actions("WorkerRole"))
    queue = {"ChangeMessageVisibility", "DeleteMessage", "GetQueueUrl", "ReceiveMessage"}
    assert _actions("RedriveRole") == {"kinesis:PutRecords"} | {f"sqs:{a}" for a in queue}
    reads = {"BatchGetItem", "GetItem", "Query", "Scan"}
    shown = {f"dynamodb:{action}" for action in reads | {"UpdateItem"}}
    assert _actions("DashboardRole") == {*shown, "iot:GetThingShadow"}
    reads |= {"DescribeTable"}
    for role, action, keys in (
        ("DashboardRole", "UpdateItem", ["#watched"]),
        ("WorkerRole", "GetItem", ["#watched", "#schemas"]),
        ("OperatorRole", ["dynamodb:GetItem", "dynamodb:UpdateItem"], ["#schemas"]),
    ):
        named = f"dynamodb:{action}" if isinstance(action, str) else action
        found = [s for name, s in _statements() if name == role and s["Action"] == named]
        only_these = {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": keys}}
        assert [one["Condition"] for one in found] == [only_these]
    files = {"s3:GetObject", "s3:ListBucket"}
    assert _actions("ReaderRole") == {f"dynamodb:{action}" for action in reads} | files
    for role in ("WorkerRole", "DashboardRole", "ReaderRole", "SimulatorRole", "OperatorRole"):
        assert not {"s3:DeleteObject", "dynamodb:DeleteTable"} & _actions(role)


def test_a_claim_and_what_registers_it_reach_no_telemetry_and_no_data() -> None:
    documents = _properties("ClaimPolicy")["PolicyDocument"]["Statement"]
    text = str([statement["Resource"] for statement in documents])
    assert "telemetry" not in text
    assert "certificates/create/" not in text
    assert _actions("ProvisioningHookRole") == {
        "dynamodb:GetItem", "dynamodb:UpdateItem", "logs:CreateLogStream", "logs:PutLogEvents",
    }  # fmt: skip
    assert all(action.startswith("iot:") for action in _actions("ProvisioningRole"))
    assert not {"iot:CreatePolicy", "iot:DeleteThing"} & _actions("ProvisioningRole")


def test_the_workers_lease_rights_end_at_its_own_tables_and_make_none() -> None:
    tables = ["<LeaseTable.Arn>", "<CoordinatorStateTable.Arn>", "<WorkerMetricStatsTable.Arn>"]
    found = {
        resource
        for name, s in _statements()
        if name == "WorkerRole" and "Lease" in s.get("Sid", "")
        for resource in _listed(s["Resource"])
    }
    assert found == {*tables, f"<LeaseTable.Arn>/index/{INDEX}"}
    assert not {"dynamodb:CreateTable", "dynamodb:UpdateTable"} & _actions("WorkerRole")


@pytest.mark.parametrize(
    ("resource", "suffix", "key"),
    [
        ("LeaseTable", "", "leaseKey"),
        ("CoordinatorStateTable", "-CoordinatorState", "key"),
        ("WorkerMetricStatsTable", "-WorkerMetricStats", "wid"),
    ],
)
def test_the_kcl_finds_its_tables_ready(resource: str, suffix: str, key: str) -> None:
    """Names and keys of DynamoDBLeaseSerializer, CoordinatorStateDAO and WorkerMetricStats."""
    properties = _properties(resource)
    assert properties["TableName"] == SETTINGS.application + suffix
    assert properties["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_the_lease_table_has_the_index_that_the_kcl_would_wait_for() -> None:
    (index,) = _properties("LeaseTable")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == INDEX
    assert [(k["AttributeName"], k["KeyType"]) for k in index["KeySchema"]] == [
        ("leaseOwner", "HASH"),
        ("leaseKey", "RANGE"),
    ]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_the_kcl_may_describe_its_consumer_by_name() -> None:
    by_sid = {s.get("Sid"): s for name, s in _statements() if name == "WorkerRole"}
    assert by_sid["FindItsConsumer"]["Resource"] == "<Stream.Arn>/consumer/*"
    own = f"<Stream.Arn>/consumer/{SETTINGS.application}:*"
    assert by_sid["ReadItByFanOut"]["Resource"] == own


def test_the_hook_cannot_take_the_accounts_concurrency_and_its_lines_end() -> None:
    hook, logs = _properties("ProvisioningHook"), _properties("ProvisioningHookLogs")
    assert hook["ReservedConcurrentExecutions"]["Fn::If"][:2] == [
        "ReservesConcurrency",
        "<HookConcurrency>",
    ]
    assert hook["LoggingConfig"] == {"LogGroup": "<ProvisioningHookLogs>"}
    assert logs["LogGroupName"] == f"/aws/lambda/{hook['FunctionName']}"
    assert logs["RetentionInDays"] == "<LogRetentionDays>"


def test_the_simulator_makes_and_removes_simulated_things_of_this_stack_only() -> None:
    things = f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/{simulated(STACK, '*')}"
    mine = {s["Sid"]: s for name, s in _statements() if name == "SimulatorRole"}
    assert mine["Things"]["Resource"] == things
    assert mine["CertificatesOfItsThings"]["Condition"] == {
        "ArnLikeIfExists": {"iot:thingArn": things}
    }
    assert all(
        name.startswith(things.rpartition("/")[2].removesuffix("*"))
        for name, _ in fleet_names(STACK, 3)
    )


def test_a_device_that_says_neither_group_nor_type_is_provisioned_with_their_defaults() -> None:
    body = json.loads(_properties("ProvisioningTemplate")["TemplateBody"])
    assert body["Parameters"]["Group"] == {"Type": "String", "Default": DEFAULT_GROUP}
    assert body["Parameters"]["Type"] == {"Type": "String", "Default": DEFAULT_TYPE}


def test_a_key_of_the_customers_encrypts_everything_that_holds_data() -> None:
    key = "<KmsKeyArn>"
    for name, body in RESOURCES.items():
        text, kind = str(body["Properties"]), body["Type"]
        if kind in ("AWS::DynamoDB::Table", "AWS::Kinesis::Stream", "AWS::S3::Bucket",
                    "AWS::SQS::Queue", "AWS::Logs::LogGroup"):  # fmt: skip
            assert f"['HasKey', '{key}'" in text, name
    assert RAW["Parameters"]["KmsKeyArn"]["Default"] == ""


def test_the_key_is_used_through_the_services_that_hold_what_it_encrypts_only() -> None:
    found = [s for _, s in _statements() if "kms:" in str(s["Action"])]
    assert found
    for statement in found:
        assert statement["Resource"] == "<KmsKeyArn>"
        services = statement["Condition"]["StringEquals"]["kms:ViaService"]
        assert all(service.endswith(f".{REGION}.amazonaws.com") for service in services)


def test_the_command_line_offers_what_the_template_takes() -> None:
    parameters = RAW["Parameters"]
    assert list(COMPUTE.values()) == parameters["WorkerService"]["AllowedValues"]
    assert list(LOG_DAYS) == [str(days) for days in parameters["LogRetentionDays"]["AllowedValues"]]
