"""A workload in, a month's meters out: how much of everything that AWS bills.

Each function is one part of the bill. What is not here costs less than a dollar a month at any
size: rule errors in SQS, KMS calls of the stream, change sets, the status page's reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra.cost import item_sizes
from infra.cost.bill import Meter
from infra.cost.measured import HotWrites, Measurements, archived_bytes, writes_a_message
from infra.cost.metering import (
    GB,
    HOURS,
    MINUTES,
    SECONDS,
    STORAGE_OVERHEAD,
    iot_messages,
    on_demand_bytes,
    put_units,
    read_units,
    write_units,
)
from infra.cost.workload import HEADROOM, Workload

CONNECTIVITY: Final = "IoT connectivity"
MESSAGING: Final = "IoT messaging (Basic Ingest is free)"
RULES: Final = "IoT rules and actions"
KINESIS: Final = "Kinesis"
WRITES: Final = "DynamoDB writes"
READS: Final = "DynamoDB reads"
STORAGE: Final = "DynamoDB storage"
PITR: Final = "DynamoDB point-in-time recovery"
PUTS: Final = "S3 requests"
OBJECTS: Final = "S3 storage"
WORKERS: Final = "Fargate workers"
WATCHING: Final = "CloudWatch"
NETWORK: Final = "network"
GATEWAY: Final = "API Gateway"
FUNCTION: Final = "Lambda (read API)"
DELIVERY: Final = "CloudFront"
USERS: Final = "Cognito"

CONNECTION_MESSAGES: Final = 4
"""Metered when a device connects: CONNECT, SUBSCRIBE, its ``online`` and its last will."""
ACKNOWLEDGEMENT_MESSAGES: Final = 3
"""Metered for one: the worker's publish, the message to the device, the device's PUBACK."""
STATUS_S: Final = 5.0
STATUS_BYTES: Final = 4096
"""A worker's status item, at most, and how often it is written."""
RENEWALS: Final = 3
"""How often the KCL renews a lease within the time after which it could be taken."""
POLL_S: Final = 2.0
LIST_S: Final = 15.0
"""How often an open page of the fleet asks what is new, and for its list again."""
PAGE_ROWS: Final = 50
ROW_BYTES: Final = 500
"""Devices on a page of the fleet, and what an answer has of each: three metrics and a trend."""
ROSTER_S: Final = 5.0
"""How often the function reads the roster while somebody asks."""
ANSWER_S: Final = 0.025
"""How long an answer takes: one call of DynamoDB, which takes 5 to 40 ms, and little beside."""
FUNCTION_GB: Final = 1.0
LOGGED_BYTES: Final = 700
"""Of a request: its line in the access log, and Lambda's own three."""


def meters(load: Workload, measured: Measurements) -> list[Meter]:
    """A month of a workload that has run long enough for its oldest windows to expire.

    :raises KeyError: when its freshness was not measured.
    """
    writes = writes_a_message(measured, load.freshness, load.every_s, acknowledge=load.acknowledge)
    return [
        *iot(load),
        *kinesis(load),
        *hot_tables(load, writes),
        *archive(load, archived_bytes(measured, load.metrics)),
        *workers(load),
        *(api(load) if load.viewers or load.users else ()),
    ]


def iot(load: Workload) -> Iterator[Meter]:
    """Devices stay connected. Pings from 30 s on, CONNACK, SUBACK and the service's PUBACK are
    free, and Basic Ingest has no messaging charge."""
    yield Meter(CONNECTIVITY, "connected devices", "iot.connection", load.devices * MINUTES)
    connections = load.devices * load.connections_a_day * HOURS / 24
    yield Meter(
        MESSAGING, "connections and presence", "iot.message", connections * CONNECTION_MESSAGES
    )
    if load.acknowledge:
        commits = load.devices * SECONDS / max(load.segment_age_s, load.every_s)
        yield Meter(
            MESSAGING, "acknowledgements", "iot.message", commits * ACKNOWLEDGEMENT_MESSAGES
        )
    yield Meter(MESSAGING, "shadow, at each connection", "iot.shadow", connections)
    metered = load.messages * iot_messages(load.published_bytes)
    yield Meter(RULES, "rules triggered", "iot.rule", metered)
    yield Meter(RULES, "actions executed", "iot.action", metered)


def kinesis(load: Workload) -> Iterator[Meter]:
    """One record a message, read once."""
    sent_gb = load.messages * load.record_bytes / GB
    if load.shards:
        yield Meter(KINESIS, "shards", "kinesis.shard-hour", load.shards * HOURS)
        units = load.messages * put_units(load.record_bytes)
        yield Meter(KINESIS, "PUT payload units", "kinesis.put-unit", units)
        if load.fan_out:
            hours = load.shards * HOURS
            yield Meter(KINESIS, "enhanced fan-out", "kinesis.fan-out-shard-hour", hours)
            yield Meter(KINESIS, "enhanced fan-out, read", "kinesis.fan-out-gb", sent_gb)
        if load.retention_hours > 24:
            hours = load.shards * HOURS
            yield Meter(KINESIS, "retention", "kinesis.retention-shard-hour", hours)
        return
    yield Meter(KINESIS, "stream on demand", "kinesis.stream-hour", HOURS)
    taken_gb = load.messages * on_demand_bytes(load.record_bytes) / GB
    yield Meter(KINESIS, "data in, in steps of 1 KB", "kinesis.in-gb", taken_gb)
    out = "kinesis.fan-out-on-demand-gb" if load.fan_out else "kinesis.out-gb"
    yield Meter(KINESIS, "data out", out, sent_gb)
    if load.retention_hours > 24:
        kept_gb = sent_gb * (load.retention_hours - 24) / HOURS
        yield Meter(KINESIS, "retention", "kinesis.retention-gb", kept_gb)


