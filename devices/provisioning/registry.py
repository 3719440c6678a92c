"""Creates a device: thing, certificate, policy, roster entry.

The private key is generated here and is never sent: AWS IoT signs a request (CSR) for it. Every
step can be repeated, so an interrupted creation is finished by the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from devices import identity
from devices.errors import IdentityError, StorageError
from devices.files import make_folder, write_file
from devices.identity import DeviceConfig, Identity
from devices.provisioning.attributes import DEFAULT_GROUP, DEFAULT_TYPE, check_attribute
from devices.provisioning.deletion import delete_certificate
from devices.provisioning.keys import new_key, request_for
from devices.provisioning.things import own_thing_exists
from devices.token_key import TokenKey
from ingest.settings import Settings
from ingest.tables.hot import device_key
from ingest.topic import check_device_id

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient

_PARALLEL: Final = 8


class Clients(NamedTuple):
    """Clients of the two services that have a device's entries."""

    iot: IoTClient
    dynamodb: DynamoDBClient


def create_device(
    clients: Clients,
    settings: Settings,
    device_id: str,
    *,
    group: str = DEFAULT_GROUP,
    kind: str = DEFAULT_TYPE,
    request: str | None = None,
    token: TokenKey | None = None,
) -> Identity:
    """Create thing, certificate and roster entry, and save the identity on disk.

    ``request`` is a certificate signing request (PEM) for a key that is in a ``token``; without
    them a key is made here.

    The key is written first, so a full disk is found before anything is created. When the
    identity cannot be written all the same, its certificate is deleted again.

    :raises IdentityError: when the name is no device id, or the device is on disk already.
    :raises ForeignThingError: when a thing of that name is not this stack's.
    :raises ValueError: when AWS IoT does not take ``group`` or ``kind``.
    :raises StorageError: when the disk refuses; the call can be repeated.
    """
    try:
        check_device_id(device_id)
    except ValueError as error:
        raise IdentityError(str(error)) from None
    check_attribute(group)
    check_attribute(kind)
    if identity.exists(settings.devices_dir, device_id):
        raise IdentityError(
            f"{device_id} has a certificate in {settings.devices_dir}: use it, or choose another "
            "name"
        )
    folder = settings.devices_dir / device_id
    if token is not None:
        make_folder(folder)
    key = token or key_of(folder)
    _create_thing(clients.iot, settings, device_id, group, kind)
    certificate = clients.iot.create_certificate_from_csr(
        certificateSigningRequest=request or request_for(_file_key(key), device_id, settings.stack),
        setAsActive=False,
    )
    arn = certificate["certificateArn"]
    activate(clients.iot, settings.device_policy, arn)
    clients.iot.attach_thing_principal(thingName=device_id, principal=arn)
    _enter_roster(clients.dynamodb, settings, device_id, group, kind)
    config = DeviceConfig(
        device_id=device_id,
        host=settings.iot_host or data_endpoint(clients.iot),
        port=settings.iot_port,
        stack=settings.stack,
        ca_path=str(settings.iot_ca.absolute()) if settings.iot_ca else None,
        group=group,
        type=kind,
        certificate_id=certificate["certificateId"],
    )
    try:
        return identity.save(folder, config, certificate["certificatePem"].encode(), key)
    except StorageError:
        delete_certificate(clients.iot, arn, device_id)
        raise


def activate(iot: IoTClient, policy: str, arn: str) -> None:
    """Give a new certificate its policy, and then make it active. It may be repeated.

    One that was never given a policy is inactive, and `penstock destroy` finds it by its subject.
    """
    iot.attach_policy(policyName=policy, target=arn)
    iot.update_certificate(certificateId=arn.rpartition("/")[2], newStatus="ACTIVE")


def _file_key(key: bytes | TokenKey) -> bytes:
    """:raises IdentityError: when the key is in a token, which signs its own requests."""
    if isinstance(key, TokenKey):
        raise IdentityError(
            "a key in a token needs a certificate signing request that the token has signed: "
            "give it with --csr"
        )
    return key


def key_of(folder: Path) -> bytes:
    """The key that an interrupted creation left in a folder, or a new one, on the disk (PEM).

    :raises StorageError: when the disk refuses.
    """
    make_folder(folder)
    path = folder / identity.PRIVATE_KEY
    if not path.exists():
        write_file(path, new_key(), 0o600)
    return path.read_bytes()


def create_fleet(
    clients: Clients,
    settings: Settings,
    wanted: Iterable[tuple[str, str]],
    *,
    group: str,
    made: Callable[[], None] = lambda: None,
) -> list[Identity]:
    """Create many devices, given as (name, kind), in parallel and in that order; ``made`` is
    called after each."""
    if settings.iot_host is None:
        settings = settings.model_copy(update={"iot_host": data_endpoint(clients.iot)})

    def create(one: tuple[str, str]) -> Identity:
        device = create_device(clients, settings, one[0], group=group, kind=one[1])
        made()
        return device

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(create, wanted))


def list_things(iot: IoTClient, settings: Settings) -> Iterator[dict[str, Any]]:
    """The stack's things: name, group, type."""
    for page in iot.get_paginator("list_things").paginate(thingTypeName=settings.thing_type):
        for thing in page["things"]:
            yield {"device": thing["thingName"], **thing.get("attributes", {})}


def data_endpoint(iot: IoTClient) -> str:
    """The account's MQTT host."""
    return iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]


def _create_thing(iot: IoTClient, settings: Settings, name: str, group: str, kind: str) -> None:
    from botocore.exceptions import ClientError  # a device's own installation has no botocore

    if own_thing_exists(iot, settings, name):
        return
    try:
        iot.create_thing(
            thingName=name,
            thingTypeName=settings.thing_type,
            attributePayload={"attributes": {"group": group, "type": kind}},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
            raise
        own_thing_exists(iot, settings, name)  # it was made meanwhile, perhaps by another stack


def announce(clients: Clients, settings: Settings, name: str, *, group: str, kind: str) -> None:
    """Allow a device of this name to provision itself with a claim, once. Repeat it for a device
    that lost its certificate.

    :raises IdentityError: when the name is no device id.
    :raises ForeignThingError: when a thing of that name is not this stack's.
    :raises ValueError: when AWS IoT does not take ``group`` or ``kind``.
    """
    try:
        check_device_id(name)
    except ValueError as error:
        raise IdentityError(str(error)) from None
    check_attribute(group)
    check_attribute(kind)
    own_thing_exists(clients.iot, settings, name)
    _enter_roster(clients.dynamodb, settings, name, group, kind, claim="open")


def _enter_roster(
    dynamodb: DynamoDBClient, settings: Settings, name: str, group: str, kind: str,
    claim: str = "none",
) -> None:  # fmt: skip
    """Group and type in the devices table; ``ver`` moves, so that a worker that is writing the
    device's state at this moment reads it again."""
    dynamodb.update_item(
        TableName=settings.devices_table,
        Key=device_key(name),
        UpdateExpression="SET #g = :g, #t = :t, claim = :c ADD ver :one",
        ExpressionAttributeNames={"#g": "group", "#t": "type"},
        ExpressionAttributeValues={
            ":g": {"S": group},
            ":t": {"S": kind},
            ":one": {"N": "1"},
            ":c": {"S": claim},
        },
    )
