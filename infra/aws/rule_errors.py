"""What the topic rule's ``errorAction`` leaves in its queue, and the record that it stands for.

AWS IoT writes one JSON document for a message whose action failed: ``ruleName``, ``topic``,
``cloudwatchTraceId``, ``clientId``, ``base64OriginalPayload``, and for each action in ``failures``
``failedAction``, ``failedResource`` and ``errorMessage`` ("Error handling" in the developer guide).
It does not say when the message came.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ingest.record import encode_record
from ingest.stream import Record
from ingest.topic import device_of


class _RuleError(Struct):
    topic: str
    payload: bytes = msgspec.field(name="base64OriginalPayload")


_decode: Final = msgspec.json.Decoder(_RuleError).decode


def record_of(body: str, queued_at: int) -> Record:
    """The record that the rule would have put into the stream.

    ``queued_at`` (ms) is when the queue took the error, and stands for ``received_at``: the queue
    has it after AWS IoT gave up, so it is later than the rule's own time by its retries.

    :raises ValueError: when this is no error of a telemetry message; the text says why.
    """
    try:
        error = _decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as reason:
        raise ValueError(f"not an error of a topic rule: {reason}") from None
    device = device_of(error.topic)
    if device is None:
        raise ValueError(f"topic {error.topic[:200]!r} is not a device's telemetry")
    return Record(encode_record(error.payload, device, queued_at), device)
