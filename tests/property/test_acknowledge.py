"""Acknowledgements name exactly what is in both stores, and arrive as they were meant."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from consumers.shard.acknowledgement_publisher import ATTEMPTS, Publisher, ShardAcknowledger
from consumers.shard.acknowledgements import Acknowledgement, UnacknowledgedIds
from consumers.shard.processor import ShardProcessor
from ingest.acknowledgement import cut, parse
from tests.harness.segment_buffer import decode_rows
from tests.harness.shard import NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

BOOTS = st.sampled_from(["boot-one", "boot-two", "boot-three"])
SPANS = st.lists(st.tuples(BOOTS, st.integers(0, 3000), st.integers(1, 9)), max_size=60)


def ids_of(payloads: Sequence[bytes]) -> set[tuple[str, int]]:
    """What a device reads from these messages."""
    return {
        (boot, seq)
        for payload in payloads
        for boot, ranges in parse(payload).items()
        for first, last in ranges
        for seq in range(first, last + 1)
    }


@given(SPANS)
def test_a_device_is_acknowledged_exactly_what_was_read(spans: Any) -> None:
    taken = UnacknowledgedIds("penstock")
    for boot, seq, readings in spans:
        taken.add("pump-1", boot, seq, readings)
    messages = taken.pop_all()
    assert {message.topic for message in messages} <= {"ack/penstock/pump-1"}
    expected = {(boot, seq + i) for boot, seq, readings in spans for i in range(readings)}
    assert ids_of([message.payload for message in messages]) == expected
    assert taken.pop_all() == []


@given(SPANS, st.integers(60, 200))
def test_ranges_are_cut_into_messages_that_fit_and_none_is_lost(spans: Any, limit: int) -> None:
    taken = UnacknowledgedIds("penstock")
    for boot, seq, readings in spans:
        taken.add("pump-1", boot, seq, readings)
    dump = taken._devices["pump-1"].dump() if spans else {}
    parts = list(cut(dump, limit))
    assert ids_of([json.dumps({"boots": part}).encode() for part in parts]) == ids_of(
        [json.dumps({"boots": dump}).encode()]
    )
    for part in parts:
        assert sum(len(boot) + len(text) + 6 for boot, text in part.items()) <= limit


@given(st.binary(max_size=100) | st.builds(lambda t: json.dumps({"boots": {"b": t}}).encode(),
                                            st.text("0123456789-, ", max_size=30)))  # fmt: skip
def test_a_malformed_acknowledgement_is_refused_whole(payload: bytes) -> None:
    try:
        boots = parse(payload)
    except ValueError:
        return
    for ranges in boots.values():
        assert ranges
        assert all(first <= last for first, last in ranges)
        assert all(a[1] < b[0] for a, b in pairwise(ranges))


@pytest.mark.parametrize("text", ["", "3-1", "1,1", "1-5,3", "-1", "1-", "9" * 17, "1,,2", "1 - 2"])
def test_ranges_that_no_worker_writes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        parse(json.dumps({"boots": {"boot-one": text}}).encode())


class Told:
    """Stands for the broker: what was published of what a worker's stores hold by then."""

    def __init__(self, dynamo: MemoryDynamo, s3: MemoryS3) -> None:
        self.stores = dynamo, s3
        self.taken = UnacknowledgedIds("penstock")
        self.archived: list[UnacknowledgedIds] = []
        self.ids: set[tuple[str, int]] = set()

    def add(self, device: str, boot: str, seq: int, readings: int) -> None:
        self.taken.add(device, boot, seq, readings)

    def on_archived(self) -> None:
        self.archived.append(self.taken)
        self.taken = UnacknowledgedIds("penstock")

    def on_durable(self, calls: int) -> None:
        for _ in range(calls):
            said = ids_of([message.payload for message in self.archived.pop(0).pop_all()])
            assert said <= archived(self.stores[1])
            assert {i for i in said if i in accepted(self.stores[1])} <= hot(self.stores[0])
            self.ids |= said

    def drain(self) -> None:
        """Nothing waits here."""


def archived(s3: MemoryS3, disposition: str | None = None) -> set[tuple[str, int]]:
    rows = [row for body, _ in s3.objects.values() for row in decode_rows(body)]
    return {
        (row.boot, row.seq)
        for row in rows
        if row.boot is not None and row.seq is not None
        if disposition in (None, row.disposition)
    }


def accepted(s3: MemoryS3) -> set[tuple[str, int]]:
    return archived(s3, "ok")


def hot(dynamo: MemoryDynamo) -> set[tuple[str, int]]:
    """Ids in the coarsest tier, which takes every reading that is accepted."""
    found: set[tuple[str, int]] = set()
    for (_, window), item in dynamo.tables.get("windows", {}).items():
        if window.startswith("1m#"):
            ids = {boot: value["S"] for boot, value in item["ids"]["M"].items()}
            found |= ids_of([json.dumps({"boots": ids}).encode()])
    return found


def worker(shard: Shard, dynamo: MemoryDynamo, s3: MemoryS3, told: Told) -> ShardProcessor:
    made = open_worker(shard, dynamo, s3, lambda: 0.0)
    made._acknowledger = told
    made._fold_queue._on_message = told.add
    return made


MESSAGES = st.lists(
    st.tuples(BOOTS, st.integers(0, 40), st.integers(-90_000_000, 700_000), st.integers(1, 4)),
    min_size=1,
    max_size=25,
)


