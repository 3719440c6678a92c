"""Decides which rejects are put into the stream again, and waits until the archive has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from consumers.disposition import OK
from ingest.message import Reading
from ingest.record import encode_record
from ingest.stream import Record
from lake.rejects.fix import Fix, Redriven, RefusedError, redriven
from lake.rejects.reject import Id, Reject
from lake.replay.rows import Selection
from lake.replay.source import ArchiveSource


class Plan(Struct):
    """What a redrive will do. ``send`` are readings by their new ids; the others are counted:
    ``repeated`` ones in several rows, ``accepted`` ones that the archive has as ``ok`` under the id
    that the device gave them, ``done`` ones that were redriven before, ``refused`` ones by reason.
    """

    send: dict[Id, Redriven] = field(default_factory=dict)
    repeated: int = 0
    accepted: int = 0
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def records(self) -> Sequence[Record]:
        """What to put into the stream: as the topic rule would have, at the time at which it
        received the reading."""
        return [
            Record(encode_record(one.payload, one.device_id, one.received_at), one.device_id)
            for one in self.send.values()
        ]


def plan(
    rejects: Iterable[Reject],
    fix: Fix,
    judge: Callable[[Reading, int], str],
    redriven_before: Mapping[Id, str],
    accepted: Callable[[Sequence[Redriven]], set[Id]],
) -> Plan:
    """Decide for each row. ``accepted`` answers which of the readings' original ids the archive has
    as ``ok``: a reading that was folded when it came another time must not count again."""
    result = Plan()
    found: list[Redriven] = []
    for reject in rejects:
        try:
            found += redriven(reject, fix, judge)
        except RefusedError as error:
            result.refused[str(error)] += 1
    counted = accepted(found)
    for one in found:
        key = (one.device_id, one.boot, one.seq)
        if one.original is not None and (one.device_id, *one.original) in counted:
            result.accepted += 1
        elif redriven_before.get(key) == OK:
            result.done += 1
        elif key in result.send:
            result.repeated += 1
        else:
            result.send[key] = one
    return result


def accepted_ids(source: ArchiveSource, readings: Sequence[Redriven]) -> set[Id]:
    """The original ids of readings that the archive has as ``ok``. A device that sends a reading
    again sends it with the same event time, so segments without these times are passed over."""
    known = {(one.device_id, *one.original) for one in readings if one.original is not None}
    if not known:
        return set()
    times = [one.original_ts for one in readings]
    devices = frozenset(device for device, _, _ in known)
    selection = Selection(min(times), max(times) + 1, devices)
    found: set[Id] = set()
    for records in source.read(source.listed(selection), selection):
        for record in records:
            message = record.message
            ids = ((record.device or "", message.boot, message.seq + place)
                   for place in range(record.readings))  # fmt: skip
            found.update(one for one in ids if one in known)
    return found
