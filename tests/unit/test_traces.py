"""Traces: the field of the payload, the spans of sampled messages, and what is exported."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.config import child_config
from consumers.shard.processor import ShardProcessor
from consumers.shard.report import TRACED_KEPT, ShardStats, Traced
from consumers.traces.shard_traces import WAITING, ShardTraces
from devices.mqtt.traces import PublishTraces, TraceOptions
from ingest.message import MAX_PAYLOAD_BYTES, VERSION, Content, Message, Reading, decode, encode
from ingest.settings import Settings, SettingsError, load
from ingest.traces.context import MARK, TraceContext, context_of, parse, with_trace
from ingest.traces.otlp import Spans, TracesError
from tests.harness.otlp import collecting
from tests.harness.shard import NOW, TIERS, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

CONTEXT = TraceContext(0xABC, 0xDEF)
MESSAGE = Message(VERSION, "boot-0001", 7, [Reading(NOW, {"a": 1.0})])


@pytest.mark.parametrize("content", ["json", "cbor"])
def test_a_message_with_a_trace_is_the_same_message_to_every_consumer(content: Content) -> None:
    plain = encode(MESSAGE, content)
    traced = with_trace(plain, CONTEXT)
    assert decode(traced) == decode(plain) == MESSAGE
    assert context_of(traced) == CONTEXT
    assert context_of(plain) is None


def test_the_largest_message_has_no_trace() -> None:
    plain = b"{" + b" " * (MAX_PAYLOAD_BYTES - 2) + b"}"
    assert with_trace(plain, CONTEXT) == plain


@pytest.mark.parametrize(
    "field",
    [
        "1", "null", "{}", '""', '"x"', '"00-abc-def-01"', '["00"]',
        '"00-' + "0" * 32 + "-" + "1" * 16 + '-01"',  # no trace id
        '"00-' + "1" * 32 + "-" + "1" * 16 + '-00"',  # not sampled
        '"01-' + "1" * 32 + "-" + "1" * 16 + '-01"',  # of a later version
        '"00-' + "A" * 32 + "-" + "1" * 16 + '-01"',
    ],
)  # fmt: skip
def test_a_field_that_is_no_sampled_traceparent_is_no_trace_and_no_reason_to_reject(
    field: str,
) -> None:
    traced = encode(MESSAGE)[:-1] + b',"trace":' + field.encode() + b"}"
    assert context_of(traced) is None
    assert decode(traced) == MESSAGE


def test_a_metric_called_trace_is_no_trace() -> None:
    assert (
        context_of(encode(Message(VERSION, "boot-0001", 0, [Reading(1, {"trace": 1.0})]))) is None
    )
    assert context_of(MARK) is None
    assert context_of(b"\xa1\x65trace\x01") is None
    assert parse(str(CONTEXT)) == CONTEXT


class Played:
    """A span of :class:`Recorder`."""

    def __init__(self, number: int) -> None:
        self.context = TraceContext(number, number)
        self.ended: int | None = None

    def end(self, at_ns: int, error: str = "") -> None:
        self.ended = at_ns


class Recorder:
    """In place of :class:`ingest.traces.otlp.Spans`: what was begun."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, dict[str, Any], Played]] = []

    def begin(self, name: str, at_ns: int, attributes: Any, **more: Any) -> Played:
        span = Played(1000 + len(self.begun))
        self.begun.append((name, {**attributes, **more, "at": at_ns}, span))
        return span

    def flush(self, timeout_s: float) -> None:
        self.begun.append(("drained", {"within": timeout_s}, Played(1)))

    def names(self) -> list[str]:
        return [name for name, _, _ in self.begun]


def _worker(shard: Shard) -> tuple[ShardProcessor, Recorder]:
    recorder = Recorder()
    traces = ShardTraces(recorder, shard.name, TIERS[0], lambda: 5_000_000_000)  # type: ignore[arg-type]
    return open_worker(shard, MemoryDynamo(), MemoryS3(), lambda: 0.0, traces=traces), recorder


def _put(shard: Shard, device: str, seq: int, count: int, context: TraceContext | None) -> None:
    readings = [(NOW + i * 1000, {"a": 1.0}) for i in range(seq, seq + count)]
    data = payload("boot-0001", seq, readings)
    shard.put(device, with_trace(data, context) if context else data, NOW, NOW + 20_000)


def test_a_sampled_message_is_linked_to_each_window_that_it_became_durable_in() -> None:
    shard = Shard()
    _put(shard, "d-1", 0, 3, None)
    _put(shard, "d-1", 8, 4, CONTEXT)  # 8 to 11 s: two windows of 10 s
    _put(shard, "d-2", 0, 1, TraceContext(5, 5))
    worker, recorder = _worker(shard)
    worker.process(shard.records)
    worker.commit()
    folds = [(made, span) for name, made, span in recorder.begun if name == "penstock.fold"]
    assert [(made["parent"], made["penstock.seq"]) for made, _ in folds] == [
        (CONTEXT, 8),
        (TraceContext(5, 5), 0),
    ]
    (flush,) = [made for name, made, _ in recorder.begun if name == "penstock.flush"]
    links = {
        (link.context, link.attributes["penstock.window"]): link.attributes["penstock.readings"]
        for link in flush["links"]
    }
    assert links == {
        (folds[0][1].context, "10s#2026-11-23T08:00:00Z"): 2,
        (folds[0][1].context, "10s#2026-11-23T08:00:10Z"): 2,
        (folds[1][1].context, "10s#2026-11-23T08:00:00Z"): 1,
    }
    worker.process([])
    worker.commit()
    assert recorder.names().count("penstock.flush") == 1


