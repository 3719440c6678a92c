"""The AWS clients of a child: short time-outs and no retries of their own, because the caller
decides what a retry means."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config
from urllib3 import HTTPResponse

from consumers.config import ChildConfig

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot_data import IoTDataPlaneClient
    from mypy_boto3_s3 import S3Client

_CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"total_max_attempts": 1, "mode": "standard"},
    tcp_keepalive=True,
    max_pool_connections=16,  # more than calls are in flight
    s3={"addressing_style": "path"},
)


class Clients(NamedTuple):
    """The two stores that a shard writes to, and IoT's data plane when readings are
    acknowledged."""

    dynamodb: DynamoDBClient
    s3: S3Client
    iot_data: IoTDataPlaneClient | None = None


@cache
def open_clients(config: ChildConfig) -> Clients:
    """Make the clients, once a process. Credentials come from where every AWS SDK looks for them.

    A client that has not been used has no connection and no thread. So processes forked from this
    one can use it, each with connections of its own; see :mod:`consumers.shard.fork_server`.
    """
    session = botocore.session.get_session()

    def client(service: str) -> Any:
        return session.create_client(
            service,
            region_name=config.region,
            endpoint_url=config.endpoint_url,
            config=_CONFIG,
        )

    iot_data = client("iot-data") if config.acknowledge else None
    return Clients(client("dynamodb"), client("s3"), iot_data)


def rehearse(clients: Clients) -> None:
    """Prepare each call once without sending it, so that what the SDK sets up at a first call is
    shared by forked processes. Errors are ignored: they occur again at the real call."""
    iot: list[tuple[Any, Any]] = []
    if clients.iot_data is not None:
        iot = [(clients.iot_data, [("publish", {"topic": "x", "qos": 1, "payload": b"x"})])]
    for client, calls in (
        *iot,
        (
            clients.dynamodb,
            (
                ("batch_execute_statement", {"Statements": [{"Statement": "x"}]}),
                ("get_item", {"TableName": "x", "Key": {"k": {"S": "x"}}}),
                ("batch_get_item", {"RequestItems": {"x": {"Keys": [{"k": {"S": "x"}}]}}}),
            ),
        ),
        (
            clients.s3,
            (
                ("put_object", {"Bucket": "xxx", "Key": "x", "Body": b"x", "IfNoneMatch": "*"}),
                ("head_object", {"Bucket": "xxx", "Key": "x"}),
                ("list_objects_v2", {"Bucket": "xxx", "Prefix": "x"}),
            ),
        ),
    ):
        events: Any = client.meta.events
        events.register("before-send", _not_sent)
        for name, arguments in calls:
            with contextlib.suppress(Exception):
                getattr(client, name)(**arguments)
        events.unregister("before-send", _not_sent)


def _not_sent(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    body = HTTPResponse(io.BytesIO(b"{}"), preload_content=False)
    return AWSResponse(request.url, 400, cast(Any, HeadersDict()), body)
