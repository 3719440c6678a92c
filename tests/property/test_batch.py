"""Batching: whatever comes in goes out once, in order, numbered without gaps, within limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.batch import BatchLimits, Outgoing
from ingest.message import MAX_PAYLOAD_BYTES, MAX_READINGS, Message, Reading, decode
from simulator.load.batcher import Batcher

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=8)
READINGS = st.lists(st.tuples(st.integers(0, 2**53 - 1), METRICS), max_size=60)
LIMITS = st.builds(BatchLimits, readings=st.integers(1, 30), bytes=st.integers(1, 4096))


def _sent(limits: BatchLimits, readings: list[tuple[int, dict[str, float]]]) -> list[Outgoing]:
    batcher = Batcher(limits)
    messages = [message for ts, metrics in readings for message in batcher.add(ts, metrics)]
    return messages + batcher.flush()


def _decoded(outgoing: Outgoing) -> Message:
    message = decode(outgoing.payload)
    assert isinstance(message, Message)
    return message


@given(LIMITS, READINGS)
def test_every_reading_goes_out_once_and_in_order(
    limits: BatchLimits, readings: list[tuple[int, dict[str, float]]]
) -> None:
    out: list[Reading] = []
    for message in _sent(limits, readings):
        out += _decoded(message).readings
    assert [(reading.ts, reading.metrics) for reading in out] == readings


@given(LIMITS, READINGS)
def test_numbers_have_no_gap_and_one_boot(
    limits: BatchLimits, readings: list[tuple[int, dict[str, float]]]
) -> None:
    following = 0
    messages = _sent(limits, readings)
    for message in messages:
        decoded = _decoded(message)
        assert (message.boot, message.seq) == (decoded.boot, decoded.seq)
        assert message.readings == len(decoded.readings)
        assert message.seq == following
        following += message.readings
    assert following == len(readings)
    assert len({message.boot for message in messages}) <= 1


@given(LIMITS, READINGS)
def test_no_message_is_over_its_limits_unless_one_reading_is(
    limits: BatchLimits, readings: list[tuple[int, dict[str, float]]]
) -> None:
    for message in _sent(limits, readings):
        assert message.readings <= limits.readings
        assert len(message.payload) <= limits.bytes or message.readings == 1


@given(st.integers(1, MAX_READINGS))
def test_a_full_message_of_the_greatest_readings_is_within_the_contract(readings: int) -> None:
    metrics = {f"m{i:062d}x": -1.7976931348623157e308 for i in range(64)}
    batcher = Batcher(BatchLimits(readings, MAX_PAYLOAD_BYTES))
    ready = [message for i in range(25) for message in batcher.add(2**53 - 1 - i, metrics)]
    for message in ready + batcher.flush():
        assert len(message.payload) <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    "metrics",
    [{}, {"Upper": 1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": "text"}, {"a": None},
     {f"m{i}": 1.0 for i in range(65)}, {"a": "\ud800"}, {"a": 10**400}],
)  # fmt: skip
def test_a_reading_that_breaks_the_contract_is_refused_and_not_numbered(
    metrics: dict[str, float],
) -> None:
    batcher = Batcher(BatchLimits(readings=2))
    batcher.add(1, {"a": 1.0})
    with pytest.raises(ValueError):
        batcher.add(2, metrics)
    (message,) = batcher.add(3, {"a": 3.0})
    assert [reading.ts for reading in _decoded(message).readings] == [1, 3]
    assert batcher.flush() == []


def test_two_batchers_never_share_an_id() -> None:
    assert Batcher(BatchLimits()).boot != Batcher(BatchLimits()).boot


def test_a_bool_is_sent_as_a_bool() -> None:
    (message,) = Batcher(BatchLimits(readings=1)).add(1, {"door_open": True})
    assert b'"door_open":true' in message.payload


@pytest.mark.parametrize(
    ("readings", "size"), [(0, 1024), (1001, 1024), (1, 0), (1, 128 * 1024 + 1)]
)
def test_limits_that_the_contract_does_not_allow_are_refused(readings: int, size: int) -> None:
    with pytest.raises(ValueError, match="a message: 1 to"):
        BatchLimits(readings, size)
