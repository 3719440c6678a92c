"""An alarm from a rule in a file to an event on the bus, through a worker that dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.alerts.transition import transition_id
from consumers.failpoints import VARIABLE
from ingest.record import encode_record
from ingest.tables.hot import window_name
from tests.harness import command
from tests.harness.processes import await_value
from tests.harness.shard import payload
from tests.integration.test_commands import Up

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alerts")]

RULES = """
[[rule]]
name = "too-hot"
tier = "10s"
when = "max(temperature) > 80"
clear = "max(temperature) < 70"
severity = "critical"
summary = "{device} is at {value} °C"
"""


@pytest.fixture(scope="module")
def failpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failpoints")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, failpoints: Path) -> Iterator[Up]:
    command.extra[VARIABLE] = str(failpoints)
    try:
        running = Up(tmp_path_factory.mktemp("alerts"))
    finally:
        del command.extra[VARIABLE]
    yield running
    running.process.kill()
    running.process.wait()


class Line:
    """A device that writes to the stream, and a queue that hears the bus."""

    def __init__(self, up: Up, device: str) -> None:
        self.device = device
        self._target = up.root()
        self._sqs = self._target.client("sqs")
        self._url = self._sqs.create_queue(QueueName=device)["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        bus, events = self._target.settings.alerts_bus, self._target.client("events")
        pattern = json.dumps({"source": ["penstock.alerts"], "detail": {"device": [device]}})
        events.put_rule(Name=device, EventBusName=bus, EventPattern=pattern)
        target = {"Id": "q", "Arn": arn["Attributes"]["QueueArn"]}
        events.put_targets(Rule=device, EventBusName=bus, Targets=[target])
        self._seq = 0
        self.got: list[dict[str, Any]] = []

    def send(self, ts: int, temperature: float) -> None:
        data = payload("boot-one", self._seq, [(ts, {"temperature": temperature})])
        self._seq += 1
        self._target.client("kinesis").put_record(
            StreamName=self._target.settings.stream,
            PartitionKey=self.device,
            Data=encode_record(data, self.device, time.time_ns() // 1_000_000),
        )

    def heard(self, kind: str) -> dict[str, Any]:
        """The newest event of a kind, once it is there."""

        def find() -> dict[str, Any] | None:
            self._receive()
            return next((one for one in reversed(self.got) if one["kind"] == kind), None)

        return await_value(find, 60, f"{kind} of {self.device}")

    def _receive(self) -> None:
        found = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        for message in found.get("Messages", []):
            self.got.append(json.loads(message["Body"])["detail"])
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def apply(up: Up, text: str) -> None:
    folder = up.folder / "alerts"
    folder.mkdir(exist_ok=True)
    (folder / "rules.toml").write_text(text)
    done = up.penstock("alert", "apply", "--json")
    assert done.code == 0, done.err


def test_an_alarm_is_raised_and_cleared_once_though_the_worker_dies_around_it(
    up: Up, failpoints: Path
) -> None:
    apply(up, RULES)
    line = Line(up, "pump-1")
    now = time.time_ns() // 1_000_000
    await_value(lambda: up.penstock("alert", "rules", "--json").json or None, 10, "the rules")
    line.send(now, 20.0)
    time.sleep(6)  # the longest after which a shard's process knows new rules
    hot = time.time_ns() // 10_000_000_000 * 10_000
    (failpoints / "windows_durable").write_text("crash")
    line.send(hot + 500, 91.0)
    raised = line.heard("raised")

    assert not (failpoints / "windows_durable").exists()
    assert raised["text"] == "pump-1 is at 91 °C"
    key = window_name("10s", hot)
    assert raised["id"] == transition_id("too-hot", "pump-1", key, "raised")
    (open_now,) = up.penstock("alert", "list", "--json").json
    assert (open_now["device"], open_now["open"]) == ("pump-1", True)

    assert up.penstock("alert", "ack", "too-hot", "pump-1", "--by", "kim").code == 0
    assert line.heard("acknowledged")["by"] == "kim"

    (failpoints / "alerts_recorded").write_text("crash")
    line.send(hot + 10_500, 30.0)
    line.send(hot + 20_500, 30.0)
    cleared = line.heard("cleared")

    assert not (failpoints / "alerts_recorded").exists()
    assert cleared["id"] == transition_id("too-hot", "pump-1", window_name("10s", hot + 10_000),
                                          "cleared")  # fmt: skip
    kinds = list(dict.fromkeys((one["id"], one["kind"]) for one in line.got))
    assert [kind for _, kind in kinds] == ["raised", "acknowledged", "cleared"]
    assert up.penstock("alert", "list", "--json").json == []


def test_people_are_told_by_the_topic_and_not_of_what_is_muted(up: Up) -> None:
    """A queue stands for the mail: it is subscribed to the topic as an address would be."""
    target, line = up.root(), Line(up, "pump-mailed")
    sqs, sns = target.client("sqs"), target.client("sns")
    mails = sqs.create_queue(QueueName="mails")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=mails, AttributeNames=["QueueArn"])["Attributes"]
    topics = [one["TopicArn"] for one in sns.list_topics()["Topics"]]
    (topic,) = [one for one in topics if one.endswith(f":{target.settings.stack}-alerts")]
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=mails, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue["QueueArn"])
    texts: list[str] = []

    def mailed(about: str) -> bool | None:
        for message in sqs.receive_message(QueueUrl=mails).get("Messages", []):
            texts.append(json.loads(message["Body"])["Message"])
            sqs.delete_message(QueueUrl=mails, ReceiptHandle=message["ReceiptHandle"])
        return any(about in text and line.device in text for text in texts) or None

    apply(up, RULES)
    time.sleep(6)  # the longest after which a shard's process knows new rules
    hot = time.time_ns() // 10_000_000_000 * 10_000
    line.send(hot + 500, 91.0)
    await_value(lambda: mailed("raised"), 60, "the mail")
    assert f"critical: too-hot raised on {line.device}. {line.device} is at 91 °C" in texts[0]
    until = (hot + 3_600_000) // 1000
    mute = ("alert", "mute", "too-hot", line.device, "--until", str(until * 1000))
    assert up.penstock(*mute).code == 0
    await_value(lambda: mailed("muted"), 60, "the mail that it is muted")
    line.send(hot + 10_500, 30.0)
    line.send(hot + 20_500, 30.0)
    assert line.heard("cleared")["notify"] is False
    assert up.penstock("alert", "unmute", "too-hot", line.device).code == 0
    await_value(lambda: mailed("unmuted"), 60, "the mail that it is muted no longer")
    assert mailed("cleared") is None


def test_a_wrong_rule_is_refused_with_its_line_and_the_reason(up: Up) -> None:
    (up.folder / "alerts").mkdir(exist_ok=True)
    wrong = up.folder / "alerts" / "wrong.toml"
    wrong.write_text('[[rule]]\nname = "x"\nwhen = "mean(temperature) >> 3"\n')
    try:
        done = up.penstock("alert", "check")
    finally:
        wrong.unlink()
    assert done.code == 1
    assert "wrong.toml:3: 'mean(temperature) >> 3' is no comparison" in done.err
