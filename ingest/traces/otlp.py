"""Spans, exported by OpenTelemetry over HTTP (OTLP, protobuf) to a collector.

OpenTelemetry is imported when a :class:`Spans` is made, and not before: a process without traces
does not pay for it. Exports happen on a thread of their own, in batches, and fail without a harm:
what a collector does not take is dropped.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ingest.traces.context import TraceContext

PATH: Final = "/v1/traces"
"""Where a collector takes traces ("OTLP/HTTP request",
https://opentelemetry.io/docs/specs/otlp/#otlphttp-request)."""
EXPORT_MS: Final = 1_000
"""How long a span waits for others (ms)."""

LINKS: Final = 1_000
"""Links of one span at most; OpenTelemetry's own default is 128."""

Attributes = Mapping[str, str | int | float]


class TracesError(Exception):
    """Traces are asked for and cannot be exported; the text says what to do."""


class Link(NamedTuple):
    """A span of another trace that this one has taken further."""

    context: TraceContext
    attributes: Attributes


class OpenSpan:
    """A span that has begun."""

    def __init__(self, span: Any) -> None:
        self._span = span
        found = span.get_span_context()
        self.context = TraceContext(found.trace_id, found.span_id)

    def end(self, at_ns: int, error: str = "") -> None:
        """It ended at a time (ns since 1970), with an error or without."""
        if error:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(at_ns)


class Spans:
    """Makes spans of one service and exports them. Every span that it makes is sampled: who calls
    it has decided that."""

    def __init__(self, endpoint: str, service: str, attributes: Attributes) -> None:
        """``endpoint`` is a collector's address; ``attributes`` are the resource's.

        :raises TracesError: when OpenTelemetry is not installed.
        """
        require()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        resource = Resource.create({"service.name": service, **attributes})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, span_limits=SpanLimits(max_links=LINKS)
        )
        exporter = OTLPSpanExporter(endpoint=traces_url(endpoint))
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MS)
        )
        self._tracer = self._provider.get_tracer("penstock")

    def begin(
        self,
        name: str,
        at_ns: int,
        attributes: Attributes,
        *,
        parent: TraceContext | None = None,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        """Begin a span at a time (ns since 1970): of a parent's trace, or of a new one."""
        from opentelemetry import trace

        of = trace.set_span_in_context(trace.NonRecordingSpan(_remote(parent))) if parent else None
        span = self._tracer.start_span(
            name,
            context=of,
            attributes=dict(attributes),
            links=[trace.Link(_remote(link.context), dict(link.attributes)) for link in links],
            start_time=at_ns,
        )
        return OpenSpan(span)

    def flush(self, timeout_s: float) -> None:
        """Export what waits, or give up after a time."""
        self._provider.force_flush(int(timeout_s * 1000))

    def close(self) -> None:
        """Export what waits, and end the thread."""
        self._provider.shutdown()


def preload() -> None:
    """Import OpenTelemetry: for a process that is forked for those that make spans."""
    import opentelemetry.exporter.otlp.proto.http.trace_exporter
    import opentelemetry.sdk.trace.export  # noqa: F401


def require() -> None:
    """:raises TracesError: when OpenTelemetry is not installed."""
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise TracesError(
            "traces are exported by OpenTelemetry, which is not installed: pip install "
            "'penstock[traces]', or leave `endpoint` of the setting `traces` out"
        )


def traces_url(endpoint: str) -> str:
    """Where a collector takes traces: its address, with OTLP's path unless it has one.

    >>> traces_url("http://127.0.0.1:4318")
    'http://127.0.0.1:4318/v1/traces'
    """
    has_path = urlsplit(endpoint).path not in ("", "/")
    return endpoint if has_path else endpoint.rstrip("/") + PATH


def _remote(context: TraceContext) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=TraceFlags(1))
