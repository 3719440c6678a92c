"""Deleting a device: nothing of it is left, whatever was there."""

from __future__ import annotations

from typing import Any

import pytest

from devices.provisioning.deletion import delete_device
from devices.provisioning.registry import create_device
from tests.harness.moto_iot import MotoStack, moto_stack

__all__ = ["moto_stack"]


def delete(stack: MotoStack, name: str) -> int | None:
    return delete_device(stack.iot, stack.shadows, stack.dynamodb, stack.settings, name)


def test_certificates_thing_shadow_and_roster_entry_are_deleted_and_others_stay(
    moto_stack: MotoStack,
) -> None:
    for name in ("pump-1", "pump-2"):
        create_device(moto_stack.clients, moto_stack.settings, name)
        moto_stack.shadows.update_thing_shadow(
            thingName=name, shadowName="penstock", payload=b'{"state": {"desired": {"batch": 1}}}'
        )
    assert delete(moto_stack, "pump-1") == 1
    assert moto_stack.things() == moto_stack.roster() == ["pump-2"]
    assert moto_stack.certificates() == ["ACTIVE"]
    with pytest.raises(moto_stack.shadows.exceptions.ResourceNotFoundException):
        moto_stack.shadows.get_thing_shadow(thingName="pump-1", shadowName="penstock")
    assert moto_stack.shadows.get_thing_shadow(thingName="pump-2", shadowName="penstock")


def test_certificates_are_inactive_before_anything_is_detached(
    moto_stack: MotoStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_device(moto_stack.clients, moto_stack.settings, "pump-1")

    def broken(**_: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(moto_stack.iot, "detach_thing_principal", broken)
        with pytest.raises(ConnectionError):
            delete(moto_stack, "pump-1")
    assert moto_stack.certificates() == ["INACTIVE"]
    assert delete(moto_stack, "pump-1") == 1
    assert moto_stack.certificates() == []


def test_an_announced_device_without_a_thing_leaves_the_roster(moto_stack: MotoStack) -> None:
    from devices.provisioning.registry import announce

    announce(moto_stack.clients, moto_stack.settings, "pump-9", group="g", kind="k")
    assert delete(moto_stack, "pump-9") is None
    assert moto_stack.roster() == []


def test_a_detachment_that_takes_effect_later_is_waited_for(
    moto_stack: MotoStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_device(moto_stack.clients, moto_stack.settings, "pump-1")
    real, calls = moto_stack.iot.delete_certificate, []

    def slow(**arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) < 3:
            raise moto_stack.iot.exceptions.DeleteConflictException(
                {"Error": {"Code": "DeleteConflictException"}}, "DeleteCertificate"
            )
        return real(**arguments)

    monkeypatch.setattr(moto_stack.iot, "delete_certificate", slow)
    monkeypatch.setattr("devices.provisioning.deletion.time.sleep", lambda _: None)
    assert delete(moto_stack, "pump-1") == 1
    assert len(calls) == 3
