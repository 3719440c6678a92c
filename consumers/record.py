"""A record as a shard's worker took it: opened at once, read when it is folded, archived last.

The payload stays the bytes that it came as. A decoded message takes four times the memory, and
by the time that its readings are folded it would have left the processor's caches; decoding it
where it is used, once to fold and once to archive, is quicker than keeping it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from consumers.disposition import OK, Disposition
from consumers.kcl.position import Position, position
from consumers.kcl.protocol import StreamRecord
from ingest.record import Envelope, decode_record


class Taken(Struct, gc=False):
    """One record of the stream.

    ``payload`` is what the device sent, or the record's data where no rule wrote it.
    ``readings`` and the dispositions are final when the record has been folded, see
    :class:`consumers.shard.fold_queue.Intake`; no readings means that none can be read, and that
    the archive has one row for the record, else one a reading. ``disposition`` is that of all rows,
    unless ``dispositions`` has one for each. Times are ms.
    """

    device: str | None
    received_at: int
    arrived_at: int
    sequence_number: str
    sub_sequence: int
    payload: bytes
    disposition: Disposition = OK
    dispositions: Sequence[Disposition] | None = None
    readings: int = 0

    @property
    def position(self) -> Position:
        """Where the record is in its shard."""
        return position(self.sequence_number, self.sub_sequence)


def take(record: StreamRecord) -> Taken:
    """Open a record, whatever it holds. Without a ``device`` it is none of the topic rule's."""
    envelope = decode_record(record.data)
    if isinstance(envelope, Envelope):
        return Taken(
            envelope.device_id,
            envelope.received_at,
            record.approximate_arrival_timestamp,
            record.sequence_number,
            record.sub_sequence_number or 0,
            envelope.payload,
        )
    return Taken(
        None,
        0,
        record.approximate_arrival_timestamp,
        record.sequence_number,
        record.sub_sequence_number or 0,
        record.data,
        envelope.reason,
    )
