"""Batching: whatever comes in goes out once, in order, numbered without gaps, within limits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.batch import ENVELOPE_BYTES, BatchLimits, Outgoing
from devices.spool.spool import Spool, SpoolLimits
from ingest.message import MAX_PAYLOAD_BYTES, MAX_READINGS, Message, Reading, decode

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=8)
READINGS = st.lists(st.tuples(st.integers(0, 2**53 - 1), METRICS), max_size=60)
LIMITS = st.builds(BatchLimits, readings=st.integers(1, 30), bytes=st.integers(1, 4096))


def _sent(limits: BatchLimits, readings: list[tuple[int, dict[str, float]]]) -> list[Outgoing]:
    with _spool() as spool:
        for ts, metrics in readings:
            spool.add(ts, metrics)
        return _messages(spool, limits)


@contextmanager
def _spool() -> Iterator[Spool]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Spool(Path(folder), now=lambda: 1, limits=SpoolLimits(sync=False)) as spool,
    ):
        yield spool


def _messages(spool: Spool, limits: BatchLimits) -> list[Outgoing]:
    """What a client makes of the spool: the next message starts where the last one ended."""
    found = []
    position, size = 0, limits.bytes - ENVELOPE_BYTES
    while batch := spool.read(position, spool.end, limits.readings, size):
        position = batch.last + 1
        found.append(Outgoing(batch.boot, batch.seq, len(batch.readings), batch.payload()))
    return found


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
    sent = _sent(
        BatchLimits(readings, MAX_PAYLOAD_BYTES), [(2**53 - 1 - i, metrics) for i in range(25)]
    )
    assert sum(message.readings for message in sent) == 25
    assert all(len(message.payload) <= MAX_PAYLOAD_BYTES for message in sent)


@pytest.mark.parametrize(
    "metrics",
    [{}, {"Upper": 1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": "text"}, {"a": None},
     {f"m{i}": 1.0 for i in range(65)}, {"a": "\ud800"}, {"a": 10**400}],
)  # fmt: skip
def test_a_reading_that_breaks_the_contract_is_refused_and_not_numbered(
    metrics: dict[str, float],
) -> None:
    with _spool() as spool:
        spool.add(1, {"a": 1.0})
        with pytest.raises(ValueError):
            spool.add(2, metrics)
        spool.add(3, {"a": 3.0})
        (message,) = _messages(spool, BatchLimits(readings=2))
    assert [reading.ts for reading in _decoded(message).readings] == [1, 3]


def test_two_spools_never_share_an_id() -> None:
    with _spool() as one, _spool() as other:
        assert one.boot != other.boot


def test_a_bool_is_sent_as_a_bool() -> None:
    (message,) = _sent(BatchLimits(readings=1), [(1, {"door_open": True})])
    assert b'"door_open":true' in message.payload


@pytest.mark.parametrize(
    ("readings", "size"), [(0, 1024), (1001, 1024), (1, 0), (1, 128 * 1024 + 1)]
)
def test_limits_that_the_contract_does_not_allow_are_refused(readings: int, size: int) -> None:
    with pytest.raises(ValueError, match="a message: 1 to"):
        BatchLimits(readings, size)
