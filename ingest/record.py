"""The Kinesis record that the topic rule writes: identity and time beside an opaque payload.

``{"payload": "<base64>", "device_id": "<topic(3)>", "received_at": <ms>}``
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from msgspec import Struct

from ingest.message import MAX_INTEGER, Rejection
from ingest.topic import is_device_id


class Envelope(Struct, gc=False):
    """The record that the topic rule wrote.

    ``device_id`` comes from the topic, which the device's policy fixed; ``received_at`` is
    the rules engine's clock in ms. ``payload`` is what the device sent, to the byte.
    """

    payload: bytes
    device_id: str
    received_at: int


_decode: Final = msgspec.json.Decoder(Envelope).decode

# Device ids seen to be valid. Bounded: a shard has its devices, and others come and go.
_known_devices: set[str] = set()
_KNOWN_LIMIT: Final = 20_000


def decode_record(data: bytes) -> Envelope | Rejection:
    """Read a stream record's data. Never raises: data that no rule wrote is ``malformed``."""
    try:
        envelope = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Rejection("malformed", f"not a record of the topic rule: {error}")
    except RecursionError:
        return Rejection("malformed", "not a record of the topic rule: nested too deeply")
    if envelope.device_id not in _known_devices:
        if not is_device_id(envelope.device_id):
            name = envelope.device_id[:140]
            return Rejection("malformed", f"device_id {name!r} is not a thing name")
        if len(_known_devices) < _KNOWN_LIMIT:
            _known_devices.add(envelope.device_id)
    if not 0 <= envelope.received_at <= MAX_INTEGER:
        return Rejection("malformed", f"received_at {envelope.received_at} is not a time in ms")
    return envelope


def encode_record(payload: bytes, device_id: str, received_at: int) -> bytes:
    """The record that the rule would write: for replay and for direct load."""
    return msgspec.json.encode(
        {
            "payload": base64.b64encode(payload).decode("ascii"),
            "device_id": device_id,
            "received_at": received_at,
        }
    )
