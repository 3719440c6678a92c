"""The end of a thing type: deprecated, and five minutes later deleted.

Source: IoT API reference, "DeleteThingType"
(https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteThingType.html): a type is deprecated
first, no thing may have it, and five minutes must have passed. A deprecation can be undone
("DeprecateThingType").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infra.aws.stacks.following import DeployError

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

WAIT_S: Final = 300.0
_PATIENCE_S: Final = 120.0
_LOOK_S: Final = 2.0


def deprecated_since(iot: IoTClient, name: str) -> datetime | None:
    """Since when the type is deprecated; ``None`` when it is not.

    :raises LookupError: when there is no such type.
    """
    try:
        found = iot.describe_thing_type(thingTypeName=name)["thingTypeMetadata"]
    except iot.exceptions.ResourceNotFoundException:
        raise LookupError(name) from None
    return found.get("deprecationDate") if found.get("deprecated") else None


def deprecate(iot: IoTClient, name: str) -> bool:
    """Let no new thing have the type, and begin the five minutes; ``False`` when there is no such
    type. Repeating it does not begin them anew."""
    try:
        since = deprecated_since(iot, name)
    except LookupError:
        return False
    if since is None:
        iot.deprecate_thing_type(thingTypeName=name)
    return True


def restore(iot: IoTClient, name: str) -> bool:
    """Undo a deprecation; whether there was one.

    :raises LookupError: when there is no such type.
    """
    if deprecated_since(iot, name) is None:
        return False
    iot.deprecate_thing_type(thingTypeName=name, undoDeprecate=True)
    return True


def delete_when_due(iot: IoTClient, name: str, left: Callable[[float], object]) -> None:
    """Delete a deprecated type as soon as AWS IoT allows it; ``left`` hears how many seconds that
    takes, about. It may be repeated at any time.

    :raises DeployError: when AWS IoT still refuses long after.
    """
    started = time.monotonic()
    while True:
        try:
            since = deprecated_since(iot, name)
        except LookupError:
            return
        age = (datetime.now(UTC) - since).total_seconds() if since else 0.0
        left(max(0.0, WAIT_S - age))
        try:
            iot.delete_thing_type(thingTypeName=name)
        except iot.exceptions.InvalidRequestException as error:
            if time.monotonic() - started > WAIT_S + _PATIENCE_S:
                raise DeployError(f"AWS IoT does not delete thing type {name}: {error}") from None
            time.sleep(_LOOK_S)
        else:
            return
