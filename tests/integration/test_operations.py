"""Every alarm fires and clears: the workers' own from the lines that a worker writes, those on
metrics of AWS from values that the test puts."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumers.shard.report import ShardReport
from consumers.worker.emf import NAMESPACE, Sample, count_line, emf_line
from consumers.worker.status import WorkerStatus
from infra.emulator.cloudwatch.alarms import evaluate_alarms
from infra.emulator.process import Emulator
from infra.target import Target
from ingest.histogram import Histogram
from tests.integration.conftest import STACK, eventually, target_of

pytestmark = STACK
TEMPLATE = Path(__file__).parents[2] / "infra" / "templates" / "operations.yaml"
PIPELINE = "plant-7"
RULE = "plant_7_telemetry"


class Operations(NamedTuple):
    """A deployed operations stack, and the queues that hear its topic and its event bus."""

    target: Target
    alarms: dict[str, dict[str, Any]]
    topic_queue: str
    bus_queue: str


@pytest.fixture(scope="module")
def operations(emulator: Emulator) -> Iterator[Operations]:
    target = target_of(emulator, PIPELINE)
    cfn = target.client("cloudformation")
    name = f"{PIPELINE}-operations"
    cfn.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": "Pipeline", "ParameterValue": PIPELINE},
            {"ParameterKey": "RuleName", "ParameterValue": RULE},
            {"ParameterKey": "Lake", "ParameterValue": "true"},
        ],
    )
    cfn.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    outputs = {
        o["OutputKey"]: o["OutputValue"]
        for o in cfn.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    }
    found = target.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{PIPELINE}-")
    alarms = {a["AlarmName"].removeprefix(f"{PIPELINE}-"): a for a in found["MetricAlarms"]}
    made = Operations(
        target,
        alarms,
        _queue_on_topic(target, outputs["TopicArn"]),
        _queue_on_bus(target, outputs["EventBusName"]),
    )
    yield made
    _remove(made, outputs["EventBusName"])
    cfn.delete_stack(StackName=name)
    cfn.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def _queue(target: Target, name: str) -> tuple[str, str]:
    sqs = target.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    return url, attributes["QueueArn"]


def _queue_on_topic(target: Target, topic: str) -> str:
    url, arn = _queue(target, "alarms-by-topic")
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    target.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    target.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return url


def _queue_on_bus(target: Target, bus: str) -> str:
    url, arn = _queue(target, "alarms-by-bus")
    events = target.client("events")
    pattern = json.dumps({"source": ["aws.cloudwatch"]})
    events.put_rule(Name="alarms", EventBusName=bus, EventPattern=pattern)
    events.put_targets(Rule="alarms", EventBusName=bus, Targets=[{"Id": "q", "Arn": arn}])
    return url


def _remove(made: Operations, bus: str) -> None:
    """Take away what the tests themselves made."""
    events, sqs, logs = (made.target.client(name) for name in ("events", "sqs", "logs"))
    events.remove_targets(Rule="alarms", EventBusName=bus, Ids=["q"])
    events.delete_rule(Name="alarms", EventBusName=bus)
    for queue in (made.topic_queue, made.bus_queue):
        sqs.delete_queue(QueueUrl=queue)
    for log in (f"{PIPELINE}/worker", f"{PIPELINE}/lake", "other/worker"):
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
            logs.delete_log_group(logGroupName=f"/penstock/{log}")


def worker(*reports: ShardReport, restarts: int = 0) -> WorkerStatus:
    status = WorkerStatus(lambda: 0.0)
    for report in reports:
        status.report(report)
    for _ in range(restarts):
        status.restarted("killed")
    return status


Lines = Callable[[int], tuple[WorkerStatus, WorkerStatus]]
"""A worker before and at a time (ms)."""


OWN: dict[str, tuple[Lines, Lines]] = {
    "own-lag": (
        lambda _: (worker(), worker(ShardReport("s-0", 1, behind_ms=90_000))),
        lambda _: (worker(), worker(ShardReport("s-0", 1, behind_ms=400))),
    ),
    "checkpoint-age": (
        lambda at: (worker(), worker(ShardReport("s-0", 1, uncommitted_since=at - 3_600_000))),
        lambda at: (worker(), worker(ShardReport("s-0", 1, uncommitted_since=at - 40_000))),
    ),
    "hot-throttles": (
        lambda _: (worker(), worker(ShardReport("s-0", 1, throttled=5_000))),
        lambda _: (worker(), worker(ShardReport("s-0", 1, throttled=3))),
    ),
    "worker-restarts": (
        lambda _: (worker(), worker(restarts=4)),
        lambda _: (worker(), worker(restarts=1)),
    ),
    "rejects": (
        lambda _: (worker(), worker(ShardReport("s-0", 1, dispositions={"ok": 90, "late": 10}))),
        lambda _: (worker(), worker(ShardReport("s-0", 1, dispositions={"ok": 1_000, "late": 1}))),
    ),
}
"""What workers report while something is wrong, and afterwards."""

AWS: dict[str, tuple[float, float]] = {
    "iterator-age": (120_000, 500),
    "error-queue-age": (1_800, 30),
    "error-queue-length": (5_000, 2),
    "rule-failures": (3, 0),
    "messages-lost": (1, 0),
    "stream-throttles": (40, 0),
    "hook-errors": (1, 0),
    "certificates-ending": (2, 0),
    "duplicate-clients": (20, 1),
    "write-cost": (9_000_000, 100_000),
}
"""The metric's value while something is wrong, and afterwards."""


