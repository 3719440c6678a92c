"""The watch of invariant K sees a checkpoint that is ahead of the archive; faults are planned."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.prove.checkpoints import CheckpointWatch
from infra.prove.faults import PLAN, Fault, Site, inflict
from infra.target import Target
from ingest.settings import Settings

SHARD = "shardId-000000000000"


class _Pages:
    def __init__(self, page: Any) -> None:
        self._page = page

    def paginate(self, **_: Any) -> Iterator[Any]:
        yield self._page


class _Aws:
    """The lease table and the archive's bucket: ``archived`` is the last record of each object."""

    def __init__(self, checkpoint: str, archived: list[str]) -> None:
        self.checkpoint = checkpoint
        self.archived = archived
        self.heads = 0

    def get_paginator(self, operation: str) -> _Pages:
        if operation == "scan":
            row = {"leaseKey": {"S": SHARD}, "checkpoint": {"S": self.checkpoint}}
            return _Pages({"Items": [row]})
        keys = [f"telemetry/v1/dt=2026-11-25/hour=04/{SHARD}-{i:030d}.0.parquet"
                for i, _ in enumerate(self.archived)]  # fmt: skip
        return _Pages({"Contents": [{"Key": key} for key in keys]})

    def head_object(self, *, Key: str, **_: Any) -> Any:
        self.heads += 1
        number = int(Key.rpartition("-")[2].split(".")[0])
        return {"Metadata": {"last-sequence": self.archived[number], "last-sub": "0"}}


def _watch(aws: _Aws) -> CheckpointWatch:
    target = SimpleNamespace(settings=Settings(), account="1" * 12, client=lambda _: aws)
    return CheckpointWatch(cast("Target", target))


@pytest.mark.parametrize(
    ("checkpoint", "archived", "ahead", "compared"),
    [
        ("TRIM_HORIZON", [], [], 0),
        ("SHARD_END", [], [], 0),
        ("100", ["99", "100"], [], 1),
        ("99", ["100"], [], 1),
        ("100", ["99"], [SHARD], 1),  # by number and not by text
        ("100", [], [SHARD], 1),
    ],
)
def test_a_checkpoint_that_is_ahead_of_the_archive_is_seen(
    checkpoint: str, archived: list[str], ahead: list[str], compared: int
) -> None:
    watch = _watch(_Aws(checkpoint, archived))
    watch.look()
    assert watch.result() == {"compared": compared, "ahead": ahead}


def test_each_object_is_looked_at_once_and_what_was_ahead_is_not_forgotten() -> None:
    aws = _Aws("100", ["99"])
    watch = _watch(aws)
    watch.look()
    aws.archived.append("100")
    watch.look()
    assert watch.result() == {"compared": 2, "ahead": [SHARD]}
    assert aws.heads == 2


def test_a_fault_that_cannot_be_made_is_a_result_that_breaks_the_proof() -> None:
    def refuses(_: str) -> Any:
        raise RuntimeError("no such stream")

    target = SimpleNamespace(settings=Settings(), client=refuses)
    site = Site(cast("Target", target), cast("Any", None))
    row = inflict(site, Fault(0.5, "shard_split", "a split"), lambda: 31.0, 30.0)
    assert (row["healed"], row["healed_s"], row["at_s"]) == (False, None, 31.0)
    assert "no such stream; the load had ended by then" in row["detail"]


def test_faults_come_one_after_the_other_within_the_load() -> None:
    at = [fault.at for fault in PLAN]
    assert at == sorted(at)
    assert all(0 < share < 1 for share in at)
