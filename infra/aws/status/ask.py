"""Asks AWS how a deployment is: one function for each section, which fails alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.archive.segment_key import PREFIX
from infra.aws.removal.backlog import rule_errors
from infra.aws.stacks.templates import PARTS
from infra.aws.status.judge import alarms_of, newest, workers_of, write_cost, yesterday
from infra.cost.price_files import price_list
from infra.target import Target
from ingest.settings import Settings
from ingest.tables.status import reports

Section = dict[str, Any]
"""What was found, or ``{"problem": <one sentence>}``."""

_DENIED: Final = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "403")
_KCL_TABLES: Final = ("", "-CoordinatorState", "-WorkerMetricStats")
_MINUTES: Final = timedelta(minutes=15)


def ask(target: Target) -> dict[str, Section]:
    """Every section, by name."""
    return {name: _guarded(read, target) for name, read in _SECTIONS.items()}


def _guarded(read: Callable[[Target], Section], target: Target) -> Section:
    try:
        return read(target)
    except ClientError as error:
        return {"problem": _sentence(error, target.settings)}
    except BotoCoreError as error:
        return {"problem": f"AWS cannot be reached: {error}"}


def _sentence(error: ClientError, settings: Settings) -> str:
    code, call = error.response["Error"]["Code"], error.operation_name
    if code in _DENIED:
        return f"you may not call {call}: ask for the right, or use another --profile"
    if "NotFound" in code or "NonExistent" in code or "does not exist" in str(error):
        return f"not there in {settings.region}: `penstock deploy` makes it"
    return f"{call}: {error.response['Error'].get('Message') or code}"


def _stacks(target: Target) -> Section:
    """The stack and its parts. A part that is not deployed is not in the list."""
    cfn, stack = target.client("cloudformation"), target.settings.stack
    found = [_stack(cfn, stack)]
    for part in PARTS:
        try:
            found.append(_stack(cfn, part.stack(stack)))
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
    return {"stacks": found}


def _stack(cfn: Any, name: str) -> dict[str, Any]:
    one = cfn.describe_stacks(StackName=name)["Stacks"][0]
    changed = one.get("LastUpdatedTime") or one["CreationTime"]
    return {
        "stack": name,
        "status": one["StackStatus"],
        "changed": changed.astimezone(UTC).isoformat(),
    }


def _workers(target: Target) -> Section:
    scan = target.client("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=target.settings.status_table)
    items = [item for page in pages for item in page["Items"]]
    return workers_of(reports(items), time.time_ns() // 1_000_000)


def _alarms(target: Target) -> Section:
    cfn = target.client("cloudformation")
    names: list[str] = []
    for part in PARTS:
        names += _alarm_names(cfn, part.stack(target.settings.stack))
    if not names:
        return {"problem": "there are none: `penstock deploy --operations` makes them"}
    described: list[Any] = []
    for start in range(0, len(names), 100):  # of one call at most
        page = target.client("cloudwatch").describe_alarms(AlarmNames=names[start : start + 100])
        described += page["MetricAlarms"]
    return alarms_of(described)


def _alarm_names(cfn: Any, stack: str) -> Iterator[str]:
    try:
        pages = list(cfn.get_paginator("list_stack_resources").paginate(StackName=stack))
    except ClientError as error:
        if "does not exist" in str(error):
            return
        raise
    for page in pages:
        for one in page["StackResourceSummaries"]:
            if one["ResourceType"] == "AWS::CloudWatch::Alarm":
                yield one["PhysicalResourceId"]


def _errors(target: Target) -> Section:
    """Length and age of the queue of rule errors. SQS tells the age to CloudWatch alone."""
    sqs, queue = target.client("sqs"), target.settings.error_queue
    sqs.get_queue_url(QueueName=queue)  # raises when there is none
    now = datetime.now(UTC)
    ages = target.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue}],
        StartTime=now - _MINUTES,
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    last = max(ages, key=lambda one: one["Timestamp"], default=None)
    messages = rule_errors(sqs, target.settings)
    return {"messages": messages, "oldest_s": last["Maximum"] if last and messages else None}


def _archive(target: Target) -> Section:
    """The newest object, found by the last day and the last hour that have any."""
    s3, bucket = target.client("s3"), target.settings.bucket(target.account)
    hour = f"{PREFIX}/"
    for _ in ("dt=", "hour="):
        if (last := _last_folder(s3, bucket, hour)) is None:
            return {"last": None}
        hour = last
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=hour)
    objects = [one for page in pages for one in page.get("Contents", ())]
    return {"last": newest(objects, datetime.now(UTC))}


def _last_folder(s3: Any, bucket: str, prefix: str) -> str | None:
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, Delimiter="/"
    )
    folders = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
    return max(folders, default=None)


def _cost(target: Target) -> Section:
    """Write units of yesterday, at list prices: the greatest part of the bill."""
    settings, (start, end) = target.settings, yesterday(datetime.now(UTC))
    tables = [settings.windows_table, settings.devices_table, settings.status_table]
    tables += [settings.claims_table, *(settings.application + one for one in _KCL_TABLES)]
    answer = target.client("cloudwatch").get_metric_data(
        MetricDataQueries=[_query(i, table) for i, table in enumerate(tables)],
        StartTime=start,
        EndTime=end,
    )
    consumed = {
        tables[int(one["Id"].removeprefix("t"))]: sum(one["Values"])
        for one in answer["MetricDataResults"]
    }
    windows = target.client("dynamodb").describe_table(TableName=settings.windows_table)["Table"]
    capacity = {settings.windows_table: _capacity(windows)}
    costs = write_cost(consumed, capacity, price_list(settings.region))
    return {"day": f"{start:%Y-%m-%d}", **costs}


def _capacity(table: Mapping[str, Any]) -> int:
    """The write units a second that a table is provisioned with; 0 when it pays by request."""
    if table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return 0
    return int(table["ProvisionedThroughput"]["WriteCapacityUnits"])


def _query(i: int, table: str) -> Mapping[str, Any]:
    metric = {
        "Namespace": "AWS/DynamoDB",
        "MetricName": "ConsumedWriteCapacityUnits",
        "Dimensions": [{"Name": "TableName", "Value": table}],
    }
    return {"Id": f"t{i}", "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": "Sum"}}


_SECTIONS: Final[Mapping[str, Callable[[Target], Section]]] = {
    "stacks": _stacks,
    "workers": _workers,
    "alarms": _alarms,
    "rule_errors": _errors,
    "archive": _archive,
    "cost": _cost,
}
