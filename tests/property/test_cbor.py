"""CBOR is a second way to write payload v1, and not a second contract."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices.batch import ENVELOPE_BYTES
from devices.spool.batch import Batch
from devices.spool.spool import Spool, SpoolLimits
from ingest.message import (
    MAX_INTEGER,
    MAX_PAYLOAD_BYTES,
    Message,
    Reading,
    Rejection,
    decode,
    encode,
)
from tests.property.test_message import MESSAGES, WRONG, document, reading

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NEARLY = {
    "v": st.sampled_from([1, 1, 1, 1, 2, 1.0, True, "1"]),
    "boot": st.sampled_from(["9f2c61d0c1a44a2e", "bootboot", "short", "boot boot", 8]),
    "seq": st.sampled_from([0, 1201, MAX_INTEGER, -1, 1.0, None]),
    "ts": st.integers(-MAX_INTEGER - 1, MAX_INTEGER + 1) | st.sampled_from([1.5, True, "1"]),
    "metrics": st.dictionaries(
        st.sampled_from(["temperature", "a", "A", "", "a b", "x" * 65]), SCALARS, max_size=3
    ),
}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Documents that are messages, nearly messages, or anything."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(JSON)
    readings = st.lists(
        st.fixed_dictionaries({"ts": NEARLY["ts"], "metrics": NEARLY["metrics"]}), max_size=3
    )
    made = {name: draw(NEARLY[name]) for name in ("v", "boot", "seq")}
    made["readings"] = draw(readings)
    if kind == 1:
        made["x"] = draw(JSON)
    if kind == 2:
        del made[draw(st.sampled_from(sorted(made)))]
    return made


def outcome(payload: bytes) -> Any:
    """A message, or the reason of its rejection: the sentence may differ."""
    decoded = decode(payload)
    return decoded if isinstance(decoded, Message) else decoded.reason


@given(documents(), st.booleans(), st.booleans())
def test_the_same_document_has_the_same_fate_in_json_and_in_cbor(
    document: Any, canonical: bool, indefinite: bool
) -> None:
    if not isinstance(document, dict | list):
        return  # neither a map nor an array: nothing says that it is CBOR
    written = cbor2.dumps(document, canonical=canonical, indefinite_containers=indefinite)
    assert outcome(written) == outcome(json.dumps(document).encode())


@given(MESSAGES)
def test_a_message_is_the_same_through_either(message: Message) -> None:
    assert decode(encode(message, "cbor")) == decode(encode(message, "json"))


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_what_breaks_a_limit_breaks_it_in_cbor(changes: dict[str, Any]) -> None:
    assert outcome(cbor2.dumps(document(**changes))) == "malformed"


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xa4", b"\xbf", b"\x9f", b"\xa4\x61v\x01"]))
def test_hostile_bytes_have_a_disposition_and_never_an_exception(tail: bytes, head: bytes) -> None:
    assert isinstance(decode(head + tail), Message | Rejection)


@given(MESSAGES, st.data())
def test_a_message_cut_or_spoilt_anywhere_never_raises(
    message: Message, data: st.DataObject
) -> None:
    payload = bytearray(encode(message, "cbor"))
    at = data.draw(st.integers(0, len(payload) - 1))
    assert isinstance(decode(bytes(payload[:at])), Rejection)
    payload[at] = data.draw(st.integers(0, 255))
    assert isinstance(decode(bytes(payload)), Message | Rejection)


def wire(
    metrics: bytes = b"\xa1\x61a\x01", extra: bytes = b"", tail: bytes = b"", fields: int = 4
) -> bytes:
    """A message written by hand, around what no encoder would write."""
    one = b"\xa2\x62ts\x01\x67metrics" + metrics
    return (
        bytes([0xA0 + fields]) + b"\x61v\x01\x64boot\x68bootboot\x63seq\x01" + extra
        + b"\x68readings\x81" + one + tail
    )  # fmt: skip


def unknown(value: bytes) -> bytes:
    """The same with an unknown field of this value."""
    return wire(extra=b"\x61x" + value, fields=5)


COLLIDING = b"".join(
    b"\x90" + bytes(0x20 if number >> bit & 1 else 0x21 for bit in range(16)) + b"\x00"
    for number in range(6000)
)
HOSTILE: dict[str, bytes] = {
    "NaN": wire(b"\xa1\x61a\xf9\x7e\x00"),
    "infinity": wire(b"\xa1\x61a\xf9\x7c\x00"),
    "undefined": wire(b"\xa1\x61a\xf7"),
    "a simple value": wire(b"\xa1\x61a\xf8\x20"),
    "a bignum": wire(b"\xa1\x61a\xc2\x49\x01" + bytes(8)),
    "a bignum of 100,000 bytes": wire(b"\xa1\x61a\xc2\x5a\x00\x01\x86\xa0" + b"\xff" * 100_000),
    "a decimal that would fill the memory": unknown(b"\xc5\x82\x1b\x0f" + b"\xff" * 7 + b"\x01"),
    "a date": unknown(b"\xc1\x01"),
    "a regular expression": unknown(b"\xd8\x23\x65((((("),
    "a tag that nobody defined": unknown(b"\xda\xff\xff\xff\xff\x01"),
    "an array that holds itself": unknown(b"\xd8\x1c\x81\xd8\x1d\x00"),
    "a map as a key": unknown(b"\xa1\xa1\x61a\x01\x01"),
    "a number as a key": unknown(b"\xa1\x01\x01"),
    "a metric named in bytes": wire(b"\xa1\x41a\x01"),
    "keys whose hashes collide": unknown(b"\xb9\x17\x70" + COLLIDING),
    "deep nesting": unknown(b"\x81" * 100_000 + b"\x00"),
    "nothing but heads": b"\x81" * 131_072,
    "text of 2^64 bytes": unknown(b"\x7b" + b"\xff" * 8),
    "bytes of 2^32": unknown(b"\x5a" + b"\xff" * 4),
    "an array of 2^64": unknown(b"\x9b" + b"\xff" * 8),
    "a map of 2^63": unknown(b"\xbb\x7f" + b"\xff" * 7),
    "an array of 2^32": unknown(b"\x9a" + b"\xff" * 4),
    "invalid UTF-8": unknown(b"\x62\xff\xff"),
    "a lone surrogate": unknown(b"\x63\xed\xa0\x80"),
    "a break out of place": unknown(b"\xff"),
    "a reserved head": unknown(b"\x1c"),
    "bytes after the message": wire(tail=b"\x00"),
    "two messages": wire() + wire(),
    "an array that never ends": b"\x9f" + b"\x00" * 1000,
    "a self-describing tag": b"\xd9\xd9\xf7" + wire(),
}  # fmt: skip


def test_the_hand_written_message_is_one_before_it_is_spoilt() -> None:
    assert isinstance(decode(wire()), Message)
    assert decode(unknown(b"\x9f\x01\xff")) == decode(wire())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_cbor_is_malformed(payload: bytes) -> None:
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert outcome(payload) == "malformed"


def test_cbor_over_the_broker_limit_is_oversize() -> None:
    assert outcome(wire(tail=bytes(MAX_PAYLOAD_BYTES))) == "oversize"


def test_the_last_of_duplicate_keys_counts_as_in_json() -> None:
    message = decode(wire(b"\xa2\x61a\x01\x61a\x02"))
    assert isinstance(message, Message)
    assert message.readings[0].metrics == {"a": 2.0}


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(-0.0)
@example(65504.0)
def test_every_finite_number_survives_the_shortest_float(value: float) -> None:
    sent = document(readings=[reading(metrics={"a": value})])
    message = decode(cbor2.dumps(sent, canonical=True))
    assert isinstance(message, Message)
    assert repr(message.readings[0].metrics["a"]) == repr(value)


@given(st.integers(0, 40), st.integers(64, 2000))
def test_a_device_batches_in_cbor_within_its_limits(count: int, room: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Spool(Path(folder), now=lambda: 1, limits=SpoolLimits(sync=False)) as spool,
    ):
        for i in range(count):
            spool.add(1_795_420_839_206 + i, {"temperature": 20 + i / 7})
        ready: list[Batch] = []
        while batch := spool.read(
            ready[-1].last + 1 if ready else 0, spool.end, 15, room - ENVELOPE_BYTES
        ):
            ready.append(batch)
    found = 0
    for batch in ready:
        payload = batch.payload("cbor")
        assert 0x80 <= payload[0] <= 0xBF
        assert len(payload) <= room or len(batch.readings) == 1
        decoded = decode(payload)
        assert isinstance(decoded, Message)
        assert decoded.seq == found
        found += len(decoded.readings)
    assert found == count


def test_a_child_that_reads_json_alone_never_loads_a_cbor_parser() -> None:
    code = (
        "import sys, consumers.shard.child, ingest.message as m\n"
        "m.decode(b'{\"v\":1}'); m.decode(b'\\xc3('); m.decode('\"ü\"'.encode())\n"
        "print('cbor2' in sys.modules, 'ingest.cbor' in sys.modules)\n"
        "m.decode(b'\\xa1\\x61v\\x01'); print('cbor2' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "True"]


def test_encoding_in_cbor_refuses_what_decoding_would() -> None:
    message = msgspec.convert(document(boot="boot boot!"), Message)
    with pytest.raises(ValueError, match="boot"):
        encode(message, "cbor")


def test_a_spooled_batch_is_written_in_json_where_cbor_is_too_big_to_be_sent() -> None:
    few = tuple(Reading(1, {"a": 0.5}) for _ in range(3))
    many = tuple(Reading(1, {f"m{i}": 0.5 for i in range(10)}) for _ in range(1000))
    small = Batch(1, 3, "bootboot", 0, few).payload("cbor")
    large = Batch(1, 1000, "bootboot", 0, many).payload("cbor")
    assert (small[0], large[:1]) == (0xA4, b"{")
    assert isinstance(decode(small), Message)
    assert isinstance(decode(large), Message)