def hot_tables(load: Workload, writes: HotWrites) -> Iterator[Meter]:
    """Writes and reads of windows, roster, status and leases; what is stored."""
    price, scale = "dynamodb.write", 1.0
    if load.provisioned_tables:
        price, scale = "dynamodb.provisioned-write", 1 / (SECONDS * HEADROOM)
    stored = 0.0
    looked_at = load.watched * SECONDS / load.every_s
    for index, tier in enumerate(load.tiers):
        size = item_sizes.window_size(tier, load.metrics, round(load.readings_a_window(tier)))
        written = load.messages * writes.windows[tier.name]
        if index == 0:  # of what somebody looks at, each message is a write of the finest tier
            written += looked_at * max(0.0, 1 - writes.windows[tier.name])
        units = written * write_units(size)
        yield Meter(WRITES, f"windows of {tier.name}", price, units * scale)
        stored += load.windows_kept(tier) * (size + STORAGE_OVERHEAD)
    size = item_sizes.roster_size(load.metrics)
    stored += load.devices * (size + STORAGE_OVERHEAD)
    units = load.messages * writes.roster * write_units(size)
    yield Meter(WRITES, "latest states", price, units * scale)
    status = load.tasks * SECONDS / STATUS_S * write_units(STATUS_BYTES)
    yield Meter(WRITES, "workers' status", "dynamodb.write", status)
    leases = load.shards_read * SECONDS / (load.failover_s / RENEWALS)
    yield Meter(WRITES, "leases", "dynamodb.write", leases)
    yield Meter(READS, "windows before their first write", "dynamodb.read",
                load.messages * writes.reads)  # fmt: skip
    yield Meter(STORAGE, "windows and latest states", "dynamodb.storage", stored / GB)
    if load.pitr:
        yield Meter(PITR, "windows and latest states", "dynamodb.pitr", stored / GB)


def archive(load: Workload, bytes_a_reading: float) -> Iterator[Meter]:
    """One object a segment; a segment closes by age, readings or bytes, whichever is first."""
    readings = load.messages * load.readings
    by_age = min(load.shards_read * SECONDS / load.segment_age_s, load.messages)
    by_volume = max(
        readings / load.segment_readings, load.messages * load.record_bytes / load.segment_bytes
    )
    yield Meter(PUTS, "segments", "s3.put", max(by_age, by_volume))
    stored = readings * bytes_a_reading * load.archive_months
    yield Meter(OBJECTS, "archive", "s3.storage", stored / GB)


def workers(load: Workload) -> Iterator[Meter]:
    """Tasks, what they say of themselves, and the way from them to AWS. DynamoDB and S3 are
    reached by gateway endpoints, which are free."""
    hours = load.tasks * HOURS
    yield Meter(WORKERS, "vCPUs", "fargate.vcpu-hour", hours * load.vcpus)
    yield Meter(WORKERS, "memory", "fargate.gb-hour", hours * load.memory_gb)
    yield Meter(WATCHING, "alarms", "cloudwatch.alarm", load.alarms)
    yield Meter(WATCHING, "metrics", "cloudwatch.metric", load.custom_metrics)
    yield Meter(WATCHING, "logs", "cloudwatch.logs-gb", load.logs_gb)
    read_gb = load.messages * load.record_bytes / GB + load.logs_gb
    if load.network == "endpoints":
        hours = load.endpoints * load.zones * HOURS
        yield Meter(NETWORK, "interface endpoints", "network.endpoint-hour", hours)
        yield Meter(NETWORK, "data through endpoints", "network.endpoint-gb", read_gb)
    elif load.network == "nat":
        hours = load.zones * HOURS
        yield Meter(NETWORK, "NAT gateways", "network.nat-hour", hours)
        yield Meter(NETWORK, "addresses of NAT gateways", "network.public-address-hour", hours)
        yield Meter(NETWORK, "data through NAT", "network.nat-gb", read_gb)
    else:
        hours = load.tasks * HOURS
        yield Meter(NETWORK, "addresses of workers", "network.public-address-hour", hours)


def api(load: Workload) -> Iterator[Meter]:
    """Pages of the fleet that are open at ``penstock deploy --api``. In a fleet something is new at
    each poll, so that no answer is a 304. Files of the page are in browsers' caches."""
    requests = load.viewers * SECONDS * (1 / POLL_S + 1 / LIST_S)
    rows = min(load.devices, PAGE_ROWS)
    yield Meter(GATEWAY, "requests", "api-gateway.request", requests)
    yield Meter(FUNCTION, "requests", "lambda.request", requests)
    yield Meter(FUNCTION, "time", "lambda.gb-second", requests * ANSWER_S * FUNCTION_GB)
    yield Meter(DELIVERY, "requests", "cloudfront.request", requests)
    yield Meter(DELIVERY, "data out", "cloudfront.gb", requests * rows * ROW_BYTES / GB)
    yield Meter(USERS, "users in a month", "cognito.user", load.users)
    # Eventually consistent reads cost half a unit; a scan is metered by its bytes.
    looked_at = min(load.viewers, 1.0) * SECONDS / ROSTER_S
    scanned = read_units(load.devices * item_sizes.roster_size(load.metrics)) / 2
    yield Meter(READS, "roster, for the API", "dynamodb.read", looked_at * scanned)
    windows = requests * rows * 2 / 2  # the current and the last one
    yield Meter(READS, "windows on open pages", "dynamodb.read", windows)
    yield Meter(WATCHING, "logs of the API", "cloudwatch.logs-gb", requests * LOGGED_BYTES / GB)
