"""Provisioning by claim, interrupted at every step."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from devices import identity
from devices.certificate import expires_at, expiry_warning
from devices.errors import IdentityError, ProvisioningError
from devices.provisioning import claim
from devices.provisioning.claim import Deployment, Registered, Signed, TokenError, provision
from devices.provisioning.keys import new_key, request_for
from devices.provisioning.mqtt import MqttRegistrar, load_claim, save_claim, why_rejected

DEPLOYMENT = Deployment("localhost", 8883, None, "penstock", "penstock-device")


class Crash(Exception):
    """The device lost its power."""


class FakeAws:
    """AWS IoT, which forgets tokens when told to, and crashes the device where told to."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.registered: list[str] = []
        self.valid: set[str] = set()
        self.crash: Callable[[str], None] = lambda _: None

    def sign(self, request: str) -> Signed:
        self.crash("before sign")
        self.requests.append(request)
        number = len(self.requests)
        self.valid.add(f"token-{number}")
        self.crash("after sign")
        return Signed(f"id-{number}", f"certificate {number}", f"token-{number}")

    def register(self, device_id: str, token: str) -> Registered:
        self.crash("before register")
        if token not in self.valid:
            raise TokenError
        self.registered.append(token)
        self.crash("after register")
        return Registered(device_id)


def _crash_at(point: str) -> Callable[[str], None]:
    def crash(at: str) -> None:
        if at == point:
            raise Crash

    return crash


@pytest.mark.parametrize(
    "point", ["before sign", "after sign", "before register", "after register", "before save"]
)
def test_a_device_that_dies_at_any_step_goes_on_where_it_was(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = FakeAws()
    aws.crash = _crash_at(point)
    with monkeypatch.context() as patch:
        if point == "before save":
            patch.setattr(identity, "save", _raise)
        with pytest.raises(Crash):
            provision(aws, DEPLOYMENT, tmp_path, "pump-1")
    assert not identity.exists(tmp_path, "pump-1"), "half of an identity can be used"
    keys = [p.read_bytes() for p in tmp_path.rglob(identity.PRIVATE_KEY)]
    aws.crash = lambda _: None
    made = provision(aws, DEPLOYMENT, tmp_path, "pump-1")
    assert [made.key_path.read_bytes()] == keys, "the key is made once"
    assert made.certificate_path.read_text() == f"certificate {len(aws.requests)}"
    assert aws.registered[-1] == f"token-{len(aws.requests)}"
    assert not (made.folder / claim.PENDING).exists()
    assert provision(aws, DEPLOYMENT, tmp_path, "pump-1") == made


def _raise(*_: Any) -> Any:
    raise Crash


def test_the_key_stays_here_and_is_for_nobody_else(tmp_path: Path) -> None:
    aws = FakeAws()
    aws.crash = _crash_at("before register")
    with pytest.raises(Crash):
        provision(aws, DEPLOYMENT, tmp_path, "pump-1")
    for path in (tmp_path / "pump-1" / claim.PENDING).iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in aws.requests[0]
    request = x509.load_pem_x509_csr(aws.requests[0].encode())
    assert request.is_signature_valid


def test_an_expired_token_costs_one_more_certificate(tmp_path: Path) -> None:
    aws = FakeAws()
    aws.crash = _crash_at("before register")
    with pytest.raises(Crash):
        provision(aws, DEPLOYMENT, tmp_path, "pump-1")
    aws.crash = lambda _: None
    aws.valid.clear()
    assert provision(aws, DEPLOYMENT, tmp_path, "pump-1").config.certificate_id == "id-2"


def test_tokens_that_are_never_taken_end_it(tmp_path: Path) -> None:
    aws = FakeAws()
    aws.crash = lambda at: aws.valid.clear() if at == "before register" else None
    with pytest.raises(ProvisioningError, match="ownership token"):
        provision(aws, DEPLOYMENT, tmp_path, "pump-1")
    assert len(aws.requests) == 2


def test_a_name_that_is_no_device_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError):
        provision(FakeAws(), DEPLOYMENT, tmp_path, "../pump")


def write_certificate(path: Path, *, days: float) -> None:
    """A certificate (PEM) that ends in ``days`` days."""
    _certificate(path, datetime.now(UTC) + timedelta(days=days))


def _certificate(path: Path, end: datetime) -> None:
    key: Any = serialization.load_pem_private_key(new_key(), None)
    request = x509.load_pem_x509_csr(request_for(new_key(), "d", "plant-7").encode())
    made = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(request.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize(
    ("days", "said"), [(400, None), (31, None), (10, "expires in"), (-1, "has expired")]
)
def test_a_certificate_that_ends_soon_is_said(tmp_path: Path, days: int, said: str | None) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    path = tmp_path / identity.CERTIFICATE
    _certificate(path, now + timedelta(days=days))
    assert expires_at(path) == now + timedelta(days=days)
    warning = expiry_warning("pump-1", path, now)
    assert (warning is None) if said is None else (said in str(warning))


def test_a_certificate_that_cannot_be_read_has_no_end(tmp_path: Path) -> None:
    assert expiry_warning("pump-1", tmp_path / "none.pem") is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", "announce it .* role of the provisioning template plant-device"),
        ("InvocationError", "hook failed .* /aws/lambda/plant-provisioning-hook"),
        ("InvalidResult", "hook failed"),
        ("InvalidTemplate", "deploy the stack again"),
        ("Throttled", r"AWS IoT refuses \(Throttled\): slower"),
    ],
)
def test_what_rejects_a_device_is_said_with_what_to_do(code: str, said: str) -> None:
    found = why_rejected(code, "slower", "plant-device")
    assert re.search(said, found)
    assert ("announce" in found) == (code == "AccessDenied")


def test_a_folder_without_a_claim_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProvisioningError, match="holds no claim"):
        load_claim(tmp_path)


def test_a_claim_whose_files_are_lost_is_a_sentence(tmp_path: Path) -> None:
    deployment = Deployment("127.0.0.1", 1, None, "r", "t")
    save_claim(tmp_path, deployment, b"no certificate", b"no key")
    with pytest.raises(ProvisioningError, match="cannot be used"):
        MqttRegistrar(tmp_path, deployment, "x")
