"""The MultiLang protocol: reads lines from the KCL daemon, and writes answers.

Each line is a JSON object. The daemon sends an action and waits for ``status``. Before that, the
child may send ``checkpoint`` and then reads one ``checkpoint`` line as the answer. The source is
``amazon_kclpy`` 3.1.3 and ``software.amazon.kinesis.multilang.messages``.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from consumers.exceptions import ProtocolError
from consumers.kcl.position import Position, position


class StreamRecord(Struct, gc=False, rename="camel"):
    """One record as the KCL hands it over. ``data`` is decoded from base64; the arrival
    timestamp is ms since the epoch."""

    data: bytes
    sequence_number: str
    partition_key: str = ""
    sub_sequence_number: int | None = 0
    approximate_arrival_timestamp: int = 0

    @property
    def position(self) -> Position:
        """Where the record is in its shard."""
        return position(self.sequence_number, self.sub_sequence_number or 0)


class Action(Struct, gc=False, rename="camel"):
    """Any line from the daemon; only the fields of its ``action`` are set."""

    action: str
    shard_id: str = ""
    sequence_number: str | None = None
    sub_sequence_number: int | None = None
    records: list[StreamRecord] = []
    millis_behind_latest: int | None = None
    error: str | None = None
    reason: str | None = None


_decode: Final = msgspec.json.Decoder(Action).decode
_encode: Final = msgspec.json.Encoder().encode


def parse(line: bytes) -> Action:
    """Read one line.

    :raises ProtocolError: when it is not an action.
    """
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a line of the KCL protocol: {error}: {line[:200]!r}") from error


def status_line(response_for: str) -> bytes:
    """The answer to an action that is done; ``response_for`` is its name."""
    return b"\n" + _encode({"action": "status", "responseFor": response_for}) + b"\n"


def checkpoint_line(position: Position | None) -> bytes:
    """Ask for a checkpoint. ``None`` is the end of a closed shard, and nothing else."""
    return (
        b"\n"
        + _encode(
            {
                "action": "checkpoint",
                "sequenceNumber": None if position is None else position.sequence,
                "subSequenceNumber": None if position is None else position.sub,
            }
        )
        + b"\n"
    )
