"""A row of the archive that was not folded."""

from __future__ import annotations

from typing import NamedTuple

Id = tuple[str, str, int]
"""Device, boot, sequence number."""


class Reject(NamedTuple):
    """A row that was not folded. Times are ms; what could not be read is ``None``. ``raw`` is the
    payload of the whole record, of which ``reading`` is the place in the message."""

    device_id: str | None
    ts: int | None
    boot: str | None
    seq: int | None
    received_at: int | None
    arrived_at: int
    shard_id: str
    sequence_number: str
    sub_sequence: int
    reading: int | None
    disposition: str
    raw: bytes

    @property
    def place(self) -> str:
        """The row's name: shard, sequence number, sub-sequence number, and the reading."""
        reading = "" if self.reading is None else f"#{self.reading}"
        return f"{self.shard_id}:{self.sequence_number}.{self.sub_sequence}{reading}"
