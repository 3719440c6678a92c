"""A worker takes CBOR as it takes JSON."""

from __future__ import annotations

from ingest.message import VERSION, Content, Message, Reading, encode
from tests.harness.segment_buffer import decode_rows
from tests.harness.shard import NOW, Shard, open_worker
from tests.harness.stores import MemoryDynamo, MemoryS3


def _fold(contents: tuple[Content, Content]) -> tuple[MemoryDynamo, MemoryS3]:
    """The stores after two messages of one device and one that is no message."""
    shard, dynamo, s3 = Shard(), MemoryDynamo(), MemoryS3()
    for boot, content in zip(("bootboot-1", "bootboot-2"), contents, strict=True):
        readings = [
            Reading(NOW, {"temperature": 21.5, "open": True}),
            Reading(NOW + 10, {"temperature": 20}),
        ]
        payload = encode(Message(VERSION, boot, 0, readings), content)
        shard.put("pump-1", payload, NOW + 20, NOW + 20)
    shard.put("pump-1", b"\xa1\x61v\x01", NOW + 20, NOW + 20)
    worker = open_worker(shard, dynamo, s3, lambda: 0.0)
    worker.process(shard.records)
    worker.commit()
    return dynamo, s3


def test_windows_and_archive_are_the_same_whichever_content_a_device_sends() -> None:
    json_dynamo, json_s3 = _fold(("json", "json"))
    mixed_dynamo, mixed_s3 = _fold(("json", "cbor"))
    assert mixed_dynamo.tables == json_dynamo.tables
    ((body, _),) = mixed_s3.objects.values()
    ((json_body, _),) = json_s3.objects.values()
    assert decode_rows(body) == decode_rows(json_body)


def test_cbor_that_is_no_message_is_archived_to_the_byte() -> None:
    _, s3 = _fold(("cbor", "cbor"))
    ((body, _),) = s3.objects.values()
    last = decode_rows(body)[-1]
    assert (last.disposition, last.raw) == ("malformed", b"\xa1\x61v\x01")
