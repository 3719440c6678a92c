"""Writes what a person does to an alarm, as the command line and the dashboard let them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from ingest.tables.alarms import COLUMNS, DeviceAlarms, read_alarms, wall_ms

ATTEMPTS: Final = 50
"""Each attempt that fails means that a worker, or somebody else, has written the item meanwhile."""


class AlarmBusyError(Exception):
    """An alarm kept changing while it was to be written: try again later."""


class Client(Protocol):
    """What this module needs of a DynamoDB client."""

    def get_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""

    def put_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""


def read_device_alarms(client: Client, table: str, device: str) -> DeviceAlarms:
    """A device's alarms, read consistently; empty for one that never had any."""
    answer = client.get_item(TableName=table, Key={"device": {"S": device}}, ConsistentRead=True)
    return read_alarms(answer["Item"]) if "Item" in answer else DeviceAlarms(device)


def change_alarms(
    client: Client,
    table: str,
    device: str,
    act: Callable[[DeviceAlarms], Any],
    now_ms: Callable[[], int] = wall_ms,
) -> DeviceAlarms:
    """Let ``act`` change a device's alarms under the item's version; done again on what somebody
    else wrote meanwhile. Returns what was written.

    :raises AlarmBusyError: when that happened too often.
    :raises ClientError: as ``boto3`` does. What ``act`` raises goes on.
    """
    for _ in range(ATTEMPTS):
        alarms = read_device_alarms(client, table, device)
        act(alarms)
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(ver)"}
        if alarms.ver:
            condition = {
                "ConditionExpression": "ver = :ver",
                "ExpressionAttributeValues": {":ver": {"N": str(alarms.ver)}},
            }
        values = dict(zip(COLUMNS, alarms.values(now_ms()), strict=True))
        item = {"device": {"S": device}, "ver": {"N": str(alarms.ver + 1)}, **values}
        try:
            client.put_item(TableName=table, Item=item, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
        else:
            return alarms
    raise AlarmBusyError(f"the alarms of {device} keep changing: try again later")
