"""Which quarantined readings are folded after a schema grew. Pure.

A reading is put into the stream again as its device sent it, under its own identity (decision 36):
nothing of it is corrected, so it falls into the windows whose ids protect it. Admitted twice, or
sent again by its device, it counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from ingest.message import Message, decode, encode
from ingest.record import encode_record
from ingest.stream import Record
from lake.rejects.fix import Redriven
from lake.rejects.reject import Id, Reject

Quarantines = Callable[[str, Mapping[str, float]], bool]
"""Whether the schemas of today quarantine a device's reading."""


class Admission(Struct):
    """What will be put: readings by identity. The others are counted: ``repeated`` ones in several
    rows, ``accepted`` ones that the archive has as ``ok``, ``outside`` ones that would be
    quarantined again."""

    send: dict[Id, Redriven] = field(default_factory=dict)
    repeated: int = 0
    accepted: int = 0
    outside: int = 0

    def records(self) -> Sequence[Record]:
        """What to put into the stream: as the topic rule would have, at the time at which it
        received the reading."""
        return [
            Record(encode_record(one.payload, one.device_id, one.received_at), one.device_id)
            for one in self.send.values()
        ]


def plan_of(
    rejects: Iterable[Reject],
    quarantines: Quarantines,
    accepted: Callable[[Sequence[Redriven]], set[Id]],
) -> Admission:
    """Decide for each row. ``accepted`` answers which of the readings the archive has as ``ok``."""
    result = Admission()
    found: dict[Id, Redriven] = {}
    for reject in rejects:
        one = as_sent(reject)
        if one is None:
            continue
        key = (one.device_id, one.boot, one.seq)
        if key in found:
            result.repeated += 1
        elif quarantines(one.device_id, one.metrics):
            result.outside += 1
        else:
            found[key] = one
    counted = accepted(list(found.values()))
    result.send = {key: one for key, one in found.items() if key not in counted}
    result.accepted = len(found) - len(result.send)
    return result


def as_sent(reject: Reject) -> Redriven | None:
    """The reading of a quarantined row as a message with it alone; ``None`` for another row."""
    if reject.disposition != "quarantined" or reject.device_id is None or reject.reading is None:
        return None
    message = decode(reject.raw)
    if not isinstance(message, Message):
        return None
    reading, seq = message.readings[reject.reading], message.seq + reject.reading
    return Redriven(
        reject.device_id,
        message.boot,
        seq,
        reading.ts,
        reading.metrics,
        reject.received_at or 0,
        encode(Message(1, message.boot, seq, [reading])),
        (message.boot, seq),
        reading.ts,
    )
