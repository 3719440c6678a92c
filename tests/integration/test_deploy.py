"""The template in the embedded AWS: deployed, deployed again, taken away; and what roles may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumers.kcl.first_leases import INDEX
from devices.provisioning.registry import Clients, create_device
from infra.aws.removal.erase import delete_data
from infra.aws.stacks.cloudformation import deploy, destroy, ensure_ttl, plan
from infra.aws.stacks.following import DeployError, Event, stack_status
from infra.emulator.process import Emulator
from infra.simulation.provision_fleet import fleet_names
from infra.target import Target
from ingest.record import encode_record
from ingest.tables import watched
from tests.integration.conftest import STACK, target_of

pytestmark = STACK

UNPROTECTED = {"DeletionProtection": "false"}


def _deploy(
    target: Target, account: str | None = None, **parameters: str
) -> tuple[dict[str, str], list[Event]]:
    events: list[Event] = []
    outputs = deploy(
        target.client("cloudformation"),
        target.settings.stack,
        parameters,
        on_event=events.append,
        account=account,
        interval=0.02,
    )
    return outputs, events


def _remove(target: Target) -> list[str]:
    settings = target.settings
    destroy(target.client("cloudformation"), settings.stack, on_event=lambda _: None, interval=0.02)
    return list(
        delete_data(
            target.client("dynamodb"),
            target.client("s3"),
            target.client("logs"),
            tables=[settings.windows_table, settings.devices_table],
            prefix=settings.application,
            bucket=settings.bucket(target.account),
            log_groups=[settings.hook_log_group],
        )
    )


def _remains(target: Target) -> list[str]:
    """The names of everything in the account that a stack is made of."""
    iot = target.client("iot")
    return [
        *target.client("dynamodb").list_tables()["TableNames"],
        *target.client("kinesis").list_streams()["StreamNames"],
        *(b["Name"] for b in target.client("s3").list_buckets()["Buckets"]),
        *(r["RoleName"] for r in target.client("iam").list_roles()["Roles"]),
        *target.client("sqs").list_queues().get("QueueUrls", []),
        *(r["ruleName"] for r in iot.list_topic_rules()["rules"]),
        *(p["policyName"] for p in iot.list_policies()["policies"]),
        *(t["thingTypeName"] for t in iot.list_thing_types()["thingTypes"]),
    ]


@pytest.fixture
def plant(emulator: Emulator) -> Iterator[Target]:
    """A stack of its own, not deployed yet, whose name needs translation for the rule."""
    target = target_of(emulator, "plant-7")
    yield target
    _remove(target)


def test_a_deployment_tells_each_step_and_names_everything_as_the_settings_do(
    plant: Target,
) -> None:
    outputs, events = _deploy(plant, WithSimulator="true", **UNPROTECTED)
    settings = plant.settings
    assert (events[0], events[-1]) == (
        Event("plant-7", "CREATE_IN_PROGRESS", ""),
        Event("plant-7", "CREATE_COMPLETE", ""),
    )
    assert len(events) == len(set(events))
    assert outputs["StreamName"] == settings.stream
    assert outputs["WindowsTable"] == settings.windows_table
    assert outputs["DevicesTable"] == settings.devices_table
    assert outputs["ArchiveBucket"] == settings.bucket(plant.account)
    assert outputs["RuleName"] == settings.rule == "plant_7_telemetry"
    assert outputs["DevicePolicy"] == settings.device_policy
    assert outputs["ThingType"] == settings.thing_type


def test_a_deployment_that_changes_nothing_is_a_success_without_steps(plant: Target) -> None:
    first, _ = _deploy(plant, **UNPROTECTED)
    assert _deploy(plant, **UNPROTECTED) == (first, [])
    assert _deploy(plant) == (first, [])


def test_parameters_that_are_not_named_keep_their_value(plant: Target) -> None:
    _deploy(plant, WithSimulator="true", RetentionHours="48", **UNPROTECTED)
    outputs, events = _deploy(plant, RetentionHours="72")
    assert "SimulatorRoleArn" in outputs
    assert events
    stream = plant.client("kinesis").describe_stream_summary(StreamName=plant.settings.stream)
    assert stream["StreamDescriptionSummary"]["RetentionPeriodHours"] == 72


def test_the_windows_table_is_provisioned_or_warm_when_asked(plant: Target) -> None:
    described = plant.client("dynamodb").describe_table
    _deploy(plant, **UNPROTECTED, WriteCapacity="40", ReadCapacity="30", WarmWriteUnits="8000")
    table = described(TableName=plant.settings.windows_table)["Table"]
    provisioned = table["ProvisionedThroughput"]
    units = [int(provisioned[f"{kind}CapacityUnits"]) for kind in ("Write", "Read")]
    assert units == [40, 30]
    assert table.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST"


def test_a_failed_deployment_names_the_resource_and_what_to_do_next(plant: Target) -> None:
    bucket = plant.settings.bucket(plant.account)
    plant.client("s3").create_bucket(Bucket=bucket)
    with pytest.raises(DeployError, match=f"ROLLBACK_COMPLETE: ArchiveBucket: .*{bucket}"):
        _deploy(plant, **UNPROTECTED)
    told: list[Event] = []
    cfn = plant.client("cloudformation")
    with pytest.raises(DeployError, match=f"ROLLBACK_COMPLETE: ArchiveBucket: .*{bucket}"):
        deploy(cfn, "plant-7", {}, on_event=told.append, interval=0.02)
    assert "its creation failed: what is left is deleted first" in told[0].reason
    assert [name for name in _remains(plant) if "plant-7" in name] == [bucket]


def test_what_an_earlier_stack_left_is_taken_over_with_all_that_is_in_it(plant: Target) -> None:
    _deploy(plant, account=plant.account)
    bucket, table = plant.settings.bucket(plant.account), plant.settings.devices_table
    key = {"device": {"S": "kept"}}
    plant.client("s3").put_object(Bucket=bucket, Key="telemetry/kept", Body=b"1")
    plant.client("dynamodb").put_item(TableName=table, Item=key)
    cfn = plant.client("cloudformation")
    destroy(cfn, "plant-7", on_event=lambda _: None, interval=0.02)

    planned = plan(cfn, "plant-7", {}, account=plant.account, interval=0.02)
    imported = {one.resource for one in planned if one.action == "Import"}
    assert imported == {"ArchiveBucket", "DevicesTable", "ProvisioningHookLogs", "WindowsTable"}
    assert stack_status(cfn, "plant-7") in (None, "DELETE_COMPLETE")

    _deploy(plant, account=plant.account)
    assert plant.client("s3").head_object(Bucket=bucket, Key="telemetry/kept")
    assert plant.client("dynamodb").get_item(TableName=table, Key=key)["Item"] == key
    assert _deploy(plant, account=plant.account)[1] == []


def test_tables_and_stack_are_protected_once_the_creation_is_over(plant: Target) -> None:
    _, events = _deploy(plant)
    done = [event.status for event in events if event.resource == "plant-7"]
    creation = ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
    assert done == [*creation, "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"]
    for table in (plant.settings.windows_table, plant.settings.devices_table):
        described = plant.client("dynamodb").describe_table(TableName=table)["Table"]
        assert described["DeletionProtectionEnabled"] is True
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        plant.client("cloudformation").delete_stack(StackName="plant-7")
    assert _deploy(plant)[1] == []


def test_a_change_set_that_was_never_executed_is_not_in_the_way(plant: Target) -> None:
    cfn = plant.client("cloudformation")
    cfn.create_change_set(
        StackName="plant-7",
        ChangeSetName="interrupted",
        ChangeSetType="CREATE",
        TemplateBody='{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}',
    )
    outputs, _ = _deploy(plant, **UNPROTECTED)
    assert outputs["StreamName"] == "plant-7-telemetry"


def test_destroying_keeps_the_data_until_asked(plant: Target) -> None:
    _deploy(plant, DeletionProtection="true", WithSimulator="true")
    bucket = plant.settings.bucket(plant.account)
    for body in (b"1", b"2"):
        plant.client("s3").put_object(Bucket=bucket, Key="telemetry/a", Body=body)
    plant.client("s3").delete_object(Bucket=bucket, Key="telemetry/a")
    cfn = plant.client("cloudformation")
    assert destroy(cfn, "plant-7", on_event=lambda _: None, interval=0.02)
    left = [name for name in _remains(plant) if name.startswith("plant")]
    assert len(left) == 3, left
    assert len(_remove(plant)) == 4
    assert [n for n in _remains(plant) if "plant-7" in n or "plant_7" in n] == []
    assert not destroy(cfn, "plant-7", on_event=lambda _: None)


def test_the_tables_of_a_stack_with_a_longer_name_are_left_alone(plant: Target) -> None:
    _create_table(plant, "plant-7-worker-windows")
    _deploy(plant, **UNPROTECTED)
    _remove(plant)
    assert "plant-7-worker-windows" in plant.client("dynamodb").list_tables()["TableNames"]
    plant.client("dynamodb").delete_table(TableName="plant-7-worker-windows")


def test_the_index_of_the_lease_table_is_described_as_active(pipeline: Target) -> None:
    table = pipeline.client("dynamodb").describe_table(TableName=pipeline.settings.application)
    (index,) = table["Table"]["GlobalSecondaryIndexes"]
    assert (index["IndexName"], index["IndexStatus"]) == (INDEX, "ACTIVE")
    assert index["IndexArn"].endswith(f"table/{pipeline.settings.application}/index/{INDEX}")


def test_time_to_live_is_enabled_once(plant: Target) -> None:
    _deploy(plant, **UNPROTECTED)
    dynamodb, table = plant.client("dynamodb"), plant.settings.windows_table
    ensure_ttl(dynamodb, table)
    assert not ensure_ttl(dynamodb, table)
    described = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert described["AttributeName"] == "expires_at"


def _create_table(target: Target, name: str, role: str | None = None) -> None:
    target.client("dynamodb", role).create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )


def _denied(call: Callable[..., Any], **arguments: Any) -> bool:
    """Whether a call is refused for want of a right, and not for another reason."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    code = refused.value.response["Error"]["Code"]
    assert code in ("AccessDenied", "AccessDeniedException"), refused.value
    return True


