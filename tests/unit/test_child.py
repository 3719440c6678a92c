"""The child against a daemon played over pipes: the protocol's order, checkpoints and endings."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.config import child_config, to_environment
from consumers.exceptions import GaveUpError, ProtocolError
from consumers.kcl.position import position
from consumers.kcl.protocol import StreamRecord, checkpoint_line, parse, status_line
from consumers.shard.child import Pipe, serve
from ingest.settings import Settings
from tests.harness.shard import NOW, Shard, backoff, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

EVENTS = Path(__file__).parents[1] / "events" / "kcl"


def lines(*actions: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(b"".join(msgspec.json.encode(action) + b"\n" for action in actions))


def written(sink: io.BytesIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in sink.getvalue().split(b"\n") if line]


CHECKPOINTED = {"action": "checkpoint", "sequenceNumber": "5", "error": None}


def refused(error: str) -> dict[str, Any]:
    return {"action": "checkpoint", "error": error}


def test_lines_captured_from_the_daemon_are_understood() -> None:
    captured = [line for file in sorted(EVENTS.glob("*.jsonl")) for line in _read(file)]
    actions = {parse(line).action for line in captured}
    assert actions >= {"initialize", "processRecords", "shutdownRequested", "checkpoint"}
    records = [r for line in captured for r in parse(line).records]
    assert records
    assert all(
        r.position.sequence.isdigit() and r.approximate_arrival_timestamp > 1e12 for r in records
    )


def _read(file: Path) -> Iterator[bytes]:
    yield from file.read_bytes().splitlines()


@pytest.mark.parametrize("line", [b"", b"{}", b"null", b"[1]", b'{"action":1}', b"\xff"])
def test_a_line_that_is_no_action_ends_the_process(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(line)


def test_a_checkpoint_names_its_position() -> None:
    assert msgspec.json.decode(checkpoint_line(position("49", 3))) == {
        "action": "checkpoint",
        "sequenceNumber": "49",
        "subSequenceNumber": 3,
    }


def test_a_checkpoint_sends_the_sequence_number_back_unchanged() -> None:
    """Read as a number and written again, it named a place before every record: after a crash
    the shard was read from its tip, and what lay between was lost."""
    record = StreamRecord(b"", "000000017954490019420000000018")
    line = msgspec.json.decode(checkpoint_line(record.position))
    assert line["sequenceNumber"] == "000000017954490019420000000018"
    assert position("9", 0) < position("10", 0) < position("10", 1)


def test_a_throttled_checkpoint_is_asked_for_again() -> None:
    sink = io.BytesIO()
    pipe = Pipe(
        lines(
            refused("ThrottlingException"),
            refused("KinesisClientLibDependencyException"),
            CHECKPOINTED,
        ),
        sink,
        backoff,
    )
    assert pipe.checkpoint(position("5", 0)) is True
    assert len(written(sink)) == 3


def test_a_checkpoint_without_the_lease_reports_that_it_is_lost() -> None:
    pipe = Pipe(lines(refused("ShutdownException")), io.BytesIO(), backoff)
    assert pipe.checkpoint(position("5", 0)) is False


@pytest.mark.parametrize("error", ["InvalidStateException", "IllegalArgumentException"])
def test_any_other_refusal_of_a_checkpoint_ends_the_process(error: str) -> None:
    pipe = Pipe(lines(refused(error)), io.BytesIO(), backoff)
    with pytest.raises(ProtocolError, match=error):
        pipe.checkpoint(position("5", 0))


def test_another_action_where_a_checkpoint_was_awaited_ends_the_process() -> None:
    pipe = Pipe(lines({"action": "leaseLost"}), io.BytesIO(), backoff)
    with pytest.raises(ProtocolError):
        pipe.checkpoint(position("5", 0))


class Scripted:
    """A daemon's lines and the stores behind a served shard."""

    def __init__(self, *actions: dict[str, Any]) -> None:
        self.shard = Shard()
        self.dynamo = MemoryDynamo()
        self.s3 = MemoryS3()
        self.sink = io.BytesIO()
        self.pipe = Pipe(lines(*actions), self.sink, backoff)

    def serve(self) -> list[dict[str, Any]]:
        def open_shard(_: str) -> Any:
            processor = open_worker(self.shard, self.dynamo, self.s3, lambda: 0.0)
            processor._checkpointer = self.pipe
            return processor, processor._stats

        serve(self.pipe, open_shard)
        return written(self.sink)


