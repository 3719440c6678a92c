"""What a fix makes of a reject, and what it refuses."""

from __future__ import annotations

import cbor2
import orjson
import pytest

from consumers.hot.lateness import LatenessPolicy
from ingest.message import Message, decode
from lake.rejects.fix import REDRIVEN, Fix, RefusedError, Scale, new_id, redriven, shown
from lake.rejects.reject import Reject
from tests.harness.shard import NOW, TIERS, payload

judge = LatenessPolicy(TIERS, clock_ahead_s=600).disposition


def reject(raw: bytes, reading: int | None = None, sequence: str = "49", **more: object) -> Reject:
    """A row of this payload; of its ``reading``, if the payload is a message."""
    message = decode(raw)
    known: dict[str, object] = {}
    if isinstance(message, Message) and reading is not None:
        known = {
            "ts": message.readings[reading].ts,
            "boot": message.boot,
            "seq": message.seq + reading,
        }
    fields = {
        "device_id": "press-1", "ts": None, "boot": None, "seq": None, "received_at": NOW,
        "arrived_at": NOW, "shard_id": "shard-0", "sequence_number": sequence, "sub_sequence": 0,
        "reading": reading, "disposition": "malformed", "raw": raw, **known, **more,
    }  # fmt: skip
    return Reject(**fields)  # type: ignore[arg-type]


def raw(**more: object) -> bytes:
    document = {"v": 1, "boot": "boot-one", "seq": 5,
                "readings": [{"ts": NOW, "metrics": {"Temp C": 20.0, "door": True}}]}  # fmt: skip
    return orjson.dumps({**document, **more})


def test_names_and_units_are_changed_and_the_message_is_one_of_the_contract() -> None:
    fix = Fix(rename={"Temp C": "temp_f"}, scale={"temp_f": Scale(1.8, 32.0)})
    (one,) = redriven(reject(raw()), fix, judge)
    assert one.metrics == {"temp_f": 68.0, "door": 1.0}
    message = decode(one.payload)
    assert isinstance(message, Message)
    assert (message.boot, message.seq) == (one.boot, one.seq)
    assert one.boot.startswith(REDRIVEN)
    assert one.original == ("boot-one", 5)


def test_each_reading_of_a_message_has_its_own_number() -> None:
    readings = [{"ts": NOW, "metrics": {"A": 1.0}}, {"ts": NOW + 1, "metrics": {"A": 2.0}}]
    found = redriven(reject(raw(readings=readings)), Fix(rename={"A": "a"}), judge)
    assert [(one.seq, one.metrics) for one in found] == [(5, {"a": 1.0}), (6, {"a": 2.0})]
    assert len({one.boot for one in found}) == 1


def test_the_same_reading_has_the_same_new_identity_wherever_the_stream_had_it() -> None:
    data = payload("boot-one", 5, [(NOW + 900_000, {"a": 1.0}), (NOW, {"a": 2.0})])
    assert new_id(reject(data, 0, "49"), 0) == new_id(reject(data, 0, "50"), 0)
    assert new_id(reject(data, 0), 0) != new_id(reject(data, 1), 1)
    other = payload("boot-two", 5, [(NOW, {"a": 1.0})])
    assert new_id(reject(data, 0), 0) != new_id(reject(other, 0), 0)


def test_a_payload_without_an_identity_gets_that_of_its_record() -> None:
    data = orjson.dumps({"readings": [{"ts": NOW, "metrics": {"a": 1.0}}]})
    (one,), (other,) = (redriven(reject(data, None, number), Fix(), judge) for number in "79")
    assert one.original is None
    assert (one.boot, one.seq) != (other.boot, other.seq)
    assert redriven(reject(data, None, "7"), Fix(), judge)[0].boot == one.boot


def test_a_corrected_clock_moves_the_event_time() -> None:
    data = payload("boot-one", 5, [(NOW, {"a": 2.0}), (NOW + 900_000, {"a": 1.0})])
    (one,) = redriven(reject(data, 1, disposition="clock_ahead"), Fix(clock_ms=-900_000), judge)
    assert (one.ts, one.original_ts, one.seq) == (NOW, NOW + 900_000, 6)


def test_cbor_is_read_as_json_is() -> None:
    data = cbor2.dumps({"v": 1, "readings": [{"ts": NOW, "metrics": {"A": 1.0}}]})
    (one,) = redriven(reject(data), Fix(rename={"A": "a"}), judge)
    assert one.metrics == {"a": 1.0}


@pytest.mark.parametrize(
    ("row", "fix", "why"),
    [
        (reject(b"\xff\x00"), Fix(), "no readings"),
        (reject(b'{"readings": []}'), Fix(), "no readings"),
        (reject(b"[" * 10_000), Fix(), "no readings"),
        (reject(raw()), Fix(), "metric name"),
        (reject(raw(), device_id=None), Fix(rename={"Temp C": "t"}), "nobody knows its device"),
        (reject(raw()), Fix(rename={"Temp C": "t"}, clock_ms=700_000), "clock_ahead again"),
        (reject(raw()), Fix(rename={"Temp C": "t"}, clock_ms=-90_000_000), "late again"),
        (reject(raw(readings=[{"ts": "now", "metrics": {}}])), Fix(), "not ms since 1970"),
        (reject(raw(readings=[{"ts": NOW}])), Fix(), "cannot be read"),
        (reject(raw(readings=[{"ts": NOW, "metrics": {"a": "x"}}])), Fix(), "breaks the contract"),
        (reject(raw(readings=[{"ts": NOW, "metrics": {"a": None}}])),
         Fix(scale={"a": Scale(2.0)}), "cannot be read"),
        (reject(raw(readings=["x"])), Fix(), "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_redriven_says_why(row: Reject, fix: Fix, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        redriven(row, fix, judge)


def test_bytes_are_shown_without_what_a_terminal_would_obey() -> None:
    assert shown(b"\x1b]0;owned\x07ok\n") == "\\x1b]0;owned\\x07ok\\n"
    assert shown(b"\xff\xfe") == "\\xff\\xfe"
    assert shown("\u202eabc ü".encode()) == "\\u202eabc ü"
    assert shown(b"a" * 5000) == "a" * 4096 + "… (5000 bytes)"
