"""Payload v1: decoding is total, and accepts exactly the contract of design §2."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.message import (
    MAX_INTEGER,
    MAX_PAYLOAD_BYTES,
    Message,
    Reading,
    Rejection,
    decode,
    encode,
    schema,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
VALUES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
READINGS = st.builds(
    Reading,
    ts=st.integers(-MAX_INTEGER, MAX_INTEGER),
    metrics=st.dictionaries(NAMES, VALUES, min_size=1, max_size=6),
)
MESSAGES = st.builds(
    Message,
    v=st.just(1),
    boot=st.from_regex(r"[0-9a-zA-Z-]{8,36}", fullmatch=True),
    seq=st.integers(0, MAX_INTEGER - 10),
    readings=st.lists(READINGS, min_size=1, max_size=5),
)


def document(**changes: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "boot": "9f2c61d0c1a44a2e",
        "seq": 1201,
        "readings": [{"ts": 1795420839206, "metrics": {"temperature": 21.5, "door_open": False}}],
        **changes,
    }


def reading(**changes: Any) -> dict[str, Any]:
    return {"ts": 1, "metrics": {"a": 1}, **changes}


def decoded(**changes: Any) -> Message | Rejection:
    return decode(json.dumps(document(**changes)).encode())


@given(st.binary(max_size=400))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"v":1,"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
@example(b'{"v":' + b"9" * 5000 + b"}")
@example(b"\xff\xfe\x00")
@example(b"\xf3\x89\x9a\xc2" + b"\x0a\x10" * 40)  # the magic of a KPL aggregate
def test_decoding_never_raises(payload: bytes) -> None:
    assert isinstance(decode(payload), Message | Rejection)


@given(MESSAGES, st.data())
def test_a_message_cut_anywhere_is_rejected(message: Message, data: st.DataObject) -> None:
    payload = msgspec.json.encode(message)
    cut = data.draw(st.integers(0, len(payload) - 1))
    assert isinstance(decode(payload[:cut]), Rejection)


@given(MESSAGES)
def test_what_a_device_encodes_is_what_a_worker_decodes(message: Message) -> None:
    again = decode(encode(message))
    assert isinstance(again, Message)
    assert (again.boot, again.seq) == (message.boot, message.seq)
    for sent, got in zip(message.readings, again.readings, strict=True):
        assert got.ts == sent.ts
        assert got.metrics == {name: float(value) for name, value in sent.metrics.items()}
        assert all(type(value) is float for value in got.metrics.values())


def test_the_example_of_the_design_is_a_message() -> None:
    message = decoded()
    assert isinstance(message, Message)
    assert message.readings[0].metrics == {"temperature": 21.5, "door_open": 0.0}


def wire(*, seq: bytes = b"1", metrics: bytes = b'{"a":1}', extra: bytes = b"") -> bytes:
    """A message written by hand, around what no encoder would write."""
    reading = b'{"ts":1,"metrics":' + metrics + b"}"
    return b'{"v":1,"boot":"bootboot","seq":' + seq + extra + b',"readings":[' + reading + b"]}"


HOSTILE: dict[str, bytes] = {
    "NaN": wire(metrics=b'{"a":NaN}'),
    "Infinity": wire(metrics=b'{"a":-Infinity}'),
    "a number beyond a double": wire(metrics=b'{"a":1e400}'),
    "a metric of 5,000 digits": wire(metrics=b'{"a":' + b"9" * 5000 + b"}"),
    "a seq of 5,000 digits": wire(seq=b"9" * 5000),
    "deep nesting in an unknown field": wire(extra=b',"x":' + b"[" * 60_000 + b"]" * 60_000),
    "invalid UTF-8 in an unknown field": wire(extra=b',"x":"\xff"'),
    "invalid UTF-8 in a name": wire(metrics=b'{"\xff":1}'),
    "a lone surrogate": wire(extra=b',"boot":"\\ud800boot"'),
    "a byte order mark": b"\xef\xbb\xbf" + wire(),
    "two documents": wire() + wire(),
    "nothing": b"",
    "no version": wire().replace(b'"v":1,', b""),
}


def test_the_hand_written_message_is_one_before_it_is_spoilt() -> None:
    assert isinstance(decode(wire()), Message)


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_malformed(payload: bytes) -> None:
    rejection = decode(payload)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "malformed"


WRONG: dict[str, dict[str, Any]] = {
    "boot too short": {"boot": "short"},
    "boot too long": {"boot": "b" * 37},
    "boot with other characters": {"boot": "boot_boot"},
    "boot not text": {"boot": 12345678},
    "negative seq": {"seq": -1},
    "seq as a float": {"seq": 1.0},
    "seq as a bool": {"seq": True},
    "seq as text": {"seq": "1"},
    "seq with no room for its readings": {"seq": MAX_INTEGER},
    "no readings": {"readings": []},
    "too many readings": {"readings": [reading()] * 1001},
    "readings not a list": {"readings": {"0": reading()}},
    "ts as text": {"readings": [reading(ts="1")]},
    "ts as a float": {"readings": [reading(ts=1.5)]},
    "ts beyond 2^53": {"readings": [reading(ts=2**53)]},
    "no ts": {"readings": [{"metrics": {"a": 1}}]},
    "no metrics": {"readings": [{"ts": 1}]},
    "empty metrics": {"readings": [reading(metrics={})]},
    "too many metrics": {"readings": [reading(metrics={f"m{i}": 1 for i in range(65)})]},
    "an overlong name": {"readings": [reading(metrics={"a" * 65: 1})]},
    "a name in capitals": {"readings": [reading(metrics={"Temp": 1})]},
    "a name with a newline": {"readings": [reading(metrics={"temp\n": 1})]},
    "a value of text": {"readings": [reading(metrics={"a": "1"})]},
    "a null value": {"readings": [reading(metrics={"a": None})]},
    "a nested value": {"readings": [reading(metrics={"a": {"b": 1}})]},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_what_breaks_a_limit_is_malformed(changes: dict[str, Any]) -> None:
    rejection = decoded(**changes)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "malformed"
    assert rejection.detail


def test_limits_are_inclusive() -> None:
    names = {f"m{i}": 1 for i in range(63)} | {"a" * 64: 1}
    message = decoded(
        boot="b" * 36, seq=MAX_INTEGER - 1000, readings=[reading(metrics=names)] * 1000
    )
    assert isinstance(message, Rejection)  # 1,000 readings of 64 metrics exceed 128 KiB
    assert message.reason == "oversize"
    assert isinstance(decoded(readings=[reading(metrics=names)]), Message)
    assert isinstance(decoded(seq=MAX_INTEGER - 1000, readings=[reading()] * 1000), Message)


def test_a_payload_at_the_broker_limit_is_read_and_one_byte_more_is_oversize() -> None:
    payload = json.dumps(document()).encode()
    padded = payload + b" " * (MAX_PAYLOAD_BYTES - len(payload))
    assert isinstance(decode(padded), Message)
    rejection = decode(padded + b" ")
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "oversize"


@pytest.mark.parametrize("version", [0, 2, 99, -1])
def test_another_version_is_told_apart_whatever_its_shape(version: int) -> None:
    for payload in ({"v": version}, document(v=version), {"v": version, "boot": {}}):
        rejection = decode(json.dumps(payload).encode())
        assert isinstance(rejection, Rejection)
        assert rejection.reason == "unsupported_version"


def test_unknown_fields_are_ignored() -> None:
    assert decoded(firmware={"v": [1, 2]}) == decoded()


def test_the_last_of_duplicate_keys_counts() -> None:
    message = decode(
        b'{"v":1,"boot":"bootboot","seq":7,"seq":8,"readings":[{"ts":1,"metrics":{"a":1,"a":2}}]}'
    )
    assert isinstance(message, Message)
    assert message.seq == 8
    assert message.readings[0].metrics == {"a": 2.0}


def test_encoding_refuses_what_decoding_would() -> None:
    with pytest.raises(ValueError, match="metric name"):
        encode(Message(1, "bootboot", 0, [Reading(1, {"Bad": 1.0})]))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives(value: float) -> None:
    message = decoded(readings=[reading(metrics={"a": value})])
    assert isinstance(message, Message)
    assert math.copysign(1, message.readings[0].metrics["a"]) == math.copysign(1, value)
    assert message.readings[0].metrics["a"] == value


def test_the_schema_says_what_the_decoder_does() -> None:
    text = json.dumps(schema())
    for fact in (
        "9007199254740991",
        "[a-z][a-z0-9_]{0,63}",
        "[0-9a-zA-Z-]{8,36}",
        '"maxItems": 1000',
    ):
        assert fact in text
