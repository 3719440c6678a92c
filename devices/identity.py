"""A device's identity on disk: certificate, private key, and where its broker is.

``<devices_dir>/<device_id>/`` holds ``certificate.pem``, ``private.key`` (mode 0600) and
``device.json``; the folder's mode is 0700.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from devices.errors import IdentityError
from devices.files import make_folder, write_file
from devices.token_key import FILE as TOKEN_FILE
from devices.token_key import TokenKey, read_token_key, save_token_key
from ingest.topic import check_device_id, stack_of_rule

CERTIFICATE: Final = "certificate.pem"
PRIVATE_KEY: Final = "private.key"
_CONFIG: Final = "device.json"


@dataclass(frozen=True)
class DeviceConfig:
    """What ``device.json`` holds; ``stack`` names its deployment, whose name its topics carry."""

    device_id: str
    host: str
    port: int
    stack: str
    ca_path: str | None
    group: str
    type: str
    certificate_id: str


@dataclass(frozen=True)
class Identity:
    """A device that can connect: its config, and the folder with its certificate and key."""

    config: DeviceConfig
    folder: Path

    @property
    def device_id(self) -> str:
        """Thing name, MQTT client id and device id: all the same."""
        return self.config.device_id

    @property
    def certificate_path(self) -> Path:
        """The certificate (PEM)."""
        return self.folder / CERTIFICATE

    @property
    def key_path(self) -> Path:
        """The private key (PEM, mode 0600); there is none when it is in a token."""
        return self.folder / PRIVATE_KEY

    @property
    def token(self) -> TokenKey | None:
        """Where the private key is when it is in a PKCS#11 token.

        :raises IdentityError: when ``pkcs11.json`` cannot be read.
        """
        return read_token_key(self.folder)


def save(
    folder: Path, config: DeviceConfig, certificate: bytes, private_key: bytes | TokenKey
) -> Identity:
    """Write an identity; the key's mode is 0600 from its first moment. ``device.json`` is written
    last: a folder without it holds no identity.

    :raises StorageError: when the disk refuses.
    """
    make_folder(folder)
    if isinstance(private_key, TokenKey):
        save_token_key(folder, private_key)
    else:
        write_file(folder / PRIVATE_KEY, private_key, 0o600)
    write_file(folder / CERTIFICATE, certificate, 0o644)
    write_file(folder / _CONFIG, msgspec.json.format(msgspec.json.encode(asdict(config))), 0o644)
    return Identity(config, folder)


def load(devices_dir: Path, device_id: str) -> Identity:
    """Read the identity of a device in ``devices_dir``.

    :raises IdentityError: when it is missing or damaged, or its key is readable by others.
    """
    folder = devices_dir / _checked(device_id)
    if not (folder / _CONFIG).exists():
        raise IdentityError(_missing(devices_dir, device_id))
    return read(folder)


def read(folder: Path) -> Identity:
    """Read the identity in a device's folder.

    :raises IdentityError: when it is missing or damaged, or its key is readable by others.
    """
    try:
        config = _config((folder / _CONFIG).read_bytes())
    except FileNotFoundError:
        raise IdentityError(
            f"{folder} holds no device: it needs {_CONFIG}, {CERTIFICATE} and {PRIVATE_KEY}, as "
            "`penstock device create` and `penstock device provision` write them"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IdentityError(_damaged(folder, f"{_CONFIG} cannot be read, {error}")) from None
    in_token = read_token_key(folder) is not None
    for name in (CERTIFICATE,) if in_token else (CERTIFICATE, PRIVATE_KEY):
        if not (folder / name).is_file():
            raise IdentityError(_damaged(folder, f"{name} is missing"))
    if not in_token and (folder / PRIVATE_KEY).stat().st_mode & 0o077:
        raise IdentityError(
            f"the private key {folder / PRIVATE_KEY} is readable by others: chmod 600 it, and "
            "rotate the certificate if somebody may have read it"
        )
    return Identity(config, folder)


def _config(document: bytes) -> DeviceConfig:
    """``device.json`` as a value. Penstock 0.2 and earlier wrote the rule's name in place of the
    stack's."""
    found = msgspec.json.decode(document, type=dict[str, Any])
    if "rule" in found:
        found.setdefault("stack", stack_of_rule(str(found["rule"])))
    return msgspec.convert(found, DeviceConfig)


def forget(folder: Path) -> bool:
    """Remove the certificate of a device that AWS IoT no longer knows, and what names its broker;
    whether there was one. The private key and the spool stay: a new certificate for the device
    goes on with them."""
    known_here = (folder / _CONFIG).exists()
    for name in (_CONFIG, CERTIFICATE):
        (folder / name).unlink(missing_ok=True)
    return known_here


def exists(devices_dir: Path, device_id: str) -> bool:
    """Whether an identity of this name is on disk."""
    return (devices_dir / _checked(device_id) / _CONFIG).exists()


def known(devices_dir: Path) -> list[str]:
    """Names of the devices whose identity is on disk, sorted."""
    return sorted(path.parent.name for path in devices_dir.glob(f"*/{_CONFIG}"))


def _checked(device_id: str) -> str:
    try:
        return check_device_id(device_id)
    except ValueError as error:
        raise IdentityError(str(error)) from None


def _missing(devices_dir: Path, device_id: str) -> str:
    names = known(devices_dir)
    here = (
        f"; here are {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else ""
    )
    return (
        f"there is no certificate for {device_id} in {devices_dir}{here}: "
        f"make one with `penstock device create {device_id}`"
    )


def _damaged(folder: Path, why: str) -> str:
    return (
        f"{folder} is damaged ({why}): put its file back, or remove the folder and run "
        f"`penstock device create {folder.name}`"
    )


def as_dict(identity: Identity) -> dict[str, Any]:
    """An identity for a person or a program; paths, never key material."""
    return {
        **asdict(identity.config),
        "certificate": str(identity.certificate_path),
        "private_key": str(identity.folder / TOKEN_FILE if identity.token else identity.key_path),
    }
