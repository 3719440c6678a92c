"""Whether a thing is this stack's: names of things are unique in an account and Region, and two
stacks may want the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.errors import ForeignThingError
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


def own_thing_exists(iot: IoTClient, settings: Settings, device_id: str) -> bool:
    """Whether there is a thing of this name, which then has this stack's thing type.

    :raises ForeignThingError: when it has another type or none. Nothing may be changed on it.
    """
    try:
        thing_type = iot.describe_thing(thingName=device_id).get("thingTypeName")
    except iot.exceptions.ResourceNotFoundException:
        return False
    if thing_type == settings.thing_type:
        return True
    owner = f"has the thing type {thing_type}" if thing_type else "has no thing type"
    raise ForeignThingError(
        f"the thing {device_id} is not a device of the stack {settings.stack}: it {owner}. Choose "
        "another name, or name its own stack with the setting `stack`"
    )
