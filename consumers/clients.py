"""AWS clients for a child: one connection pool each, short time-outs, and no retries inside,
because what a retry means is decided by the caller."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import botocore.loaders
import botocore.session
from botocore.config import Config

from consumers.config import ChildConfig

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"total_max_attempts": 1, "mode": "standard"},
    tcp_keepalive=True,
    s3={"addressing_style": "path"},
)


class Clients(NamedTuple):
    """The two services that a shard writes to."""

    dynamodb: DynamoDBClient
    s3: S3Client


_SERVICES: Final = ("dynamodb", "s3")


@cache
def _models() -> Any:
    """The SDK's loader of service descriptions, which remembers what it has read."""
    return botocore.loaders.create_loader()


def preload() -> None:
    """Read what clients are made from, so that processes forked from this one share it. Opens
    no connection, makes no client and looks for no credentials."""
    loader = _models()
    for service in _SERVICES:
        for kind in ("service-2", "endpoint-rule-set-1", "waiters-2", "paginators-1"):
            loader.load_service_model(service, kind)
    for data in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(data)


def open_clients(config: ChildConfig) -> Clients:
    """Make the clients; credentials are found as every AWS SDK finds them."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _models())

    def client(service: str) -> Any:
        return session.create_client(
            service,
            region_name=config.region,
            endpoint_url=config.endpoint_url,
            config=_CONFIG,
        )

    return Clients(*map(client, _SERVICES))