@given(MESSAGES, st.data())
def test_every_reading_is_acknowledged_once_it_is_in_both_stores_and_never_before(
    messages: Any, data: st.DataObject
) -> None:
    shard, dynamo, s3 = Shard(), MemoryDynamo(), MemoryS3()
    told = Told(dynamo, s3)
    for boot, seq, ts, readings in messages:
        body = payload(boot, seq, [(NOW + ts, {"a": 1.0})] * readings)
        shard.put("pump-1", body, NOW, NOW)
    shard.put("pump-1", b"garbage", NOW, NOW)
    first = worker(shard, dynamo, s3, told)
    cut_at = data.draw(st.integers(0, len(shard.records)))
    first.process(shard.records[:cut_at])
    if data.draw(st.booleans()):
        first.commit()
    told.taken = UnacknowledgedIds(
        "penstock"
    )  # the process is killed: what it had not told is forgotten
    second = worker(shard, dynamo, s3, told)
    second.process(shard.records[shard.start() :])
    second.shut_down()
    sent = {(boot, seq + i) for boot, seq, _, n in messages for i in range(n)}
    assert told.ids == sent == archived(s3)


def test_a_worker_that_lost_its_lease_acknowledges_nothing() -> None:
    shard, dynamo, s3 = Shard(), MemoryDynamo(), MemoryS3()
    told = Told(dynamo, s3)
    shard.put("pump-1", payload("boot-one", 0, [(NOW, {"a": 1.0})]), NOW, NOW)
    zombie = worker(shard, dynamo, s3, told)
    zombie.process(shard.records)
    open_worker(shard, dynamo, s3, lambda: 0.0)
    zombie.commit()
    assert told.ids == set()


class Broker:
    """Publishes after as many failures as it is told."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.published: list[str] = []
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, *, topic: str, qos: int, payload: bytes) -> Any:
        assert qos == 1
        self.gate.wait(10)
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        self.published.append(topic)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Publish")


LOST = EndpointConnectionError(endpoint_url="https://x")
ONE = Acknowledgement("ack/penstock/a", b"{}")


def publisher(broker: Broker, dropped: list[str], **more: Any) -> Publisher:
    return Publisher(broker, dropped.append, sleep=lambda _: None, **more)


def test_an_acknowledgement_is_tried_again_and_then_dropped_and_counted() -> None:
    complaints: list[str] = []
    broker = Broker(LOST, LOST, *[LOST] * ATTEMPTS)
    ours = publisher(broker, complaints)
    ours.offer([ONE])
    assert ours.drain(10)
    ours.offer([ONE])
    assert ours.drain(10)
    assert (ours.published, ours.dropped, broker.calls) == (1, 1, 2 * ATTEMPTS)
    assert len(complaints) == 1


def test_a_final_refusal_is_not_retried_and_is_reported_once() -> None:
    complaints: list[str] = []
    broker = Broker(*[refusal("ForbiddenException")] * 5)
    ours = publisher(broker, complaints)
    for _ in range(5):
        ours.offer([ONE])
        assert ours.drain(10)
    assert (ours.dropped, broker.calls, len(complaints)) == (5, 5, 1)


def test_a_hanging_broker_delays_no_shard_and_excess_acknowledgements_are_dropped() -> None:
    broker = Broker()
    broker.gate.clear()
    ours = publisher(broker, [], room=10)
    ours.offer([ONE] * 30)
    assert not ours.drain(0)
    broker.gate.set()
    assert ours.drain(10)
    assert ours.published + ours.dropped == 30
    assert 10 <= ours.published <= 14


def test_a_shard_reports_the_counts_of_its_publisher() -> None:
    broker = Broker()
    ours = ShardAcknowledger(publisher(broker, []), "penstock")
    ours.add("pump-1", "boot-one", 0, 5)
    ours.on_archived()
    ours.on_durable(1)
    ours.drain()
    assert (broker.published, ours.counts) == (["ack/penstock/pump-1"], (1, 0))


def test_a_worker_without_acknowledgements_does_not_load_their_modules() -> None:
    from tests.unit.test_layers import modules_of

    loaded = modules_of("consumers.shard.child") | modules_of("consumers.shard.fork_server")
    assert (
        not {"consumers.shard.acknowledgements", "consumers.shard.acknowledgement_publisher"}
        & loaded
    )


def test_a_reading_that_is_sent_again_is_acknowledged_and_counted_once() -> None:
    shard, dynamo, s3 = Shard(), MemoryDynamo(), MemoryS3()
    told = Told(dynamo, s3)
    body = payload("boot-one", 0, [(NOW, {"a": 1.0}), (NOW + 1, {"a": 2.0})])
    shard.put("pump-1", body, NOW, NOW)
    killed = open_worker(shard, dynamo, s3, lambda: 0.0)  # after its checkpoint, before it told
    killed.process(shard.records)
    killed.commit()
    windows = {key: item["n"] for key, item in dynamo.tables["windows"].items()}
    following = worker(shard, dynamo, s3, told)
    assert shard.lag() == 0
    shard.put("pump-1", body, NOW + 5, NOW + 5)
    following.process(shard.records[shard.start() :])
    following.commit()
    assert told.ids == {("boot-one", 0), ("boot-one", 1)}
    assert {key: item["n"] for key, item in dynamo.tables["windows"].items()} == windows