def test_the_worker_reads_its_stream_by_polling_and_by_fan_out(pipeline: Target) -> None:
    kinesis, stream = pipeline.client("kinesis", "worker"), pipeline.settings.stream
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"][
        "StreamARN"
    ]
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    assert "Records" in kinesis.get_records(ShardIterator=iterator)
    consumer = kinesis.register_stream_consumer(
        StreamARN=arn, ConsumerName=pipeline.settings.application
    )["Consumer"]["ConsumerARN"]
    name = pipeline.settings.application
    assert kinesis.describe_stream_consumer(ConsumerARN=consumer)
    assert kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName=name)
    other = pipeline.client("kinesis").register_stream_consumer(
        StreamARN=arn, ConsumerName="other"
    )["Consumer"]["ConsumerARN"]
    newest = {"Type": "LATEST"}
    assert _denied(
        kinesis.subscribe_to_shard, ConsumerARN=other, ShardId=shard, StartingPosition=newest
    )
    pipeline.client("kinesis").deregister_stream_consumer(ConsumerARN=other)
    assert _denied(kinesis.deregister_stream_consumer, ConsumerARN=consumer)
    assert _denied(kinesis.put_record, StreamName=stream, Data=b"x", PartitionKey="p")
    assert _denied(kinesis.delete_stream, StreamName=stream)