def process(*readings: float) -> dict[str, Any]:
    shard = Shard()
    for i, value in enumerate(readings):
        shard.put("dev-a", payload("boot-one", i, [(NOW, {"a": value})]), NOW, NOW)
    return {"action": "processRecords", "records": [_wire(r) for r in shard.records]}


def _wire(record: StreamRecord) -> dict[str, Any]:
    return dict(msgspec.to_builtins(record))


START = {"action": "initialize", "shardId": "shardId-0"}


def test_every_action_is_answered_in_order() -> None:
    run = Scripted(START, process(), process(), {"action": "leaseLost", "reason": "ZOMBIE"})
    answers = [answer["responseFor"] for answer in run.serve()]
    assert answers == ["initialize", "processRecords", "processRecords", "leaseLost"]


def test_a_requested_shutdown_commits_and_checkpoints_before_it_answers() -> None:
    run = Scripted(START, process(1.0, 2.0), {"action": "shutdownRequested"}, CHECKPOINTED)
    *_, checkpoint, status = run.serve()
    assert checkpoint["action"] == "checkpoint"
    assert status["responseFor"] == "shutdownRequested"
    assert len(run.s3.objects) == 1
    assert len(run.dynamo.tables["windows"]) == 2


def test_a_shard_s_end_is_checkpointed_at_its_end_after_the_last_segment() -> None:
    run = Scripted(START, process(1.0), {"action": "shardEnded"}, CHECKPOINTED, CHECKPOINTED)
    answers = run.serve()
    checkpoints = [a["sequenceNumber"] for a in answers if a["action"] == "checkpoint"]
    assert checkpoints[0] is not None
    assert checkpoints[1] is None
    assert answers[-1]["responseFor"] == "shardEnded"


def test_an_end_that_cannot_be_checkpointed_ends_the_process_without_an_answer() -> None:
    run = Scripted(START, process(1.0), {"action": "shardEnded"}, CHECKPOINTED,
                   refused("InvalidStateException"))  # fmt: skip
    with pytest.raises(ProtocolError):
        run.serve()
    assert written(run.sink)[-1]["action"] == "checkpoint"


def test_nothing_is_written_after_the_lease_was_lost() -> None:
    run = Scripted(START, {"action": "leaseLost"}, process(1.0), {"action": "shutdownRequested"})
    run.serve()
    assert run.s3.objects == {}
    assert run.dynamo.tables == {}


def test_a_store_that_stays_busy_ends_the_process() -> None:
    from consumers.aws.backoff import Backoff

    times = iter([0.0, 100.0, 130.0])
    waiting = Backoff(sleep=lambda _: None, clock=lambda: next(times))
    waiting.wait("S3 does not take x")
    waiting.wait("S3 does not take x")
    with pytest.raises(GaveUpError, match="S3 does not take x, for 130 s"):
        waiting.wait("S3 does not take x")


def test_a_child_leaves_when_its_daemon_is_gone() -> None:
    settings = Settings(endpoint_url="http://127.0.0.1:9")
    environment = {
        **os.environ,
        **to_environment(child_config(settings, "000000000000")),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "consumers.shard.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b'{"action":"initialize","shardId":"shardId-0"}\n')
        child.stdin.flush()
        assert b"initialize" in child.stdout.readline() + child.stdout.readline()
        child.terminate()  # ignored: only the daemon says when to stop
        child.stdin.close()
        assert child.wait(20) == 0


def test_started_by_hand_it_says_who_starts_it() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "consumers.shard.child"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "started by penstock consume" in result.stderr


def test_a_status_line_stands_alone_even_after_stray_output() -> None:
    assert status_line("initialize") == b'\n{"action":"status","responseFor":"initialize"}\n'
