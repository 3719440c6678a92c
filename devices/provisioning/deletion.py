"""Deletes a device: its certificates, its thing, its shadow and its roster entry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from devices.provisioning.things import own_thing_exists
from ingest.settings import Settings
from ingest.tables.hot import device_key
from ingest.topic import SHADOW

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient


DETACH_S: Final = 30.0


def delete_device(
    iot: IoTClient, shadows: Any, dynamodb: DynamoDBClient, settings: Settings, device_id: str
) -> int | None:
    """Delete a device on AWS; how many certificates it had, ``None`` when there is no such thing.

    First every certificate is made inactive, which ends the device's access. Each step can be
    repeated, so an interrupted deletion is finished by the same call. The device's windows and its
    part of the archive stay. ``shadows`` is a client of ``iot-data``.

    :raises ForeignThingError: when the thing is not this stack's.
    """
    if not own_thing_exists(iot, settings, device_id):
        _leave_roster(dynamodb, settings, device_id)
        return None
    principals = iot.list_thing_principals(thingName=device_id)["principals"]
    for arn in principals:
        iot.update_certificate(certificateId=_id_of(arn), newStatus="INACTIVE")
    for arn in principals:
        delete_certificate(iot, settings.device_policy, arn, device_id)
    with contextlib.suppress(shadows.exceptions.ResourceNotFoundException):
        shadows.delete_thing_shadow(thingName=device_id, shadowName=SHADOW)
    _when_detached(
        lambda: iot.delete_thing(thingName=device_id), iot.exceptions.InvalidRequestException
    )
    _leave_roster(dynamodb, settings, device_id)
    return len(principals)


def delete_certificate(iot: IoTClient, policy: str, arn: str, device_id: str | None = None) -> None:
    """Make a certificate inactive, detach it from its policy and its thing, and delete it."""
    iot.update_certificate(certificateId=_id_of(arn), newStatus="INACTIVE")
    iot.detach_policy(policyName=policy, target=arn)
    if device_id is not None:
        iot.detach_thing_principal(thingName=device_id, principal=arn)
    _when_detached(
        lambda: iot.delete_certificate(certificateId=_id_of(arn)),
        iot.exceptions.DeleteConflictException,
    )


def _when_detached(call: Callable[[], object], conflict: type[Exception]) -> None:
    """Call until it does not conflict: a detachment takes effect within several seconds
    (https://docs.aws.amazon.com/iot/latest/apireference/API_DetachThingPrincipal.html)."""
    deadline = time.monotonic() + DETACH_S
    while True:
        try:
            call()
        except conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _id_of(arn: str) -> str:
    return arn.rsplit("/", 1)[1]


def _leave_roster(dynamodb: DynamoDBClient, settings: Settings, device_id: str) -> None:
    dynamodb.delete_item(TableName=settings.devices_table, Key=device_key(device_id))