def test_the_worker_reads_no_other_stream(pipeline: Target) -> None:
    root, kinesis = pipeline.client("kinesis"), pipeline.client("kinesis", "worker")
    root.create_stream(StreamName="other", ShardCount=1)
    root.get_waiter("stream_exists").wait(StreamName="other", WaiterConfig={"Delay": 1})
    iterator = root.get_shard_iterator(
        StreamName="other", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    assert _denied(kinesis.get_records, ShardIterator=iterator)
    assert _denied(kinesis.describe_stream_summary, StreamName="other")
    root.delete_stream(StreamName="other")


def test_the_worker_writes_hot_items_and_cannot_delete_them(pipeline: Target) -> None:
    dynamodb, table = pipeline.client("dynamodb", "worker"), pipeline.settings.windows_table
    key = {"device": {"S": "role"}, "window": {"S": "1m#x"}}
    insert = f"INSERT INTO \"{table}\" VALUE {{'device':'role','window':'1m#x','ver':1}}"
    delete = f"DELETE FROM \"{table}\" WHERE device='role' AND \"window\"='1m#x'"
    elsewhere = insert.replace(table, "somebody-elses-table")
    answer = dynamodb.batch_execute_statement(Statements=[{"Statement": insert}])
    assert "Error" not in answer["Responses"][0]
    found = dynamodb.batch_get_item(RequestItems={table: {"Keys": [key]}})
    assert len(found["Responses"][table]) == 1
    for statement in (delete, elsewhere):
        statements = [{"Statement": statement}]
        assert _denied(dynamodb.batch_execute_statement, Statements=statements)
    assert _denied(dynamodb.delete_item, TableName=table, Key=key)
    assert _denied(dynamodb.delete_table, TableName=table)


def test_the_worker_says_how_it_is_and_reads_nobody_s_words(pipeline: Target) -> None:
    dynamodb, table = pipeline.client("dynamodb", "worker"), pipeline.settings.status_table
    key = {"worker": {"S": "role"}}
    dynamodb.put_item(TableName=table, Item=key)
    assert _denied(dynamodb.get_item, TableName=table, Key=key)
    assert _denied(dynamodb.scan, TableName=table)
    assert _denied(dynamodb.delete_item, TableName=table, Key=key)
    dashboard = pipeline.client("dynamodb", "dashboard")
    assert dashboard.scan(TableName=table)["Items"] == [key]
    assert _denied(dashboard.put_item, TableName=table, Item=key)
    mark = watched.watch(table, "page", ["pump-1"], 1000)
    assert _denied(dashboard.update_item, **{**mark, "Key": key})
    dashboard.update_item(**mark)
    item = dynamodb.get_item(TableName=table, Key=watched.key())["Item"]
    assert watched.read_watched(item, 1001) == {"pump-1"}


def test_the_worker_keeps_its_leases_and_no_other_tables(pipeline: Target) -> None:
    application = pipeline.settings.application
    dynamodb = pipeline.client("dynamodb", "worker")
    for suffix, key in (
        ("", "leaseKey"),
        ("-CoordinatorState", "key"),
        ("-WorkerMetricStats", "wid"),
    ):
        item = {key: {"S": "role"}}
        dynamodb.update_item(TableName=application + suffix, Key=item)
        assert item in dynamodb.scan(TableName=application + suffix)["Items"]
        dynamodb.delete_item(TableName=application + suffix, Key=item)
    dynamodb.query(
        TableName=application,
        IndexName=INDEX,
        KeyConditionExpression="leaseOwner = :o",
        ExpressionAttributeValues={":o": {"S": "role"}},
    )
    assert _denied(dynamodb.scan, TableName=f"{application}-windows")
    with pytest.raises(ClientError, match="AccessDenied"):
        _create_table(pipeline, "other", "worker")


def test_the_worker_adds_to_the_archive_and_cannot_take_from_it(pipeline: Target) -> None:
    s3, bucket = pipeline.client("s3", "worker"), pipeline.settings.bucket(pipeline.account)
    s3.put_object(Bucket=bucket, Key="telemetry/v1/a", Body=b"1", IfNoneMatch="*")
    assert s3.head_object(Bucket=bucket, Key="telemetry/v1/a")["ContentLength"] == 1
    assert s3.list_objects_v2(Bucket=bucket, Prefix="telemetry/v1/")["KeyCount"]
    assert _denied(s3.put_object, Bucket=bucket, Key="elsewhere", Body=b"1")
    assert _denied(s3.list_objects_v2, Bucket=bucket)
    assert _denied(s3.delete_object, Bucket=bucket, Key="telemetry/v1/a")
    assert _denied(s3.delete_bucket, Bucket=bucket)


def test_the_dashboard_reads_and_cannot_write(pipeline: Target) -> None:
    dynamodb, table = pipeline.client("dynamodb", "dashboard"), pipeline.settings.devices_table
    key = {"device": {"S": "a"}}
    assert "Items" in dynamodb.query(
        TableName=pipeline.settings.windows_table,
        KeyConditionExpression="device = :d",
        ExpressionAttributeValues={":d": {"S": "a"}},
    )
    assert "Items" in dynamodb.scan(TableName=table)
    update = f"UPDATE \"{table}\" SET ver=1 WHERE device='a'"
    assert _denied(dynamodb.execute_statement, Statement=update)
    assert _denied(dynamodb.put_item, TableName=table, Item=key)
    assert _denied(dynamodb.update_item, TableName=table, Key=key)
    assert _denied(dynamodb.delete_item, TableName=table, Key=key)
    assert _denied(pipeline.client("s3", "dashboard").list_buckets)
    assert _denied(pipeline.client("kinesis", "dashboard").list_streams)


def test_the_simulator_makes_and_unmakes_devices_and_nothing_else_of_iot(pipeline: Target) -> None:
    iot, dynamodb = pipeline.client("iot", "simulator"), pipeline.client("dynamodb", "simulator")
    ((name, kind),) = fleet_names(pipeline.settings.stack, 1)
    create_device(Clients(iot, dynamodb), pipeline.settings, name, kind=kind)
    principal = iot.list_thing_principals(thingName=name)["principals"][0]
    certificate = principal.rpartition("/")[2]
    root = pipeline.client("iot")
    root.create_thing(thingName="press-1")
    assert _denied(iot.create_thing, thingName="press-2")
    assert _denied(iot.delete_thing, thingName="press-1")
    assert _denied(iot.attach_thing_principal, thingName="press-1", principal=principal)
    root.delete_thing(thingName="press-1")
    iot.detach_thing_principal(thingName=name, principal=principal)
    iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=certificate, forceDelete=True)
    iot.delete_thing(thingName=name)
    group = f"arn:aws:iot:us-east-1:{pipeline.account}:thinggroup/all"
    policy = pipeline.settings.device_policy
    assert _denied(iot.attach_policy, policyName=policy, target=group)
    assert _denied(iot.create_policy, policyName="mine", policyDocument="{}")
    assert _denied(iot.delete_topic_rule, ruleName=pipeline.settings.rule)


def test_the_simulator_loads_the_stream_and_reads_what_became_of_it(pipeline: Target) -> None:
    settings, bucket = pipeline.settings, pipeline.settings.bucket(pipeline.account)
    row = {"Data": encode_record(b"x", "simulated", 1), "PartitionKey": "simulated"}
    kinesis = pipeline.client("kinesis", "simulator")
    assert kinesis.put_records(StreamName=settings.stream, Records=[row])["FailedRecordCount"] == 0
    dynamodb, s3 = (pipeline.client(name, "simulator") for name in ("dynamodb", "s3"))
    assert "Items" in dynamodb.scan(TableName=settings.windows_table)
    assert "KeyCount" in s3.list_objects_v2(Bucket=bucket, Prefix="telemetry/")
    assert _denied(s3.put_object, Bucket=bucket, Key="telemetry/fake", Body=b"")
    assert _denied(dynamodb.put_item, TableName=settings.windows_table, Item={"device": {"S": ""}})
