"""Traces of a device: a share of its messages carries the context of a trace.

The share is taken when a message is sent. With a collector's address the device exports the span of
the publish itself, from the send to the broker's acknowledgement; without one it only gives the
trace its id, and needs no OpenTelemetry.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ingest.traces.context import TraceContext
from ingest.traces.otlp import Attributes, OpenSpan, Spans


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """``sample`` is the share of messages (0 to 1), ``endpoint`` a collector's address.

    :raises ValueError: when the share is none.
    """

    sample: float = 0.0
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sample <= 1:
            raise ValueError(f"a share of messages is 0 to 1, not {self.sample}")


class Publish:
    """A message that is being published as part of a trace."""

    def __init__(self, context: TraceContext, span: OpenSpan | None) -> None:
        self.context = context
        self._span = span

    def end(self, *, acknowledged: bool) -> None:
        """The broker has acknowledged it, or the connection has ended."""
        if self._span is not None:
            self._span.end(time.time_ns(), "" if acknowledged else "not acknowledged")


class PublishTraces:
    """Decides which messages are sampled, and makes their spans."""

    def __init__(
        self,
        options: TraceOptions,
        device_id: str,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """:raises TracesError: when there is an endpoint and no OpenTelemetry."""
        self._sample = options.sample
        self._device = device_id
        self._chance = chance
        self._spans: Spans | None = None
        if options.endpoint is not None and options.sample > 0:
            self._spans = Spans(options.endpoint, "penstock-device", {"penstock.device": device_id})

    def begin(self, boot: str, seq: int, readings: int) -> Publish | None:
        """A message is about to be sent; ``None`` when it is not sampled."""
        if self._chance() >= self._sample:
            return None
        if self._spans is None:
            context = TraceContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1)
            return Publish(context, None)
        attributes: Attributes = {
            "penstock.device": self._device,
            "penstock.boot": boot,
            "penstock.seq": seq,
            "penstock.readings": readings,
        }
        span = self._spans.begin("penstock.publish", time.time_ns(), attributes)
        return Publish(span.context, span)

    def close(self) -> None:
        """Export what waits."""
        if self._spans is not None:
            self._spans.close()
