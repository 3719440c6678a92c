"""A record of the stream as a shard's process holds it, from its arrival until it is archived.

The payload stays the bytes that it came as. A decoded message takes four times the memory, and
has left the processor's caches by the time that it is needed again; so it is decoded twice, once to
be folded and once to be archived, which is quicker than keeping it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from consumers.disposition import OK, Disposition
from consumers.kcl.position import Position, position
from consumers.kcl.protocol import StreamRecord
from ingest.record import Envelope, decode_record

NOT_FOLDED: Final = -1
"""``ShardRecord.readings`` of a record that waits to be folded."""


class ShardRecord(Struct, gc=False):
    """One record. ``payload`` is what the device sent, or the record's data where no rule wrote it;
    ``device`` is ``None`` then. Times are ms since the epoch.

    The fold queue and the archive share the record. It is *final* when the fold queue has folded
    it: from then on ``readings`` (how many its message has, 0 when it holds no message) is not
    :data:`NOT_FOLDED` and nothing of the record changes any more. The archive encodes final records
    only, and refuses others: one row a reading, or one row for a record without readings.
    ``disposition`` is that of all rows unless ``dispositions`` has one for each.
    """

    device: str | None
    received_at: int
    arrived_at: int
    sequence_number: str
    sub_sequence: int
    payload: bytes
    disposition: Disposition = OK
    dispositions: Sequence[Disposition] | None = None
    readings: int = NOT_FOLDED

    @property
    def position(self) -> Position:
        """Where the record is in its shard."""
        return position(self.sequence_number, self.sub_sequence)


def open_record(record: StreamRecord) -> ShardRecord:
    """Read the envelope that the topic rule wrote. Never raises: a record that no rule wrote is
    final at once, without a device."""
    envelope = decode_record(record.data)
    if isinstance(envelope, Envelope):
        return ShardRecord(
            envelope.device_id,
            envelope.received_at,
            record.approximate_arrival_timestamp,
            record.sequence_number,
            record.sub_sequence_number or 0,
            envelope.payload,
        )
    return ShardRecord(
        None,
        0,
        record.approximate_arrival_timestamp,
        record.sequence_number,
        record.sub_sequence_number or 0,
        record.data,
        envelope.reason,
        None,
        0,
    )
