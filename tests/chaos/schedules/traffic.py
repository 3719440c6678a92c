"""What a schedule's devices send: disorder, duplicates, wrong clocks, garbage and poison."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from ingest.record import encode_record
from simulator.load import garbage
from simulator.verification.ledger import OK, Entry
from tests.chaos.schedules.child import POISON
from tests.chaos.schedules.stream import Stream
from tests.harness.shard import NOW, payload

DEVICES: Final = ("dev-a", "dev-b", "dev-c", "dev-d")
BOOTS: Final = ("boot-one", "boot-two")
CLOCK_AHEAD_S: Final = 600


class Traffic:
    """Messages, put into the stream one at a time by the callables of :attr:`puts`."""

    def __init__(self, chance: random.Random, stream: Stream) -> None:
        self._chance = chance
        self._stream = stream
        self.entries: list[Entry] = []
        self.poisoned: Counter[tuple[str, str, int]] = Counter()
        """Identities of readings in records that make the fold raise, with their number."""
        self._times: dict[tuple[str, str, int], int] = {}
        self.puts = self._traffic()

    def _traffic(self) -> Iterator[Callable[[], None]]:
        """Messages with disorder, duplicates, two boots, late and fast clocks, garbage, poison."""
        messages: list[tuple[str, str, int, int, bytes]] = []
        known: list[tuple[str, str, int, int, dict[str, float]]] = []
        for device in DEVICES:
            for boot in BOOTS:
                seq = self._chance.choice([0, 0, 2**53 - 40])
                for _ in range(self._chance.randint(2, 4)):
                    readings = [self._reading() for _ in range(self._chance.randint(1, 4))]
                    self._times |= {
                        (device, boot, seq + i): ts for i, (ts, _) in enumerate(readings)
                    }
                    known += [(device, boot, seq + i, *one) for i, one in enumerate(readings)]
                    messages.append(
                        (device, boot, seq, len(readings), payload(boot, seq, readings))
                    )
                    seq += len(readings) + self._chance.choice([0, 0, 0, 3])
        messages += self._chance.choices(messages, k=6)
        self._chance.shuffle(messages)
        for number, message in enumerate(messages):
            if self._chance.random() < 0.08:
                yield partial(self._put_garbage, number)
            if self._chance.random() < 0.06:
                yield lambda: self._put_poison(*self._chance.choice(known))
            yield partial(self._put, *message)

    def _reading(self) -> tuple[int, dict[str, float]]:
        ts = NOW - self._chance.randint(0, 90_000)
        kind = self._chance.random()
        if kind < 0.02:
            ts = NOW - 30 * 86_400_000
        elif kind < 0.04:
            ts = NOW + 2 * CLOCK_AHEAD_S * 1000
        elif kind < 0.10:
            ts = NOW - 2 * 3_600_000  # too late for the finer tier only
        metrics = {"temperature": self._chance.uniform(-9, 9)}
        if self._chance.random() < 0.3:
            metrics["door_open"] = float(self._chance.random() < 0.5)
        if kind > 0.99:
            metrics["temperature"] = 1e300
        return ts, metrics

    def _put(
        self, device: str, boot: str, seq: int, count: int, data: bytes, expect: str = OK
    ) -> None:
        self.entries.append(
            Entry(len(self.entries), device, boot, seq, count, data, expect, NOW, NOW)
        )
        self._record(device, encode_record(data, device, NOW))

    def _put_garbage(self, number: int) -> None:
        made = garbage.make(self._chance, number)
        device = self._chance.choice(DEVICES)
        self._put(device, "garbage0", number, 0, made.message.payload, made.expect)

    def _put_poison(
        self, device: str, boot: str, seq: int, ts: int, good: dict[str, float]
    ) -> None:
        """A good reading, sent elsewhere as well, before one that makes the fold raise; that one
        has the identity and the time of another good one."""
        next_ts = self._times.get((device, boot, seq + 1), NOW)
        if not NOW - 90_000 <= next_ts <= NOW:  # it would not be folded
            next_ts = NOW
        readings = [(ts, good), (next_ts, {"temperature": 0.0, POISON: 1.0})]
        for i in range(2):
            self.poisoned[device, boot, seq + i] += 1
        self._record(device, encode_record(payload(boot, seq, readings), device, NOW))

    def _record(self, device: str, data: bytes) -> None:
        self._stream.put(DEVICES.index(device), len(DEVICES), device, data)
