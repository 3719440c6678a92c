"""A thing that is not this stack's is never changed: names of things are the account's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devices.errors import ForeignThingError
from devices.provisioning.deletion import delete_device
from devices.provisioning.registry import announce, create_device
from devices.provisioning.rotation import revoke, rotate
from devices.provisioning.things import own_thing_exists
from tests.harness.moto_iot import MotoStack, moto_stack

__all__ = ["moto_stack"]

ATTEMPTS: dict[str, Callable[[MotoStack], Any]] = {
    "create": lambda s: create_device(s.clients, s.settings, "pump-1"),
    "announce": lambda s: announce(s.clients, s.settings, "pump-1", group="g", kind="k"),
    "delete": lambda s: delete_device(s.iot, s.shadows, s.dynamodb, s.settings, "pump-1"),
    "revoke": lambda s: revoke(s.iot, s.settings, "pump-1"),
}


@pytest.mark.parametrize("thing_type", ["plant-9-device", None])
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_thing_of_another_stack_is_refused_and_stays_as_it_is(
    moto_stack: MotoStack, attempt: Callable[[MotoStack], Any], thing_type: str | None
) -> None:
    iot = moto_stack.iot
    kind: dict[str, str] = {"thingTypeName": thing_type} if thing_type else {}
    if thing_type:
        iot.create_thing_type(thingTypeName=thing_type)
    iot.create_thing(thingName="pump-1", **kind)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_thing_principal(thingName="pump-1", principal=made["certificateArn"])
    before = iot.describe_thing(thingName="pump-1")
    with pytest.raises(ForeignThingError, match="pump-1 is not a device of the stack penstock"):
        attempt(moto_stack)
    after = iot.describe_thing(thingName="pump-1")
    assert (after["version"], after["attributes"]) == (before["version"], before["attributes"])
    assert moto_stack.certificates() == ["ACTIVE"]
    assert moto_stack.roster() == []


def test_a_device_whose_thing_another_stack_took_is_not_rotated(moto_stack: MotoStack) -> None:
    device = create_device(moto_stack.clients, moto_stack.settings, "pump-1")
    stranger = moto_stack.settings.model_copy(update={"stack": "plant-9"})
    with pytest.raises(ForeignThingError, match="plant-9"):
        rotate(moto_stack.iot, stranger, device, lambda _: None)
    assert moto_stack.certificates() == ["ACTIVE"]


def test_own_things_and_missing_ones_are_told_apart(moto_stack: MotoStack) -> None:
    create_device(moto_stack.clients, moto_stack.settings, "pump-1")
    assert own_thing_exists(moto_stack.iot, moto_stack.settings, "pump-1")
    assert not own_thing_exists(moto_stack.iot, moto_stack.settings, "pump-2")
