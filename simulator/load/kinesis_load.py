"""Load that bypasses the broker: straight into Kinesis, exactly the records the rule writes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from devices.batch import BatchLimits, Outgoing
from ingest.record import encode_record
from ingest.stream import KinesisPuts, Record, put_all
from simulator.load.batcher import Batcher
from simulator.load.fleet import BATCH_BYTES, Load
from simulator.signals import kind_of, reader
from simulator.verification.ledger import Ledger


def load_stream(
    client: KinesisPuts,
    stream: str,
    devices: Sequence[str],
    load: Load,
    ledger: Ledger,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Drive the load's rate of all devices together, in slices of a tenth of a second.

    A message counts as acknowledged when the stream has it.

    :raises PutError: when the stream refuses records for good.
    """
    chance = random.Random(load.seed)
    batchers = {name: Batcher(BatchLimits(load.batch, BATCH_BYTES)) for name in devices}
    readers = {name: reader(load.seed, name, kind_of(i)) for i, name in enumerate(devices)}
    total = round(load.seconds * load.rate) * len(devices)
    started, done = time.monotonic(), 0
    while done < total and not stopping():
        due = min(total, int((time.monotonic() - started) * load.rate * len(devices)) + 1)
        sent: list[tuple[str, Outgoing]] = []
        for number in range(done, due):
            name = devices[number % len(devices)]
            sent += [(name, m) for m in _message(batchers[name], readers[name], load.batch)]
        chance.shuffle(sent)  # devices take turns in no order; each one's own order is kept below
        sent.sort(key=lambda one: one[1].seq)
        _put(client, stream, sent, ledger)
        done = max(due, done)
        if done < total:
            time.sleep(0.1)


def _message(
    batcher: Batcher, read: Callable[[int], dict[str, float | bool]], count: int
) -> list[Outgoing]:
    """One message of ``count`` readings a ms apart, the last of them made now."""
    now = time.time_ns() // 1_000_000
    return [
        message for ts in range(now - count + 1, now + 1) for message in batcher.add(ts, read(ts))
    ]


def _put(
    client: KinesisPuts, stream: str, sent: Sequence[tuple[str, Outgoing]], ledger: Ledger
) -> None:
    now = time.time_ns() // 1_000_000
    for name, message in sent:
        ledger.sending(name, message)
    put_all(client, stream, [Record(encode_record(m.payload, name, now), name) for name, m in sent])
    for name, message in sent:
        ledger.acknowledged(name, message)
