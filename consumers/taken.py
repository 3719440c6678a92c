"""A record as a shard's worker took it: decoded once, folded later, archived last."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from consumers.judge import OK, Disposition
from consumers.protocol import StreamRecord
from consumers.segment import Position, position
from ingest.message import Message, Rejection, decode_raw
from ingest.record import decode_record


class Taken(Struct, gc=False):
    """One record of the stream.

    ``message`` is ``None`` when the record holds none that can be read; the archive then has one
    row for it, else one a reading. ``disposition`` is that of all its rows, unless
    ``dispositions`` has one for each reading. Both are final only when the record's readings
    have been folded, see :class:`consumers.intake.Intake`. Times are ms; ``raw`` is what the
    device sent, or the record's data where no rule wrote it.
    """

    device: str | None
    received_at: int | None
    arrived_at: int
    sequence_number: str
    sub_sequence: int
    message: Message | None
    raw: bytes
    disposition: Disposition = OK
    dispositions: Sequence[Disposition] | None = None

    @property
    def position(self) -> Position:
        """Where the record is in its shard."""
        return position(self.sequence_number, self.sub_sequence)

    @property
    def rows(self) -> int:
        """How many rows of the archive it is."""
        return 1 if self.message is None else len(self.message.readings)


def take(record: StreamRecord) -> Taken:
    """Decode a record, whatever it holds. Its size does not count here, so neither does its
    data stay: only the payload does, until it is known whether the archive wants it."""
    data, device, received_at = record.data, None, None
    envelope = decode_record(data)
    if type(envelope) is not Rejection:
        device, received_at, data = envelope.device_id, envelope.received_at, envelope.payload
        message = decode_raw(data)
        if type(message) is not Rejection:
            return Taken(
                device,
                received_at,
                record.approximate_arrival_timestamp,
                record.sequence_number,
                record.sub_sequence_number or 0,
                message,
                data,
            )
        envelope = message
    return Taken(
        device,
        received_at,
        record.approximate_arrival_timestamp,
        record.sequence_number,
        record.sub_sequence_number or 0,
        None,
        data,
        envelope.reason,
    )
