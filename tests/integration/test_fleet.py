"""What AWS IoT holds of a stack: only what is its own is cut off and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.provisioning.claims import create_claim
from devices.provisioning.registry import Clients, create_device
from infra.aws.removal.fleet import Fleet, cut_off, delete_fleet, find_fleet
from infra.emulator.process import Emulator
from infra.emulator.profile import Profile
from tests.integration.conftest import target_of


class Stack:
    """A registry with two devices and a claim of a stack, and a thing of somebody else."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        target = target_of(emulator, "plant", devices_dir=folder)
        self.settings = target.settings
        self.iot, self.shadows = target.client("iot"), target.client("iot-data")
        settings, clients = self.settings, Clients(self.iot, target.client("dynamodb"))
        for table, key in ((settings.devices_table, "device"), (settings.claims_table, "claim")):
            clients.dynamodb.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            )
        self.iot.create_thing_type(thingTypeName=settings.thing_type)
        for name in (settings.device_policy, settings.claim_policy, "theirs"):
            self.iot.create_policy(policyName=name, policyDocument=ALLOW)
        for name in ("pump-1", "pump-2"):
            create_device(clients, settings, name)
        create_claim(clients, settings, folder / "claim", days=1, now_s=0)
        self.iot.create_thing(thingName="theirs")
        made = self.iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        self.iot.attach_policy(policyName="theirs", target=made)
        self.iot.attach_thing_principal(thingName="theirs", principal=made)

    def things(self) -> list[str]:
        return sorted(one["thingName"] for one in self.iot.list_things()["things"])


ALLOW = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", '
    '"Resource": "*"}]}'
)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Emulator.start(tmp_path / "emulator", persist=False, profile=Profile())
    yield Stack(running, tmp_path / "devices")
    running.stop()


def found(stack: Stack) -> Fleet:
    return find_fleet(stack.iot, stack.settings)


def statuses(stack: Stack) -> list[str]:
    found = stack.iot.list_certificates()["certificates"]
    return sorted(one["status"] for one in found)


def test_every_certificate_of_the_stack_is_made_inactive_before_anything_is_deleted(
    stack: Stack,
) -> None:
    fleet = found(stack)
    assert str(fleet) == "2 devices, 1 claims"
    counted: list[int] = []
    assert cut_off(stack.iot, stack.settings, fleet, lambda: counted.append(1)) == []
    assert len(counted) == 3
    assert statuses(stack) == ["ACTIVE", "INACTIVE", "INACTIVE", "INACTIVE"]
    assert len(stack.things()) == 3


def test_a_deleted_fleet_leaves_nothing_but_what_is_somebody_else_s(stack: Stack) -> None:
    delete_fleet(stack.iot, stack.shadows, stack.settings, found(stack), lambda: None)
    assert stack.things() == ["theirs"]
    assert statuses(stack) == ["ACTIVE"]
    assert not found(stack)


def test_a_deletion_that_broke_off_is_finished_by_the_next(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> Any:
        raise ConnectionError

    for call in ("detach_thing_principal", "delete_certificate", "delete_thing"):
        with monkeypatch.context() as patch:
            patch.setattr(stack.iot, call, broken)
            with pytest.raises(ConnectionError):
                delete_fleet(stack.iot, stack.shadows, stack.settings, found(stack), lambda: None)
    delete_fleet(stack.iot, stack.shadows, stack.settings, found(stack), lambda: None)
    assert (stack.things(), statuses(stack)) == (["theirs"], ["ACTIVE"])


def test_a_certificate_that_serves_something_else_too_only_loses_the_stack_s_policy(
    stack: Stack,
) -> None:
    iot, policy = stack.iot, stack.settings.device_policy
    (theirs,) = iot.list_thing_principals(thingName="theirs")["principals"]
    iot.attach_policy(policyName=policy, target=theirs)
    iot.attach_thing_principal(thingName="pump-1", principal=theirs)
    fleet = found(stack)
    assert cut_off(iot, stack.settings, fleet, lambda: None) == [theirs]
    delete_fleet(iot, stack.shadows, stack.settings, fleet, lambda: None)
    assert statuses(stack) == ["ACTIVE"]
    assert iot.list_thing_principals(thingName="theirs")["principals"] == [theirs]
    assert [p["policyName"] for p in iot.list_attached_policies(target=theirs)["policies"]] == [
        "theirs"
    ]