LAKE = ("lake-sync", "lake-compaction")
"""No run of the task says that it reached its end while something is wrong, and one afterwards."""


def test_every_alarm_of_the_template_is_fired_here(operations: Operations) -> None:
    assert set(operations.alarms) == OWN.keys() | AWS.keys() | set(LAKE)


@pytest.mark.parametrize("name", [*OWN, *AWS, *LAKE])
def test_an_alarm_fires_and_clears_and_tells_topic_and_bus(
    name: str, operations: Operations
) -> None:
    alarm = operations.alarms[name]
    count, period = alarm["EvaluationPeriods"], alarm["Period"]
    length = count * period
    end = time.time() // period * period  # every period before is over
    for until, broken in ((end - 2 * length, False), (end - length, True), (end, False)):
        times = [until - (i + 1) * period for i in range(count)]
        _put(operations, name, times, broken=broken)
        _look(operations, until)
        assert _state(operations, name) == ("ALARM" if broken else "OK")
    for queue in (operations.topic_queue, operations.bus_queue):
        assert _heard(operations.target, queue, f"{PIPELINE}-{name}") == ["ALARM", "OK"]


def test_the_lag_of_another_stack_does_not_fire_the_alarm(operations: Operations) -> None:
    alarm = operations.alarms["own-lag"]
    assert alarm["Dimensions"] == [{"Name": "Stack", "Value": PIPELINE}]
    end = time.time() // 60 * 60
    times = [end - (i + 1) * 60 for i in range(5)]
    _put(operations, "own-lag", times, broken=False)
    before, now = OWN["own-lag"][0](0)
    _write_lines(operations.target, [(at, before, now) for at in times], stack="other")
    assert _state(operations, "own-lag") == "OK"


def _put(operations: Operations, name: str, times: list[float], *, broken: bool) -> None:
    alarm = operations.alarms[name]
    if name in OWN:
        make = OWN[name][0 if broken else 1]
        samples = [(at, *make(round(at * 1000))) for at in times]
        _write_lines(operations.target, samples, stack=PIPELINE)
        assert alarm["Namespace"] == NAMESPACE
        return
    if name in LAKE:
        metric, log = alarm["MetricName"], f"/penstock/{PIPELINE}/lake"
        lines = [(at, count_line(metric, stack=PIPELINE, at_ms=at)) for at in _in_ms(times)]
        _write_log(operations.target, log, [] if broken else lines)
        return
    operations.target.client("cloudwatch").put_metric_data(
        Namespace=alarm["Namespace"],
        MetricData=[
            {
                "MetricName": alarm["MetricName"],
                "Dimensions": alarm["Dimensions"],
                "Timestamp": at + 1,
                "Value": AWS[name][0 if broken else 1],
            }
            for at in times
        ],
    )


def _write_lines(
    target: Target, samples: list[tuple[float, WorkerStatus, WorkerStatus]], *, stack: str
) -> None:
    """What a task of the service writes, to its log."""
    lines = []
    for at, before, now in sorted(samples, key=lambda one: one[0]):
        (at_ms,) = _in_ms([at])
        first = Sample(at_ms - 15_000, before.snapshot(), Histogram())
        second = Sample(at_ms, now.snapshot(), now.flushes())
        lines.append((at_ms, emf_line(first, second, stack=stack, worker="w-1")))
    _write_log(target, f"/penstock/{stack}/worker", lines)


def _in_ms(times: list[float]) -> list[int]:
    return [round(at * 1000) + 1_000 for at in sorted(times)]


def _write_log(target: Target, group: str, lines: list[tuple[int, bytes]]) -> None:
    logs, stream = target.client("logs"), f"task-{time.monotonic_ns()}"
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": at_ms, "message": line.decode()} for at_ms, line in lines]
    if events:
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def _look(operations: Operations, at: float) -> None:
    settings = operations.target.settings
    evaluate_alarms(str(settings.endpoint_url), operations.target.account, settings.region, at)


def _state(operations: Operations, name: str) -> str:
    answer = operations.target.client("cloudwatch").describe_alarms(
        AlarmNames=[f"{PIPELINE}-{name}"]
    )
    return str(answer["MetricAlarms"][0]["StateValue"])


def _heard(target: Target, queue: str, alarm: str) -> list[str]:
    """The states of an alarm that a queue was told of, without those before it first fired."""
    states: list[str] = []

    def told() -> bool:
        sqs = target.client("sqs")
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            body = json.loads(message["Body"])
            body = json.loads(body["Message"]) if "Message" in body else body["detail"]
            name = body.get("AlarmName") or body["alarmName"]
            state = body.get("NewStateValue") or body["state"]["value"]
            if name == alarm and (states or state == "ALARM"):
                states.append(state)
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return states[-2:] == ["ALARM", "OK"]

    eventually(told)
    return states[-2:]
