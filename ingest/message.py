"""Payload v1: bytes to a message and back.

A payload is JSON or CBOR: one that begins with the head of a CBOR array or map (0x80 to 0xbf,
with which no UTF-8 begins) is CBOR, any other is JSON. Both are read into the same types and
pass the same checks.

Decoding is total: for any bytes it returns a :class:`Message` or a :class:`Rejection`,
and never raises. What it accepts is design §2, made exact where JSON leaves room:

* integers are integers (``1.0`` is not one), and at most 2^53 - 1 in magnitude, so that
  every JSON implementation on a device reads the same number;
* a duplicate key's last value counts, as in every common JSON parser;
* the whole payload is UTF-8, unknown fields included;
* unknown fields are ignored, whatever well-formed JSON they hold, up to the parser's
  nesting limit;
* in CBOR, keys are text, and there are no tags: see :mod:`ingest.cbor`.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

VERSION: Final = 1
MAX_PAYLOAD_BYTES: Final = 128 * 1024  # IoT Core's own limit for one message
MAX_READINGS: Final = 1000
MAX_METRICS: Final = 64
MAX_INTEGER: Final = 2**53 - 1

METRIC_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_BOOT: Final = re.compile(r"[0-9a-zA-Z-]{8,36}", re.ASCII)

Integer = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Sequence = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]

RejectionReason = Literal["malformed", "unsupported_version", "oversize"]

Content = Literal["json", "cbor"]
"""How a payload is written."""


class Reading(Struct, gc=False):
    """One measurement: event time (ms since the Unix epoch, device clock) and its metrics.

    After :func:`decode`, every metric is a finite ``float``; a bool has become 0.0 or 1.0.
    """

    ts: Annotated[Integer, Meta(description="event time, ms since the Unix epoch, device clock")]
    metrics: Annotated[
        dict[str, float | bool],
        Meta(min_length=1, max_length=MAX_METRICS, description="name to finite number or bool"),
    ]


class Message(Struct, gc=False):
    """One publish: reading *i* has the identity ``(device_id, boot, seq + i)``."""

    v: Annotated[int, Meta(ge=VERSION, le=VERSION, description="contract version")]
    boot: Annotated[str, Meta(min_length=8, max_length=36, description="id of the counter")]
    seq: Annotated[Sequence, Meta(description="sequence number of the first reading")]
    readings: Annotated[list[Reading], Meta(min_length=1, max_length=MAX_READINGS)]


class Rejection(NamedTuple):
    """Why a payload is not a message: a disposition, and a sentence for a person."""

    reason: RejectionReason
    detail: str


class _Versioned(Struct):
    v: int


_decode_message: Final = msgspec.json.Decoder(Message).decode
_decode_version: Final = msgspec.json.Decoder(_Versioned).decode
_encode: Final = msgspec.json.Encoder().encode

# Names and boots seen to be valid. Bounded, because a hostile device can invent them for ever.
_known_names: set[str] = set()
_known_boots: set[str] = set()
_KNOWN_LIMIT: Final = 4096


def decode(payload: bytes) -> Message | Rejection:
    """Read a payload. Never raises; see the module's docstring for what is accepted."""
    message = decode_raw(payload)
    if isinstance(message, Message):
        for reading in message.readings:
            for name, value in reading.metrics.items():
                reading.metrics[name] = float(value)
    return message


def decode_raw(payload: bytes) -> Message | Rejection:
    """As :func:`decode`, but a metric that was sent as a bool stays one: for callers that read many
    messages and convert whole columns to floats later."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return Rejection("oversize", f"{len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    try:
        message = _decode_message(payload) if payload.isascii() else _decode_other(payload)
    except msgspec.ValidationError as error:
        return _rejected_version(payload) or Rejection("malformed", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejection("malformed", str(error))
    except RecursionError:
        return Rejection("malformed", "nested too deeply")
    readings = message.readings
    if (
        len(readings) == 1  # the common case, in as few steps as it takes
        and message.boot in _known_boots
        and message.seq < MAX_INTEGER
        and _known_names.issuperset(readings[0].metrics)
    ):
        return message
    fault = _fault(message)
    return message if fault is None else Rejection("malformed", fault)


def encode(message: Message, content: Content = "json") -> bytes:
    """Write a message, for a device to publish.

    :raises ValueError: when the message breaks the contract; the sentence says how.
    """
    payload = write(message, content)
    decoded = decode(payload)
    if isinstance(decoded, Rejection):
        raise ValueError(f"this message breaks the contract: {decoded.detail}")
    return payload


def write(value: Message | Reading, content: Content) -> bytes:
    """Encode a message without checking it, or a reading alone to know its size."""
    if content == "json":
        return _encode(value)
    from ingest import cbor

    return cbor.encode(msgspec.to_builtins(value))


def schema() -> dict[str, object]:
    """JSON Schema (2020-12) of payload v1, for device authors."""
    document = msgspec.json.schema(Message)
    definitions = document["$defs"]
    message, reading = definitions["Message"]["properties"], definitions["Reading"]["properties"]
    message["boot"]["pattern"] = f"^{_BOOT.pattern}$"
    reading["metrics"]["propertyNames"] = {"pattern": f"^{METRIC_NAME.pattern}$"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Penstock telemetry, payload v1",
        **document,
    }


def _is_cbor(payload: bytes) -> bool:
    return 0x80 <= payload[0] <= 0xBF


def _decode_other(payload: bytes) -> Message:
    """Decode a payload that is not ASCII: CBOR, or JSON with other characters."""
    if not _is_cbor(payload):
        payload.decode("utf-8")
        return _decode_message(payload)
    message = msgspec.convert(_read_cbor(payload), Message)
    for reading in message.readings:
        for name, value in reading.metrics.items():
            if not isfinite(value):
                raise msgspec.ValidationError(f"metric {name[:80]!r} is {value}")
    return message


def _read_cbor(payload: bytes) -> Any:
    from ingest import cbor  # with the first such payload

    return cbor.decode(payload)


def _fault(message: Message) -> str | None:
    """Check what the types cannot express: patterns, and the last sequence number."""
    boot, readings = message.boot, message.readings
    if boot not in _known_boots:
        if not _BOOT.fullmatch(boot):
            return f"boot {boot!r} is not 8 to 36 of [0-9a-zA-Z-]"
        if len(_known_boots) < _KNOWN_LIMIT:
            _known_boots.add(boot)
    if message.seq + len(readings) > MAX_INTEGER:
        return f"seq {message.seq} leaves no room for {len(readings)} readings"
    if _known_names.issuperset(set().union(*[reading.metrics for reading in readings])):
        return None
    return _name_fault(readings)


def _name_fault(readings: list[Reading]) -> str | None:
    """The first name that breaks the pattern; names that do not are remembered."""
    for reading in readings:
        for name in reading.metrics:
            if not METRIC_NAME.fullmatch(name):
                return f"metric name {name[:80]!r} does not match {METRIC_NAME.pattern}"
        if len(_known_names) < _KNOWN_LIMIT:
            _known_names.update(reading.metrics)
    return None


def _rejected_version(payload: bytes) -> Rejection | None:
    """A rejection when the payload is of another version, however it is shaped otherwise."""
    try:
        if payload and _is_cbor(payload):
            version = msgspec.convert(_read_cbor(payload), _Versioned).v
        else:
            version = _decode_version(payload).v
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if version == VERSION:
        return None
    return Rejection("unsupported_version", f"v is {version}, this service reads v {VERSION}")