def test_a_message_that_became_durable_is_told_with_its_trace_and_its_newest_last() -> None:
    told: list[tuple[int, int]] = []
    shard = Shard()
    _put(shard, "d-1", 8, 4, CONTEXT)
    traces = ShardTraces(
        Recorder(), shard.name, TIERS[0], lambda: 0,  # type: ignore[arg-type]
        on_traced=lambda trace, ts: told.append((trace, ts)),
    )  # fmt: skip
    worker = open_worker(shard, MemoryDynamo(), MemoryS3(), lambda: 0.0, traces=traces)
    worker.process(shard.records)
    worker.commit()
    assert {ts for _, ts in told} == {NOW + 8_000, NOW + 10_000}
    stats = ShardStats("s-0", lambda: NOW + 10_750, write=lambda _: None)
    for number in range(TRACED_KEPT + 2):
        stats.on_traced(number, NOW + 10_000)
    assert len(stats.report.traced) == TRACED_KEPT
    assert stats.report.traced[-1] == Traced(f"{TRACED_KEPT + 1:032x}", 750, NOW + 10_750)


def test_a_message_that_is_not_folded_is_a_fold_without_a_flush() -> None:
    shard = Shard()
    late = payload("boot-0001", 0, [(NOW - 40 * 86_400_000, {"a": 1.0})])
    shard.put("d-1", with_trace(late, CONTEXT), NOW, NOW)
    worker, recorder = _worker(shard)
    worker.process(shard.records)
    worker.commit()
    assert recorder.names() == ["penstock.fold"]
    assert recorder.begun[0][1]["penstock.accepted"] == 0


def test_duplicates_that_never_become_durable_are_forgotten() -> None:
    shard = Shard()
    _put(shard, "d-1", 9, 1, CONTEXT)
    for _ in range(WAITING + 5):
        _put(shard, "d-1", 0, 1, CONTEXT)
    _put(shard, "d-1", 1, 1, CONTEXT)
    worker, recorder = _worker(shard)
    worker.process(shard.records[:1])
    worker.process(shard.records[1:])  # the window was just written: they are flushed together
    worker.commit()
    _, flush = [made for name, made, _ in recorder.begun if name == "penstock.flush"]
    assert len(flush["links"]) < 10


def test_a_worker_that_stops_exports_what_waits() -> None:
    worker, recorder = _worker(Shard())
    worker.shut_down()
    assert recorder.names() == ["drained"]


def test_a_collector_gets_spans_with_parents_and_links() -> None:
    with collecting() as collector:
        spans = Spans(collector.endpoint, "penstock-worker", {"penstock.stack": "plant-7"})
        fold = spans.begin("penstock.fold", 10, {"penstock.seq": 7}, parent=CONTEXT)
        fold.end(20)
        failed = spans.begin("penstock.publish", 10, {})
        failed.end(30, "not acknowledged")
        spans.close()
        first, second = collector.spans
    assert first.context == fold.context
    assert (first.context.trace_id, first.parent_id) == CONTEXT
    assert (first.start_ns, first.end_ns, first.failed) == (10, 20, False)
    assert first.service == "penstock-worker"
    assert first.attributes == {"penstock.seq": 7}
    assert second.failed
    assert second.parent_id == 0


def test_a_collector_that_is_away_harms_nobody() -> None:
    with collecting() as collector:
        gone = collector.endpoint
    spans = Spans(gone, "penstock-worker", {})
    spans.begin("penstock.fold", 1, {}).end(2)
    spans.flush(0.2)


def test_a_device_traces_the_share_that_it_is_told() -> None:
    chances = iter([0.0, 0.24, 0.25, 0.9])
    traces = PublishTraces(TraceOptions(0.25), "d-1", chance=lambda: next(chances))
    begun = [traces.begin("boot-0001", seq, 1) for seq in range(4)]
    assert [one is not None for one in begun] == [True, True, False, False]
    with pytest.raises(ValueError, match="0 to 1"):
        TraceOptions(1.5)


def test_without_traces_a_device_publishes_none() -> None:
    assert PublishTraces(TraceOptions(), "d-1").begin("boot-0001", 0, 1) is None


def test_spans_without_opentelemetry_are_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TracesError, match=r"pip install 'penstock\[traces\]'"):
        PublishTraces(TraceOptions(0.5, "http://127.0.0.1:4318"), "d-1")
    assert PublishTraces(TraceOptions(0.5), "d-1", chance=lambda: 0.0).begin("b", 0, 1)


def test_traces_are_a_setting_that_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    off = Settings().traces
    assert (off.sample, off.endpoint) == (0.0, None)
    assert child_config(Settings(), "1").traces_endpoint is None
    monkeypatch.setenv("PENSTOCK_TRACES", '{"sample": 0.5, "endpoint": "http://127.0.0.1:4318"}')
    on = load()
    assert (on.traces.sample, child_config(on, "1").traces_endpoint) == (
        0.5,
        "http://127.0.0.1:4318",
    )
    monkeypatch.setenv("PENSTOCK_TRACES", '{"sample": 2}')
    with pytest.raises(SettingsError, match="traces"):
        load()
