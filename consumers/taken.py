"""A record as a shard's worker took it: decoded once, folded later, archived last."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from consumers.judge import OK, Disposition
from consumers.segment import Position, position
from ingest.message import Message


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
