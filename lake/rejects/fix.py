"""Makes of a reading that was not folded one that can be, with an identity of its own. Pure.

The new identity follows from the old one: a boot that begins with :data:`REDRIVEN` and holds a
digest of the device's boot, and the same sequence number. So a reading that is redriven twice, or
that the stream had twice, counts once. Where a payload shows no boot and sequence number, it
follows from the record's place in the stream: shard, sequence number, sub-sequence number, index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import cbor2
from msgspec import Struct

from ingest.message import MAX_INTEGER, Message, Reading, decode_raw, encode
from lake.rejects.reject import Id, Reject

REDRIVEN: Final = "redrive-"
"""How the boot of a redriven reading begins. It sorts behind hexadecimal boots, so most row groups
of the archive show by their statistics that they hold none."""

_SHOWN_BYTES: Final = 4096


class Scale(NamedTuple):
    """A change of unit: ``value * factor + offset``."""

    factor: float
    offset: float = 0.0


class Fix(Struct, frozen=True):
    """What is changed: ``rename`` maps keys anywhere in the message, names of metrics above all, to
    others; ``scale`` changes the unit of a metric, by its new name; ``clock_ms`` is added to each
    event time."""

    rename: Mapping[str, str] = {}
    scale: Mapping[str, Scale] = {}
    clock_ms: int = 0


class Redriven(NamedTuple):
    """A reading ready for the stream: ``payload`` is a message with it alone. ``original`` is the
    boot and sequence number that its device gave it, where the payload shows them, and
    ``original_ts`` its event time before the clock was corrected."""

    device_id: str
    boot: str
    seq: int
    ts: int
    metrics: Mapping[str, float]
    received_at: int
    payload: bytes
    original: tuple[str, int] | None
    original_ts: int


class RefusedError(Exception):
    """The reading cannot be redriven with this fix; the text says why."""


def original_id(reject: Reject, index: int) -> tuple[str, int] | None:
    """Boot and sequence number that the device gave the ``index``-th reading of the message, where
    the payload shows them."""
    if reject.boot is not None and reject.seq is not None:
        return reject.boot, reject.seq
    content = _content(reject.raw)
    boot, seq = content.get("boot"), content.get("seq")
    if isinstance(boot, str) and type(seq) is int and 8 <= len(boot) <= 36 and seq >= 0:
        return boot, seq + index
    return None


def new_id(reject: Reject, index: int) -> tuple[str, int]:
    """Boot and sequence number of a redriven reading, the ``index``-th of its message.

    >>> new_id(reject, 0) == new_id(the_same_reading_that_the_stream_had_again, 0)  # doctest: +SKIP
    True
    """
    known = original_id(reject, index)
    if known is None:
        place = f"{reject.shard_id}/{reject.sequence_number}.{reject.sub_sequence}"
        return REDRIVEN + _digest(place), index
    return REDRIVEN + _digest(known[0]), known[1]


def redriven(reject: Reject, fix: Fix, judge: Callable[[Reading, int], str]) -> list[Redriven]:
    """The readings of a row, corrected: one where the row is of one reading, all of the message's
    where none could be read. ``judge`` gives the disposition that a reading will get.

    :raises RefusedError: when the row names no device, or when what the fix makes of it would not
        be folded either.
    """
    if reject.device_id is None or reject.received_at is None:
        raise RefusedError("no topic rule wrote this record, so nobody knows its device")
    found = []
    for index, content in _readings(reject, fix):
        boot, seq = new_id(reject, index)
        reading = _corrected(content, fix)
        payload = _encoded(Message(1, boot, seq, [reading]))
        disposition = judge(reading, reject.received_at)
        if disposition != "ok":
            raise RefusedError(f"with this fix it would be {disposition} again")
        metrics = {name: float(value) for name, value in reading.metrics.items()}
        found.append(
            Redriven(
                reject.device_id,
                boot,
                seq,
                reading.ts,
                metrics,
                reject.received_at,
                payload,
                original_id(reject, index),
                reading.ts - fix.clock_ms,
            )
        )
    return found


def _readings(reject: Reject, fix: Fix) -> list[tuple[int, Any]]:
    """Index and content of the row's readings."""
    message = decode_raw(reject.raw)
    if isinstance(message, Message):
        index = reject.reading or 0
        one = message.readings[index]
        return [(index, {"ts": one.ts, "metrics": _renamed(one.metrics, fix.rename)})]
    content = _renamed(_content(reject.raw), fix.rename)
    readings = content.get("readings")
    if not isinstance(readings, list) or not readings:
        raise RefusedError("its payload holds no readings that can be read")
    return [*enumerate(readings)]


def new_ids(reject: Reject) -> list[Id]:
    """The ids that a row's readings get, or got, when they are redriven."""
    places = range(_readings_in(reject.raw)) if reject.reading is None else (reject.reading,)
    return [(reject.device_id or "", *new_id(reject, place)) for place in places]


def _readings_in(raw: bytes) -> int:
    """How many readings a payload shows, whatever else is wrong with it."""
    readings = _content(raw).get("readings")
    return len(readings) if isinstance(readings, list) else 0


def _content(raw: bytes) -> dict[str, Any]:
    """A payload as JSON or CBOR, whatever it means; empty when it is neither."""
    try:
        content = cbor2.loads(raw) if raw and 0x80 <= raw[0] <= 0xBF else json.loads(raw)
    except (ValueError, RecursionError, EOFError, cbor2.CBORDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _renamed(content: Any, rename: Mapping[str, str]) -> Any:
    if isinstance(content, Mapping):
        return {rename.get(name, name): _renamed(value, rename) for name, value in content.items()}
    return [_renamed(one, rename) for one in content] if isinstance(content, list) else content


def _corrected(content: Any, fix: Fix) -> Reading:
    try:
        ts, metrics = content["ts"], dict(content["metrics"])
        if type(ts) is not int or abs(ts + fix.clock_ms) > MAX_INTEGER:
            raise RefusedError(f"its event time is {ts!r:.40}, not ms since 1970")
        for name, scale in fix.scale.items():
            if name in metrics:
                metrics[name] = metrics[name] * scale.factor + scale.offset
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"its reading cannot be read: {error!r:.80}") from None
    return Reading(ts + fix.clock_ms, metrics)


def _encoded(message: Message) -> bytes:
    """:raises RefusedError: when the message breaks the contract still."""
    try:
        return encode(message)
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(str(error)) from None


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


def shown(raw: bytes, limit: int = _SHOWN_BYTES) -> str:
    """Bytes as text that is safe on a terminal: printable characters as they are, everything else
    escaped, at most ``limit`` bytes of it.

    >>> shown(b'{"a": \\x1b[31m1}', 12)
    '{"a": \\\\x1b[31m1… (13 bytes)'
    """
    text = raw[:limit].decode("utf-8", "backslashreplace")
    safe = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    return safe if len(raw) <= limit else f"{safe}… ({len(raw)} bytes)"
