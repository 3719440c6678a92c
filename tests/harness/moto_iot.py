"""AWS IoT and DynamoDB of moto, with what a stack has for devices. Only for tests of the calls that
are made: moto is no stand-in for conditional writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from devices.provisioning.registry import Clients
from ingest.settings import Settings


class MotoStack:
    """Clients and settings of a stack without a broker."""

    def __init__(self, devices_dir: Path) -> None:
        keys: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        session = boto3.Session(region_name="us-east-1", **keys)
        self.settings = Settings(devices_dir=devices_dir, iot_host="localhost")
        self.iot: Any = session.client("iot")
        self.shadows: Any = session.client("iot-data")
        self.dynamodb: Any = session.client("dynamodb")
        self.clients = Clients(self.iot, self.dynamodb)
        self.iot.create_thing_type(thingTypeName=self.settings.thing_type)
        self.iot.create_policy(policyName=self.settings.device_policy, policyDocument="{}")
        self.dynamodb.create_table(
            TableName=self.settings.devices_table,
            BillingMode="PAY_PER_REQUEST",
            **_table_keys(),
        )

    def roster(self) -> list[str]:
        """Names of the devices in the roster, sorted."""
        items = self.dynamodb.scan(TableName=self.settings.devices_table)["Items"]
        return sorted(item["device"]["S"] for item in items)

    def things(self) -> list[str]:
        """Names of the things."""
        return [thing["thingName"] for thing in self.iot.list_things()["things"]]

    def certificates(self) -> list[str]:
        """Their states."""
        return [one["status"] for one in self.iot.list_certificates()["certificates"]]


def _table_keys() -> dict[str, Any]:
    from ingest.tables.hot import device_key

    names = list(device_key("x"))
    kinds = ["HASH", "RANGE"]
    return {
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(names, kinds, strict=False)
        ],
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in names],
    }


@pytest.fixture
def moto_stack(tmp_path: Path) -> Iterator[MotoStack]:
    with mock_aws():
        yield MotoStack(tmp_path / "devices")
