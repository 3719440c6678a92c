"""Redriving twice counts once, and what was folded already is not counted again."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.hot.lateness import LatenessPolicy
from ingest.message import Message, decode
from ingest.record import encode_record
from lake.rejects.fix import Fix
from lake.rejects.found import Wanted, find_redriven, find_rejects
from lake.rejects.redrive import Plan, accepted_ids, plan
from tests.harness.replayed import HOUR_MS, Pipeline
from tests.harness.shard import NOW, TIERS, payload

EARLIER = Fix(clock_ms=-600_000)
"""Ten minutes back: what :class:`Pipeline` sends too early is 700 s ahead."""


def planned(pipeline: Pipeline, fix: Fix = EARLIER, reasons: Sequence[str] = ()) -> Plan:
    wanted = Wanted(NOW - HOUR_MS, NOW + HOUR_MS, frozenset(reasons) or None)
    return plan(
        find_rejects(pipeline.segments, wanted),
        fix,
        LatenessPolicy(TIERS, clock_ahead_s=600).disposition,
        find_redriven(pipeline.segments, NOW - HOUR_MS),
        lambda readings: accepted_ids(pipeline.source(), readings),
    )


def put(pipeline: Pipeline, done: Plan) -> None:
    for record in done.records():
        pipeline.shard.put_raw(record.data, NOW)


def folded(pipeline: Pipeline) -> int:
    """Readings in the minutes' windows."""
    return sum(
        int(item["n"]["N"])
        for (_, name), item in pipeline.windows.items()
        if name.startswith("1m#")
    )


def rejected_and_never_accepted(pipeline: Pipeline) -> int:
    """Distinct readings that are too early, counted from what was sent."""
    found: set[tuple[str, str, int]] = set()
    for record in pipeline.shard.records:
        from ingest.record import Envelope, decode_record

        envelope = decode_record(record.data)
        assert isinstance(envelope, Envelope)
        message = decode(envelope.payload)
        if isinstance(message, Message):
            for index, reading in enumerate(message.readings):
                if reading.ts > NOW + 600_000:
                    found.add((envelope.device_id, message.boot, message.seq + index))
    return len(found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_redriven_twice_or_in_flight_counts_once(seed: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send(60, ahead=0.3)
    pipeline.work()
    before = folded(pipeline)
    wanted = rejected_and_never_accepted(pipeline)
    first = planned(pipeline)
    assert len(first.send) == wanted
    put(pipeline, first)
    put(pipeline, planned(pipeline))  # before the archive has the first
    pipeline.work()
    assert folded(pipeline) == before + wanted
    again = planned(pipeline)
    assert not again.send
    assert again.done == len(first.send) + first.repeated
    assert pipeline.audit().clean


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_another_fix_does_not_redrive_what_the_archive_has_redriven(seed: int) -> None:
    pipeline = Pipeline(seed)
    pipeline.send(60, ahead=0.3)
    pipeline.work()
    put(pipeline, planned(pipeline))
    pipeline.work()
    assert not planned(pipeline, Fix(clock_ms=-650_000)).send


def test_a_reading_that_was_folded_when_it_came_another_time_is_not_redriven() -> None:
    pipeline = Pipeline(1)
    data = payload("boot-one", 7, [(NOW + 650_000, {"a": 1.5})])
    pipeline.shard.put_raw(encode_record(data, "dev-a", NOW), NOW)  # 650 s ahead: refused
    pipeline.shard.put_raw(encode_record(data, "dev-a", NOW + 300_000), NOW + 300_000)  # folded
    pipeline.work()
    assert folded(pipeline) == 1
    done = planned(pipeline)
    assert (len(done.send), done.accepted) == (0, 1)


def test_each_rejected_reading_of_a_message_is_found_with_the_message_s_bytes() -> None:
    pipeline = Pipeline(1)
    early = NOW + 650_000
    sent = [
        payload("boot-one", 3 * n, [(early, {"a": 1.5}), (NOW, {"a": 2.5}), (early, {"a": 3.5})])
        for n in range(2)
    ]
    for data in sent:
        pipeline.shard.put_raw(encode_record(data, "dev-a", NOW), NOW)
    pipeline.work()
    found = [*find_rejects(pipeline.segments, Wanted(0, NOW + 1))]
    assert [(one.reading, one.raw) for one in found] == [
        (0, sent[0]), (2, sent[0]), (0, sent[1]), (2, sent[1]),
    ]  # fmt: skip
    assert len(planned(pipeline).send) == 4


def test_rejects_are_found_by_reason_device_and_time() -> None:
    pipeline = Pipeline(2)
    pipeline.send(100, ahead=0.3)
    pipeline.work()
    found = [*find_rejects(pipeline.segments, Wanted(0, NOW + 1))]
    assert {one.disposition for one in found} == {"clock_ahead", "malformed"}
    for reason in ("clock_ahead", "malformed"):
        some = [*find_rejects(pipeline.segments, Wanted(0, NOW + 1, frozenset({reason})))]
        assert some == [one for one in found if one.disposition == reason]
    mine = [*find_rejects(pipeline.segments, Wanted(0, NOW + 1, None, frozenset({"dev-b"})))]
    assert mine == [one for one in found if one.device_id == "dev-b"]
    assert not [*find_rejects(pipeline.segments, Wanted(0, NOW))]
    assert len({one.place for one in found}) == len(found)
