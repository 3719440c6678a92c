"""A collector that keeps what it is sent: OTLP over HTTP, protobuf."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingest.traces.context import TraceContext


class Link(NamedTuple):
    """A link of a span."""

    context: TraceContext
    attributes: dict[str, Any]


class Span(NamedTuple):
    """A span as a collector sees it; times are ns since 1970."""

    name: str
    service: str
    context: TraceContext
    parent_id: int
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    links: list[Link]


class Collector:
    """Keeps spans in the order in which they came."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces", self.path
            collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for one in scope.spans:
                links = [Link(_context(link), _values(link.attributes)) for link in one.links]
                yield Span(
                    one.name, service, _context(one), int.from_bytes(one.parent_span_id),
                    one.start_time_unix_nano, one.end_time_unix_nano, one.status.code == 2,
                    _values(one.attributes), links,
                )  # fmt: skip


def _context(one: Any) -> TraceContext:
    return TraceContext(int.from_bytes(one.trace_id), int.from_bytes(one.span_id))


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
