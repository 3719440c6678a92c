"""IoT Core's limits, as plain values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.limits.mqtt import (
    BYTES,
    PAYLOAD_BYTES,
    Connection,
    Fate,
    payload_bytes,
    steps,
)
from infra.emulator.limits.shadow import LEVELS, STATE_BYTES, refuse_shadow
from infra.emulator.limits.things import refuse_attributes


def test_a_connection_publishes_100_a_second_and_the_rest_is_discarded() -> None:
    connection = Connection(0.0)
    fates = [connection.publish(10, 0.0) for _ in range(130)]
    assert fates == [Fate.TAKEN] * 100 + [Fate.DISCARDED] * 30
    assert connection.publish(10, 0.01) is Fate.TAKEN


def test_a_payload_of_128_kib_is_taken_and_a_larger_one_ends_the_connection() -> None:
    connection = Connection(0.0)
    assert connection.publish(PAYLOAD_BYTES, 0.0) is Fate.TAKEN
    assert connection.publish(PAYLOAD_BYTES + 1, 0.0) is Fate.TOO_LARGE


def test_bytes_beyond_512_kib_a_second_wait() -> None:
    connection = Connection(0.0)
    assert connection.delay(BYTES, 0.0) == 0.0
    assert connection.delay(BYTES // 2, 0.0) == pytest.approx(0.5)
    assert connection.delay(BYTES, 10.0) == 0.0


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 2), st.booleans())
def test_the_payload_of_a_packet_is_what_is_left_of_it(
    payload: bytes, properties: int, qos: int, v5: bool
) -> None:
    topic = b"dt/x/y/telemetry"
    length = bytes([properties & 0x7F | (0x80 if properties > 127 else 0)])
    length += bytes([properties >> 7]) if properties > 127 else b""
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\1" if qos else b"")
    body += (length + b"p" * properties if v5 else b"") + payload
    assert payload_bytes(body, acknowledged=qos > 0, properties=v5) == len(payload)


@given(st.binary(max_size=40))
def test_a_packet_that_is_cut_short_has_some_size(body: bytes) -> None:
    assert 0 <= payload_bytes(body, acknowledged=True, properties=True) <= len(body)


def test_messages_are_metered_in_steps_of_5_kib() -> None:
    assert [steps(n) for n in (0, 1, 5 * 1024, 5 * 1024 + 1)] == [1, 1, 1, 2]


@pytest.mark.parametrize("value", ["", "north-1", "a=b[1]", "x" * 800])
def test_attribute_values_of_the_pattern_are_taken(value: str) -> None:
    assert refuse_attributes({"group": value}) is None


@pytest.mark.parametrize("value", ["two words", "Köln", "x" * 801, "semi;colon"])
def test_other_attribute_values_are_refused(value: str) -> None:
    assert "attributes.group" in str(refuse_attributes({"group": value}))


def test_an_attribute_without_a_value_is_one_that_is_removed() -> None:
    assert refuse_attributes({"group": None}) is None
    assert refuse_attributes({"no spaces": "x"}) is not None


def test_a_shadow_has_8_kb_of_both_halves_after_the_change() -> None:
    stored = {"desired": {"a": "x" * 4000}, "reported": {"b": "x" * 4000}}
    assert len('{"desired":{"a":""},"reported":{"b":""}}') + 8000 < STATE_BYTES
    assert refuse_shadow(stored, {"reported": {"c": "x"}}) is None
    refused = refuse_shadow(stored, {"reported": {"c": "x" * 200}})
    assert refused == (413, "The payload exceeds the maximum size allowed")
    assert refuse_shadow(stored, {"reported": {"b": None, "c": "x" * 200}}) is None


def test_a_shadow_has_six_levels() -> None:
    deep: dict[str, object] = {}
    for _ in range(LEVELS - 2):
        deep = {"a": deep}
    assert refuse_shadow({}, {"desired": deep}) is None
    refused = refuse_shadow({}, {"desired": {"a": deep}})
    assert refused is not None
    assert refused[0] == 400
