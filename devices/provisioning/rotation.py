"""A new certificate for a device that runs, without losing a reading.

Steps, each of which can be repeated and is on the disk before the next: a new key here, a
certificate for it, policy and thing attached, a connection with both as proof, the files swapped,
the old certificate revoked. What is not finished is in ``rotation/``; :func:`rotate` goes on from
there, after a power cut too. A running device notices the
new files and connects anew; what was not acknowledged is in its spool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from devices import identity
from devices.errors import IdentityError
from devices.files import make_folder, remove_files, write_file
from devices.identity import Identity
from devices.provisioning.keys import new_key, request_for
from devices.provisioning.registry import activate
from devices.provisioning.things import own_thing_exists
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

FOLDER: Final = "rotation"
_STATE: Final = "state.json"
Prove = Callable[[Identity], None]
"""Connects as an identity, or raises."""


class _State(msgspec.Struct, frozen=True):
    old_id: str
    new_id: str
    arn: str


def rotate(iot: IoTClient, settings: Settings, device: Identity, prove: Prove) -> Identity:
    """Give the device a new certificate, and revoke the old one.

    :raises ForeignThingError: when the thing is not this stack's.
    :raises ConnectError: when the new certificate does not connect; the old one stays in use,
        and the next call tries again.
    :raises IdentityError: when the device's key is in a token.
    """
    if device.token is not None:
        raise IdentityError(
            f"the key of {device.device_id} is in a token, where it cannot be replaced from here: "
            "make a new key there, `penstock device revoke` the device, move its folder away, and "
            "create it again with --csr"
        )
    own_thing_exists(iot, settings, device.device_id)
    folder = device.folder / FOLDER
    make_folder(folder)
    key_path = folder / identity.PRIVATE_KEY
    if not key_path.exists() or _is_left_over(device, folder):
        write_file(key_path, new_key(), 0o600)
    state = _certified(iot, settings, device, folder, key_path.read_bytes())
    iot.attach_policy(policyName=settings.device_policy, target=state.arn)
    iot.attach_thing_principal(thingName=device.device_id, principal=state.arn)
    config = replace(device.config, certificate_id=state.new_id)
    prove(Identity(config, folder))
    certificate = (folder / identity.CERTIFICATE).read_bytes()
    made = identity.save(device.folder, config, certificate, key_path.read_bytes())
    revoke_certificate(iot, device.device_id, state.old_id)
    remove_files(folder, _STATE)  # first: it names the certificate of the key beside it
    remove_files(folder, identity.CERTIFICATE, identity.PRIVATE_KEY)
    folder.rmdir()
    return made


def _is_left_over(device: Identity, folder: Path) -> bool:
    """Whether the key is that of a rotation which ended, and whose files are not all removed."""
    if (folder / _STATE).exists():
        return False
    return (folder / identity.PRIVATE_KEY).read_bytes() == device.key_path.read_bytes()


def revoke(iot: IoTClient, settings: Settings, device_id: str) -> int:
    """Revoke every certificate of a device, which cuts it off; how many there were.

    :raises ForeignThingError: when the thing is not this stack's.
    """
    if not own_thing_exists(iot, settings, device_id):
        return 0
    principals = iot.list_thing_principals(thingName=device_id)["principals"]
    for arn in principals:
        revoke_certificate(iot, device_id, arn.rsplit("/", 1)[1], arn)
    return len(principals)


def revoke_certificate(
    iot: IoTClient, device_id: str, certificate_id: str, arn: str | None = None
) -> None:
    """Make a certificate useless, first of all; then take it from its thing. It keeps the stack's
    policy, which says whose it was: `penstock destroy` deletes it by that."""
    iot.update_certificate(certificateId=certificate_id, newStatus="REVOKED")
    arn = arn or _arn_of(iot, device_id, certificate_id)
    if arn is not None:
        iot.detach_thing_principal(thingName=device_id, principal=arn)


def _arn_of(iot: IoTClient, device_id: str, certificate_id: str) -> str | None:
    principals = iot.list_thing_principals(thingName=device_id)["principals"]
    return next((arn for arn in principals if arn.endswith(f"/{certificate_id}")), None)


def _certified(
    iot: IoTClient, settings: Settings, device: Identity, folder: Path, key: bytes
) -> _State:
    """The new certificate, which is asked for once: what a crash left unwritten was never used,
    and is inactive, or has the policy. It is made active once: a revoked one stays revoked."""
    path = folder / _STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        made = iot.create_certificate_from_csr(
            certificateSigningRequest=request_for(key, device.device_id, settings.stack),
            setAsActive=False,
        )
        write_file(folder / identity.CERTIFICATE, made["certificatePem"].encode(), 0o644)
        activate(iot, settings.device_policy, made["certificateArn"])
        state = _State(device.config.certificate_id, made["certificateId"], made["certificateArn"])
        write_file(path, msgspec.json.encode(state), 0o600)
        return state
