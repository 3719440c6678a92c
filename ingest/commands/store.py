"""Sends commands to a device, and says what became of them, through its shadow ``penstock``."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from ingest.commands.command import Command, Known, Scalar, check_command
from ingest.commands.document import CommandDiffersError, Commands
from ingest.topic import SHADOW

ATTEMPTS: Final = 20
"""Each attempt that fails means that the device, or somebody else, has written the shadow."""
_PAUSE_S: Final = 0.05


class CommandBusyError(Exception):
    """A shadow kept changing while a command was to be sent: try again later."""


class Reader(Protocol):
    """What reading needs of an ``iot-data`` client."""

    def get_thing_shadow(self, **request: Any) -> Any:
        """As ``boto3``'s."""


class Client(Reader, Protocol):
    """What sending needs of it."""

    def update_thing_shadow(self, **request: Any) -> Any:
        """As ``boto3``'s."""


def read_commands(client: Reader, device: str) -> Commands:
    """The commands of a device; none of one that has no shadow yet.

    :raises ClientError: as ``boto3`` does.
    """
    try:
        answer = client.get_thing_shadow(thingName=device, shadowName=SHADOW)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return Commands({}, {})
        raise
    return Commands.of(json.loads(answer["payload"].read()))


def send_command(
    client: Client,
    device: str,
    id_: str,
    name: str,
    args: Mapping[str, Scalar],
    *,
    expires_s: float,
    by: str = "",
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Known:
    """Send a command, unless it is sent already: the same id with the same name and arguments is
    the same command, however often it is sent. Returns how it stands.

    The device must exist: a shadow can be written for a thing that does not.

    :param expires_s: how long (s) the device may take until it begins it.
    :raises ValueError: when the command breaks the contract.
    :raises CommandsFullError: when too many commands wait for the device.
    :raises CommandDiffersError: when the id is another command's.
    :raises CommandBusyError: when the shadow kept changing.
    :raises ClientError: as ``boto3`` does.
    """
    for _ in range(ATTEMPTS):
        commands, clock_ms = read_commands(client, device), now_ms()
        known = commands.find(id_, clock_ms)
        if known is not None:
            if (known.command.name, known.command.args) != (name, dict(args)):
                raise CommandDiffersError(f"{id_} is another command's id: choose a new one")
            return known
        at = commands.next_at(clock_ms)
        command = Command(name, at, at + round(expires_s * 1000), dict(args), by, id_)
        desired = commands.sending(id_, check_command(command), clock_ms)
        if _update(client, device, desired, commands.version):
            return Known(id_, command, "CREATED", at)
        time.sleep(random.random() * _PAUSE_S)
    raise CommandBusyError(f"the shadow of {device} keeps changing: try again later")


def _update(client: Client, device: str, desired: Mapping[str, Any], version: int) -> bool:
    """Whether the shadow was still at this version. A new shadow has none to compare: two who make
    it at the same time write different ids, which are merged."""
    document: dict[str, Any] = {"state": {"desired": desired}}
    if version:
        document["version"] = version
    try:
        client.update_thing_shadow(
            thingName=device, shadowName=SHADOW, payload=json.dumps(document).encode()
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConflictException":
            return False
        raise
    return True
