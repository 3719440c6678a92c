"""The traces of one shard: sampled messages from their fold to the flush that made them durable.

A message's fold is a span of the message's own trace, whose parent is the device's publish. A flush
writes the windows of many messages, so it is a span of a trace of its own, with a link to each
fold whose readings it made durable in the finest tier; the link names the window.

What is remembered here is lost with the process: its successor folds again and makes new spans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from consumers.config import ChildConfig
from consumers.disposition import OK
from consumers.hot.runs import Kept
from consumers.record import ShardRecord
from ingest.message import Message
from ingest.tables.hot import window_name
from ingest.tiers import Tier
from ingest.traces.context import MARK, TraceContext, context_of
from ingest.traces.otlp import Attributes, Link, Spans

WAITING: Final = 1_000
"""Folded messages that are not durable, at most: those of duplicates never become so."""
DRAIN_S: Final = 2.0


OnDurable = Callable[[str, Sequence[Kept]], None]
"""Called with a device's runs when they are durable."""

OnTraced = Callable[[int, int], None]
"""Called with the trace id of a message and the ``ts`` of a reading of it that is durable."""


class _Folded(Struct):
    """A sampled message, the span of its fold, and how many of its readings are not durable."""

    boot: str
    seq: int
    end: int
    left: int
    context: TraceContext


class _Sampled(Struct):
    device: str
    record: ShardRecord
    message: Message
    parent: TraceContext
    began_ns: int


class ShardTraces:
    """Follows the sampled messages of a shard; :mod:`consumers.shard` calls it at each step."""

    def __init__(
        self,
        spans: Spans,
        shard: str,
        finest: Tier,
        now_ns: Callable[[], int] = time.time_ns,
        on_traced: OnTraced | None = None,
    ) -> None:
        self._on_traced = on_traced
        self._spans = spans
        self._shard = shard
        self._finest = finest
        self._now_ns = now_ns
        self._sampled: list[_Sampled] = []
        self._waiting: dict[str, list[_Folded]] = {}
        self._count = 0
        self._links: list[Link] = []

    def on_read(
        self, device: str, records: Sequence[ShardRecord], messages: Sequence[Message | None]
    ) -> None:
        """A device's records were decoded, and are about to be folded."""
        for record, message in zip(records, messages, strict=True):
            if MARK in record.payload and message is not None:
                parent = context_of(record.payload)
                if parent is not None:
                    began = self._now_ns()
                    self._sampled.append(_Sampled(device, record, message, parent, began))

    def on_folded(self) -> None:
        """Every record that was read is final."""
        sampled, self._sampled = self._sampled, []
        for one in sampled:
            self._fold(one)

    def _fold(self, one: _Sampled) -> None:
        message, accepted = one.message, _accepted(one.record)
        attributes: Attributes = {
            "penstock.device": one.device,
            "penstock.shard": self._shard,
            "penstock.boot": message.boot,
            "penstock.seq": message.seq,
            "penstock.readings": len(message.readings),
            "penstock.accepted": accepted,
        }
        span = self._spans.begin("penstock.fold", one.began_ns, attributes, parent=one.parent)
        span.end(self._now_ns())
        if not accepted:
            return
        if self._count >= WAITING:
            self._waiting.clear()
            self._count = 0
        end = message.seq + len(message.readings)
        folded = _Folded(message.boot, message.seq, end, accepted, span.context)
        self._waiting.setdefault(one.device, []).append(folded)
        self._count += 1

    def on_durable(self, device: str, runs: Sequence[Kept]) -> None:
        """Runs of a window of the finest tier are durable for the first time."""
        if device not in self._waiting:
            return
        left = []
        for folded in self._waiting.pop(device):
            for run in runs:
                self._link(device, folded, run)
            if folded.left > 0:
                left.append(folded)
            else:
                self._count -= 1
        if left:
            self._waiting[device] = left

    def _link(self, device: str, folded: _Folded, run: Kept) -> None:
        """Link a message if readings of it are in the run."""
        first = max(folded.seq, run.seq)
        many = min(folded.end, run.seq + len(run.ts)) - first
        if run.boot != folded.boot or many <= 0:
            return
        folded.left -= many
        ts, size = run.ts[first - run.seq], self._finest.size_ms
        window = window_name(self._finest.name, ts - ts % size)
        attributes: Attributes = {
            "penstock.device": device, "penstock.window": window, "penstock.readings": many,
        }  # fmt: skip
        self._links.append(Link(folded.context, attributes))
        if self._on_traced is not None:
            self._on_traced(folded.context.trace_id, ts)

    def beside(self, durable: OnDurable) -> OnDurable:
        """What a hot store calls when readings are durable: another one's, and this one's."""

        def both(device: str, runs: Sequence[Kept]) -> None:
            durable(device, runs)
            self.on_durable(device, runs)

        return both

    def on_flushed(self, seconds: float) -> None:
        """A flush has ended that took so long: a span, if it made sampled messages durable."""
        if not self._links:
            return
        links, self._links = self._links, []
        ended = self._now_ns()
        attributes: Attributes = {"penstock.shard": self._shard, "penstock.messages": len(links)}
        span = self._spans.begin(
            "penstock.flush", ended - round(seconds * 1e9), attributes, links=links
        )
        span.end(ended)

    def drain(self) -> None:
        """The process may end after this: export what waits."""
        self._spans.flush(DRAIN_S)


def _accepted(record: ShardRecord) -> int:
    """How many of a final record's readings were folded."""
    if record.dispositions is not None:
        return sum(one == OK for one in record.dispositions)
    return record.readings if record.disposition == OK else 0


def open_traces(config: ChildConfig, shard: str, on_traced: OnTraced) -> ShardTraces:
    """The traces of a shard that a worker is configured for."""
    assert config.traces_endpoint is not None
    attributes = {"penstock.stack": config.stack, "penstock.shard": shard}
    spans = Spans(config.traces_endpoint, "penstock-worker", attributes)
    return ShardTraces(spans, shard, config.tiers[0], on_traced=on_traced)
