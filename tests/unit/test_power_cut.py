"""A power cut between any two steps of provisioning or rotation; then the same command again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from devices import identity
from devices.errors import ProvisioningError
from devices.identity import Identity
from devices.provisioning.claim import PENDING, Deployment, Registered, Signed, provision
from devices.provisioning.rotation import FOLDER, rotate
from ingest.settings import Settings
from tests.harness.power_cut import Disk, PowerCut, Unsynced

DEPLOYMENT = Deployment("localhost", 8883, None, "penstock", "penstock-device")
SETTINGS = Settings()
NAME = "pump-1"
MANY = 200


def _public(key: Any) -> bytes:
    return bytes(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


class FakeIot:
    """AWS IoT: it remembers, whatever the device forgets. A name belongs to the first certificate
    that registers it, as the provisioning hook decides."""

    def __init__(self) -> None:
        self.step: Callable[[], None] = lambda: None
        self.keys: dict[str, bytes] = {}
        self.status: dict[str, str] = {}
        self.attached: set[str] = set()
        self.registered: str | None = None
        self.exceptions = _Exceptions

    def new_certificate(self, request: str, status: str) -> str:
        self.step()
        number = f"cert-{len(self.keys)}"
        self.keys[number] = _public(x509.load_pem_x509_csr(request.encode()).public_key())
        self.status[number] = status
        self.step()
        return number

    # -- by claim --

    def sign(self, request: str) -> Signed:
        number = self.new_certificate(request, "INACTIVE")
        return Signed(number, f"PEM of {number}", f"token of {number}")

    def register(self, device_id: str, token: str) -> Registered:
        self.step()
        certificate = token.removeprefix("token of ")
        if self.registered not in (None, certificate):
            raise ProvisioningError("the name is taken by another certificate")
        self.registered = certificate
        self.status[certificate] = "ACTIVE"
        self.attached.add(certificate)
        self.step()
        return Registered(device_id)

    # -- by an operator --

    def describe_thing(self, **_: Any) -> dict[str, Any]:
        return {"thingTypeName": SETTINGS.thing_type}

    def create_certificate_from_csr(self, **request: Any) -> dict[str, str]:
        number = self.new_certificate(request["certificateSigningRequest"], "INACTIVE")
        arn = f"arn:aws:iot:::cert/{number}"
        return {
            "certificateId": number,
            "certificateArn": arn,
            "certificatePem": f"PEM of {number}",
        }

    def attach_policy(self, **_: Any) -> None:
        self.step()

    def attach_thing_principal(self, *, principal: str, **_: Any) -> None:
        self.step()
        self.attached.add(principal.rpartition("/")[2])

    def update_certificate(self, *, certificateId: str, newStatus: str) -> None:
        self.step()
        self.status[certificateId] = newStatus

    def list_thing_principals(self, **_: Any) -> dict[str, list[str]]:
        return {"principals": [f"arn:aws:iot:::cert/{one}" for one in sorted(self.attached)]}

    def detach_policy(self, **_: Any) -> None:
        self.step()

    def detach_thing_principal(self, *, principal: str, **_: Any) -> None:
        self.step()
        self.attached.discard(principal.rpartition("/")[2])

    # -- what becomes of it --

    def connects(self, device: Identity) -> None:
        """:raises AssertionError: when the device cannot connect with what its folder holds."""
        certificate = device.certificate_path.read_text().removeprefix("PEM of ")
        key: Any = serialization.load_pem_private_key(device.key_path.read_bytes(), None)
        assert self.keys[certificate] == _public(key.public_key()), "key and certificate differ"
        assert self.status[certificate] == "ACTIVE"
        assert certificate in self.attached


class _Exceptions:
    class ResourceNotFoundException(Exception):
        """As botocore names it."""


@contextmanager
def _powered(iot: FakeIot, disk: Disk) -> Iterator[None]:
    iot.step = disk.step
    try:
        with disk.watched():
            yield
    finally:
        iot.step = lambda: None


def _provisioned(iot: FakeIot, root: Path) -> Identity:
    return provision(iot, DEPLOYMENT, root / "devices", NAME)


@pytest.mark.parametrize("unsynced", ["lost", "kept"])
def test_a_power_cut_between_any_two_steps_of_provisioning_costs_no_device(
    tmp_path: Path, unsynced: Unsynced
) -> None:
    for cut in itertools.count():
        assert cut < MANY
        iot, before, after = FakeIot(), tmp_path / f"{cut}-before", tmp_path / f"{cut}-after"
        before.mkdir()
        disk = Disk(before, cut)
        try:
            with _powered(iot, disk):
                _provisioned(iot, before)
        except PowerCut:
            disk.restore(after, unsynced)
            made = _provisioned(iot, after)
        else:
            break
        iot.connects(made)
        iot.connects(identity.load(after / "devices", NAME))
        assert made.key_path.stat().st_mode & 0o777 == 0o600
        assert len(iot.keys) <= 2
    assert cut > 15, "every sync and every call is a step"
    disk.restore(after)  # the power goes as soon as the command has ended
    iot.connects(identity.load(after / "devices", NAME))


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A device that was provisioned, all of it on the disk."""
    (tmp_path / "device").mkdir()
    _provisioned(FakeIot(), tmp_path / "device")
    return tmp_path / "device"


@pytest.mark.parametrize("unsynced", ["lost", "kept"])
def test_a_power_cut_between_any_two_steps_of_a_rotation_is_mended_by_the_next(
    tmp_path: Path, unsynced: Unsynced
) -> None:
    for cut in itertools.count():
        assert cut < MANY
        iot, before, after = FakeIot(), tmp_path / f"{cut}-before", tmp_path / f"{cut}-after"
        before.mkdir()
        disk = Disk(before, None)
        with _powered(iot, disk):
            old = _provisioned(iot, before)
        old_key = old.key_path.read_bytes()
        disk.cut_at(cut)
        try:
            with _powered(iot, disk):
                rotate(iot, SETTINGS, old, iot.connects)  # type: ignore[arg-type]
        except PowerCut:
            disk.restore(after, unsynced)
            there = identity.load(after / "devices", NAME)
            made = rotate(iot, SETTINGS, there, iot.connects)  # type: ignore[arg-type]
        else:
            break
        iot.connects(made)
        iot.connects(identity.load(after / "devices", NAME))
        assert made.key_path.read_bytes() != old_key
        assert iot.attached == {made.config.certificate_id}
        assert iot.status["cert-0"] == "REVOKED"
        assert not (made.folder / FOLDER).exists()
    assert cut > 15
    disk.restore(after, unsynced)
    iot.connects(identity.load(after / "devices", NAME))


def test_nothing_of_a_claim_is_left_when_provisioning_has_ended(running: Path) -> None:
    assert not (running / "devices" / NAME / PENDING).exists()
