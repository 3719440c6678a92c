"""A device makes itself known with a claim: key here, certificate and thing from AWS IoT.

Every step leaves its result on the disk before the next begins, so that a crash or a power cut
anywhere costs one step at most: the private key (mode 0600; it never leaves the machine), the
certificate that AWS IoT signed for it with its ownership token, and at last the identity. What is
not finished is in ``claim/`` and is no identity: nothing else reads it. The claim itself is
checked by AWS, in ``ProvisioningHook`` of ``infra/templates/pipeline.yaml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import msgspec

from devices import identity
from devices.errors import IdentityError, ProvisioningError
from devices.files import make_folder, remove_files, write_file
from devices.identity import DeviceConfig, Identity
from devices.provisioning.keys import new_key, request_for
from ingest.topic import check_device_id

PENDING: Final = "claim"
CERTIFICATE: Final = "certificate.json"


class TokenError(Exception):
    """The ownership token is not valid any more: the certificate has to be asked for again."""


class Signed(msgspec.Struct, frozen=True):
    """A certificate (PEM) that is not active yet, and what proves that it is ours."""

    certificate_id: str
    certificate: str
    token: str


class Registered(msgspec.Struct, frozen=True):
    """The thing's name, as AWS IoT has it."""

    device_id: str


class Registrar(Protocol):
    """The two calls of fleet provisioning."""

    def sign(self, request: str) -> Signed:
        """A certificate for a signing request (PEM).

        :raises ProvisioningError: when it is refused.
        """

    def register(self, device_id: str, token: str) -> Registered:
        """Make the thing, and its certificate active. It may be repeated with the same token.

        :raises TokenError: when the token has expired.
        :raises ProvisioningError: when it is refused.
        """


class Deployment(msgspec.Struct, frozen=True):
    """What a claim says of its deployment: broker, stack and provisioning template."""

    host: str
    port: int
    ca_path: str | None
    stack: str
    template: str


def provision(
    registrar: Registrar, deployment: Deployment, devices_dir: Path, device_id: str,
    *, group: str = "", kind: str = "",
) -> Identity:  # fmt: skip
    """Do what is not done yet, and return the identity.

    :raises IdentityError: when the name is no device id.
    :raises ProvisioningError: when AWS IoT refuses.
    """
    try:
        check_device_id(device_id)
    except ValueError as error:
        raise IdentityError(str(error)) from None
    if identity.exists(devices_dir, device_id):
        found = identity.load(devices_dir, device_id)
        _forget(found.folder / PENDING)
        return found
    pending = devices_dir / device_id / PENDING
    make_folder(pending)
    key = _key(pending)
    for attempt in (1, 2):
        signed = _signed(registrar, deployment, pending, device_id, key)
        try:
            registered = registrar.register(device_id, signed.token)
            break
        except TokenError:
            remove_files(pending, CERTIFICATE)
            if attempt == 2:
                raise ProvisioningError("AWS IoT does not take its own ownership token") from None
    config = DeviceConfig(
        device_id=registered.device_id,
        host=deployment.host,
        port=deployment.port,
        stack=deployment.stack,
        ca_path=deployment.ca_path,
        group=group,
        type=kind,
        certificate_id=signed.certificate_id,
    )
    made = identity.save(devices_dir / device_id, config, signed.certificate.encode(), key)
    _forget(pending)
    return made


def _key(pending: Path) -> bytes:
    path = pending / identity.PRIVATE_KEY
    if not path.exists():
        write_file(path, new_key(), 0o600)
    return path.read_bytes()


def _signed(
    registrar: Registrar, deployment: Deployment, pending: Path, device_id: str, key: bytes
) -> Signed:
    path = pending / CERTIFICATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Signed)
    except FileNotFoundError:
        signed = registrar.sign(request_for(key, device_id, deployment.stack))
        write_file(path, msgspec.json.encode(signed), 0o600)
        return signed


def _forget(pending: Path) -> None:
    remove_files(pending, CERTIFICATE, identity.PRIVATE_KEY)
    if pending.exists():
        pending.rmdir()
