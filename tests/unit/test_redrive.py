"""A rule's errors reach the stream, and leave their queue after that and not before."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from infra.aws.redrive import DeleteError, redrive
from infra.aws.rule_errors import record_of
from ingest.record import Envelope, decode_record
from ingest.stream import PutError
from ingest.topic import basic_ingest_topic, telemetry_topic

AT = 1_795_420_839_206
AWS_EXAMPLE = {  # as the developer guide prints it, about a topic of ours
    "ruleName": "TestAction",
    "topic": "dt/penstock/pump-1/telemetry",
    "cloudwatchTraceId": "7e146a2c-95b5-6caf-98b9-50e3969734c7",
    "clientId": "iotconsole-1511213971966-0",
    "base64OriginalPayload": "ewogICJtZXNzYWdlIjogIkhlbGxvIHZyb20gQVdTIElvVCBjb25zb2xlIgp9",
    "failures": [
        {
            "failedAction": "KinesisAction",
            "failedResource": "penstock-telemetry",
            "errorMessage": "Failed to put record",
        }
    ],
}


def body(device: str = "pump-1", payload: bytes = b"\x00\xff") -> str:
    topic = basic_ingest_topic("penstock", device)
    return json.dumps({"topic": topic, "base64OriginalPayload": base64.b64encode(payload).decode()})


class Queue:
    """Messages that are visible, taken or deleted; refuses deletes as often as it is told."""

    def __init__(self, *bodies: str, refusals: int = 0) -> None:
        self.visible = {
            f"m{i}": {"MessageId": f"m{i}", "ReceiptHandle": f"m{i}", "Body": text,
                      "Attributes": {"SentTimestamp": str(AT + i)}}
            for i, text in enumerate(bodies)
        }  # fmt: skip
        self.taken: dict[str, Any] = {}
        self.refusals = refusals

    def receive_message(self, **request: Any) -> Any:
        names = list(self.visible)[: request["MaxNumberOfMessages"]]
        self.taken |= {name: self.visible.pop(name) for name in names}
        return {"Messages": [self.taken[name] for name in names]} if names else {}

    def delete_message_batch(self, **request: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            return {"Failed": [{"Id": entry["Id"]} for entry in request["Entries"]]}
        for entry in request["Entries"]:
            del self.taken[entry["ReceiptHandle"]]
        return {"Successful": []}

    def change_message_visibility_batch(self, **request: Any) -> Any:
        for entry in request["Entries"]:
            assert entry["VisibilityTimeout"] == 0
            self.visible[entry["ReceiptHandle"]] = self.taken.pop(entry["ReceiptHandle"])
        return {}


class Kinesis:
    """Takes records but for those of devices that it refuses."""

    def __init__(self, **refused: str) -> None:
        self.refused = refused
        self.records: list[tuple[str, bytes]] = []

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
        results = []
        for record in Records:
            if code := self.refused.get(record["PartitionKey"]):
                results.append({"ErrorCode": code})
            else:
                self.records.append((record["PartitionKey"], record["Data"]))
                results.append({"SequenceNumber": "1"})
        return {"Records": results}


def test_the_record_is_the_one_that_the_rule_would_have_put() -> None:
    record = record_of(json.dumps(AWS_EXAMPLE), AT)
    envelope = decode_record(record.data)
    assert isinstance(envelope, Envelope)
    assert (record.partition_key, envelope.device_id) == ("pump-1", "pump-1")
    assert b"AWS IoT console" in envelope.payload
    assert envelope.received_at == AT


@pytest.mark.parametrize(
    "topic", [telemetry_topic("plant-7", "a:b"), basic_ingest_topic("plant-7", "a:b")]
)
def test_the_device_is_found_with_basic_ingest_and_without(topic: str) -> None:
    error = json.dumps({"topic": topic, "base64OriginalPayload": ""})
    assert record_of(error, AT).partition_key == "a:b"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "not json", "[" * 100_000,
     '{"topic": "presence/penstock/x", "base64OriginalPayload": ""}',
     '{"topic": "dt/penstock/x/y/telemetry", "base64OriginalPayload": ""}',
     '{"topic": "dt/penstock/x/telemetry\\n", "base64OriginalPayload": ""}',
     '{"topic": "dt/penstock/x/telemetry", "base64OriginalPayload": "*"}'],
)  # fmt: skip
def test_what_is_no_error_of_telemetry_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an error|is not a device"):
        record_of(text, AT)


def test_all_are_put_and_then_deleted() -> None:
    queue, kinesis = Queue(*[body(f"d{i}") for i in range(25)]), Kinesis()
    told: list[int] = []
    counts = redrive(queue, "q", kinesis, "s", progress=told.append)
    assert (counts.redriven, counts.left, told) == (25, [], [10, 20, 25])
    assert [device for device, _ in kinesis.records] == [f"d{i}" for i in range(25)]
    assert not queue.visible
    assert not queue.taken


def test_only_what_the_stream_took_leaves_the_queue_and_the_rest_is_seen_again() -> None:
    queue = Queue(body("good"), body("bad"), body("fine"))
    with pytest.raises(PutError, match="AccessDenied"):
        redrive(queue, "q", Kinesis(bad="AccessDenied"), "s")
    assert (list(queue.visible), queue.taken) == (["m1"], {})


def test_when_the_call_itself_fails_everything_stays_and_is_seen_again() -> None:
    class Down:
        def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
            raise ConnectionError

    queue = Queue(body("a"), body("b"))
    with pytest.raises(ConnectionError):
        redrive(queue, "q", Down(), "s")
    assert (list(queue.visible), queue.taken) == (["m0", "m1"], {})


def test_what_is_not_of_the_rule_stays_and_does_not_stop_the_others() -> None:
    queue, kinesis = Queue("garbage", body("a"), "{}", *[body("b")] * 9), Kinesis()
    counts = redrive(queue, "q", kinesis, "s")
    assert counts.redriven == len(kinesis.records) == 10
    assert [left.message_id for left in counts.left] == ["m0", "m2"]
    assert (sorted(queue.visible), queue.taken) == (["m0", "m2"], {})


def test_a_delete_that_fails_is_repeated_and_then_said() -> None:
    assert redrive(Queue(body(), refusals=2), "q", Kinesis(), "s").redriven == 1
    with pytest.raises(DeleteError, match="run it again"):
        redrive(Queue(body(), refusals=3), "q", Kinesis(), "s")
