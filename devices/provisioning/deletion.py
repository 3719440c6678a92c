"""Deletes a device: its certificates, its thing, its shadow and its roster entry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
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
    principals = delete_thing(iot, shadows, device_id)
    _leave_roster(dynamodb, settings, device_id)
    return len(principals)


def delete_thing(iot: IoTClient, shadows: Any, device_id: str) -> Sequence[str]:
    """Delete a thing with its certificates and its shadow; the certificates' ARNs. Whether it is
    the stack's own must be known before."""
    principals = iot.list_thing_principals(thingName=device_id)["principals"]
    for arn in principals:
        deactivate(iot, arn)
    for arn in principals:
        delete_certificate(iot, arn, device_id)
    with contextlib.suppress(shadows.exceptions.ResourceNotFoundException):
        shadows.delete_thing_shadow(thingName=device_id, shadowName=SHADOW)
    _when_detached(
        lambda: iot.delete_thing(thingName=device_id), iot.exceptions.InvalidRequestException
    )
    return principals


def deactivate(iot: IoTClient, arn: str) -> None:
    """Make a certificate inactive: whoever connects with it is cut off. One that was revoked can
    do no more than that, and may refuse another state."""
    with contextlib.suppress(iot.exceptions.CertificateStateException):
        iot.update_certificate(certificateId=_id_of(arn), newStatus="INACTIVE")


def delete_certificate(iot: IoTClient, arn: str, device_id: str | None = None) -> None:
    """Make a certificate inactive, detach it from its thing, and delete it.

    It keeps its policy to the end, by which a deletion that breaks off finds it again: to force the
    deletion of a certificate that is inactive and has no thing takes it from its policies
    (https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html).
    """
    deactivate(iot, arn)
    if device_id is not None:
        iot.detach_thing_principal(thingName=device_id, principal=arn)
    _when_detached(
        lambda: iot.delete_certificate(certificateId=_id_of(arn), forceDelete=True),
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
