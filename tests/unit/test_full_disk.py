"""A full disk: one sentence, nothing half written, and it goes on when there is room again."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import Device, DeviceOptions, FakeBroker, SpoolFullError, StorageError
from devices.files import write_file
from devices.identity import CERTIFICATE, PRIVATE_KEY, read
from devices.provisioning.claim import provision
from devices.provisioning.claims import create_claim
from devices.provisioning.registry import create_device
from devices.provisioning.rotation import rotate
from devices.spool.spool import FILE, Spool
from tests.harness import command
from tests.harness.moto_iot import MotoStack, moto_stack
from tests.harness.small_disk import SmallDisk, small_disk
from tests.unit.test_claim import DEPLOYMENT, FakeAws

__all__ = ["moto_stack", "small_disk"]

FULL = "the disk is full: free some space"
NAME = "pump-7"


def _fill(spool: Spool) -> None:
    for i in range(100_000):
        spool.add(1, {"v": float(i), **{f"metric_{k}": 1.5 for k in range(20)}})


def test_a_spool_says_that_the_disk_is_full_keeps_its_readings_and_goes_on(
    small_disk: SmallDisk,
) -> None:
    with Spool(small_disk.path, now=lambda: 1) as spool:
        small_disk.fill()
        with pytest.raises(SpoolFullError, match=FULL):
            _fill(spool)
        stored = len(spool)
        batch = spool.read(0, spool.end, 1000, 10**6)
        assert stored == (len(batch.readings) if batch else 0)
        small_disk.free()
        spool.add(1, {"v": 1.0})
        assert len(spool) == stored + 1


def test_a_spool_that_waits_on_a_full_disk_can_be_opened_and_sent(small_disk: SmallDisk) -> None:
    broker = FakeBroker(online=False)
    folder = broker.make_folder(small_disk.path, NAME)
    with Device.open(folder, DeviceOptions(drain_s=0), broker=broker) as device:
        for i in range(20):
            device.add({"v": i}, ts=i)
    small_disk.fill()
    broker.online = True
    with Device.open(folder, broker=broker) as device:
        assert device.resumed == 20
    assert device.waiting == 0
    assert [reading.ts for reading in broker.readings(NAME)] == list(range(20))


def test_a_new_spool_on_a_full_disk_is_a_sentence(small_disk: SmallDisk) -> None:
    folder = FakeBroker().make_folder(small_disk.path, NAME)
    small_disk.fill()
    with pytest.raises(SpoolFullError, match=f"{FILE} cannot be opened: {FULL}"):
        Device.open(folder, broker=FakeBroker())
    small_disk.free()
    with Device.open(folder, broker=FakeBroker()) as device:
        device.add({"v": 1})


def test_a_file_that_finds_no_room_leaves_the_old_one_and_no_draft(small_disk: SmallDisk) -> None:
    path = small_disk.path / "file"
    write_file(path, b"old", 0o600)
    small_disk.fill()
    with pytest.raises(StorageError, match=f"file cannot be written: {FULL}"):
        write_file(path, b"n" * 5000, 0o600)
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in small_disk.path.iterdir()) == ["file", "filler"]


def test_a_device_that_finds_no_room_is_not_created_anywhere(
    small_disk: SmallDisk, moto_stack: MotoStack
) -> None:
    settings = moto_stack.settings.model_copy(update={"devices_dir": small_disk.path / "devices"})
    small_disk.fill()
    with pytest.raises(StorageError, match=FULL):
        create_device(moto_stack.clients, settings, NAME)
    assert (moto_stack.things(), moto_stack.certificates(), moto_stack.roster()) == ([], [], [])
    small_disk.free()
    made = create_device(moto_stack.clients, settings, NAME)
    assert read(made.folder) == made


def test_a_certificate_that_finds_no_room_is_deleted_again(
    moto_stack: MotoStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("devices.identity.save", _no_room)
        with pytest.raises(StorageError):
            create_device(moto_stack.clients, moto_stack.settings, NAME)
    assert moto_stack.certificates() == []
    key = (moto_stack.settings.devices_dir / NAME / PRIVATE_KEY).read_bytes()
    made = create_device(moto_stack.clients, moto_stack.settings, NAME)
    assert made.key_path.read_bytes() == key
    assert moto_stack.certificates() == ["ACTIVE"]


def _no_room(*_: object) -> None:
    raise StorageError(FULL)


def test_a_claim_that_finds_no_room_is_a_sentence(
    small_disk: SmallDisk, moto_stack: MotoStack
) -> None:
    policy = moto_stack.settings.claim_policy
    moto_stack.iot.create_policy(policyName=policy, policyDocument="{}")
    small_disk.fill()
    with pytest.raises(StorageError, match=FULL):
        create_claim(
            moto_stack.clients, moto_stack.settings, small_disk.path / "claim", days=1, now_s=0
        )
    assert moto_stack.certificates() == []


def test_a_provisioning_that_finds_no_room_goes_on_when_there_is_some(
    small_disk: SmallDisk,
) -> None:
    aws = FakeAws()
    small_disk.fill()
    with pytest.raises(StorageError, match=FULL):
        provision(aws, DEPLOYMENT, small_disk.path, NAME)
    small_disk.free()
    made = provision(aws, DEPLOYMENT, small_disk.path, NAME)
    assert read(made.folder) == made


def test_a_rotation_that_finds_no_room_keeps_the_old_certificate(
    small_disk: SmallDisk, moto_stack: MotoStack
) -> None:
    settings = moto_stack.settings.model_copy(update={"devices_dir": small_disk.path})
    made = create_device(moto_stack.clients, settings, NAME)
    before = (made.folder / CERTIFICATE).read_bytes()
    small_disk.fill()
    with pytest.raises(StorageError, match=FULL):
        rotate(moto_stack.iot, settings, made, lambda _: None)
    assert read(made.folder) == made
    assert (made.folder / CERTIFICATE).read_bytes() == before
    assert moto_stack.certificates() == ["ACTIVE"]
    small_disk.free()
    assert rotate(moto_stack.iot, settings, made, lambda _: None) != made


def test_a_device_that_runs_on_a_full_disk_ends_with_one_sentence(
    small_disk: SmallDisk, tmp_path: Path
) -> None:
    FakeBroker().make_folder(small_disk.path / ".penstock" / "devices", NAME)
    small_disk.fill()
    ran = command.run(small_disk.path, "device", "run", NAME, stdin='{"v": 1}\n')
    assert ran.code == 1
    assert FULL in ran.err
    assert "Traceback" not in ran.err
