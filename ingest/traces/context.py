"""The ``trace`` field of a payload: which trace a sampled message belongs to.

It holds a ``traceparent`` (https://www.w3.org/TR/trace-context/#traceparent-header). Payload v1
ignores unknown fields, so consumers of any version take such a message; one whose field is no
``traceparent``, or is not sampled, is a message without a trace.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from ingest.message import MAX_PAYLOAD_BYTES

MARK: Final = b"trace"
"""Bytes that are in every payload with a trace, JSON or CBOR: the cheap test before anything is
parsed."""

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 1


class _Traced(Struct):
    trace: str | None = None


_decode: Final = msgspec.json.Decoder(_Traced).decode


class TraceContext(NamedTuple):
    """A span of a trace that is sampled."""

    trace_id: int
    span_id: int

    def __str__(self) -> str:
        """As a ``traceparent``.

        >>> str(TraceContext(1, 2))
        '00-00000000000000000000000000000001-0000000000000002-01'
        """
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"


def parse(text: str) -> TraceContext | None:
    """The context in a ``traceparent``; ``None`` when it is none, or is not sampled."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or not int(match[3], 16) & _SAMPLED:
        return None
    found = TraceContext(int(match[1], 16), int(match[2], 16))
    return found if found.trace_id and found.span_id else None


def context_of(payload: bytes) -> TraceContext | None:
    """The trace of a payload that is a message. Never raises."""
    if MARK not in payload:
        return None
    try:
        text = _decode(payload).trace if payload.startswith(b"{") else _of_other(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return parse(text) if isinstance(text, str) else None


def with_trace(payload: bytes, context: TraceContext) -> bytes:
    """A device's own payload with a trace; without one where it would become too large. It may be
    JSON or CBOR, as :func:`ingest.message.encode` writes it.

    >>> with_trace(b'{"v":1}', TraceContext(1, 2))[:16]
    b'{"v":1,"trace":"'
    """
    text = str(context).encode()
    if payload.startswith(b"{"):
        traced = payload[:-1] + b',"trace":"' + text + b'"}'
    else:  # a map of few entries has their number in its first byte
        traced = (
            bytes([payload[0] + 1]) + payload[1:] + b"\x65trace\x78" + bytes([len(text)]) + text
        )
    return traced if len(traced) <= MAX_PAYLOAD_BYTES else payload


def _of_other(payload: bytes) -> Any:
    """Of CBOR, or of JSON that begins with white space."""
    if not 0x80 <= payload[0] <= 0xBF:
        return _decode(payload).trace
    from ingest import cbor  # with the first such payload

    document = cbor.decode(payload)
    return document.get("trace") if isinstance(document, dict) else None
