"""The questions of docs/sql.md have the right answers, and the notebook in examples/ runs."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from consumers.archive.segment_key import HOUR_MS
from infra.commands.sql_output import interval_text
from lake.sql.session import Session
from tests.harness.known_archive import DEVICES, HOURS, build, sent
from tests.harness.lake import BUCKET, MemoryBucket
from tests.harness.shard import NOW

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sql.md").read_text()
QUESTIONS = re.findall(r"^([^\n]+):\n\n```sql\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def bucket() -> MemoryBucket:
    return build()


@pytest.fixture
def lake(bucket: MemoryBucket) -> Iterator[Session]:
    with Session(bucket, BUCKET) as session:  # type: ignore[arg-type]
        yield session


def ask(lake: Session, about: str) -> list[tuple[Any, ...]]:
    """The rows of the answer to the one question that begins so."""
    [text] = [query for title, query in QUESTIONS if title.startswith(about)]
    columns = [column.to_pylist() for column in lake.query(text).to_arrow_table()]
    return [tuple(map(_plain, row)) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return interval_text(value) if isinstance(value, pa.MonthDayNano) else value


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def values(device: str) -> list[float]:
    return [one.temperature for one in sent() if one.device == device]


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10


def test_the_mean_by_hour(lake: Session) -> None:
    hours = [[20.0 + hour + step / 10 for step in range(6)] for hour in range(HOURS)]
    assert ask(lake, "Mean by hour") == [
        (at(NOW + hour * HOUR_MS), pytest.approx(np.mean(numbers)), 6)
        for hour, numbers in enumerate(hours)
    ]


def test_each_days_values_by_device(lake: Session) -> None:
    assert ask(lake, "Each day") == [
        (device, at(NOW).date(), min(v), pytest.approx(np.mean(v)), max(v))
        for device, v in ((device, values(device)) for device in sorted(DEVICES))
    ]


def test_the_device_that_went_silent(lake: Session) -> None:
    last = max(one.ts for one in sent() if one.device == "mill-1")
    assert max(one.ts for one in sent()) - last == 4 * HOUR_MS
    assert ask(lake, "Devices that went silent") == [("mill-1", at(last), "04:00:00")]


def test_the_longest_gap(lake: Session) -> None:
    first, *others = ask(lake, "The longest gaps")
    assert first == ("press-2", at(NOW + 3 * HOUR_MS), "00:50:00")
    assert {gap for _, _, gap in others} == {"00:10:00"}


def test_percentiles_by_type(lake: Session) -> None:
    by_type = {"mill": values("mill-1"), "press": values("press-1") + values("press-2")}
    assert ask(lake, "Percentiles") == [
        (kind, pytest.approx(np.quantile(numbers, [0.5, 0.95, 0.99])))
        for kind, numbers in by_type.items()
    ]


def test_latency_by_hour(lake: Session) -> None:
    assert ask(lake, "Latency") == [
        (at(NOW + hour * HOUR_MS), [100.0 + hour, 100.0 + hour]) for hour in range(HOURS)
    ]


def test_what_was_rejected(lake: Session) -> None:
    last = at(NOW + 4 * HOUR_MS + 3_000_000)
    assert ask(lake, "What was rejected") == [
        ("malformed", "press-1", 1, last),
        ("malformed", "press-2", 1, last),
    ]


def test_numbers_that_are_missing(lake: Session) -> None:
    assert ask(lake, "Numbers that are missing") == [("press-2", "boot-one", 2)]


def test_what_the_stream_had_again(lake: Session) -> None:
    again: dict[str, int] = defaultdict(int)
    for one in sent():
        again[one.device] += NOW + HOUR_MS <= one.ts < NOW + 2 * HOUR_MS
    assert ask(lake, "How often") == sorted(again.items())


def test_the_metrics_that_are_sent(lake: Session) -> None:
    assert ask(lake, "Metrics") == [("temperature", len(sent()), at(NOW))]


def test_the_notebook_runs_and_has_what_it_says(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = json.loads((ROOT / "examples" / "archive.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    monkeypatch.setattr("boto3.client", lambda service: {"s3": bucket}[service])
    monkeypatch.setenv("PENSTOCK_BUCKET", BUCKET)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"archive.ipynb cell {number}", "exec"), names)
    assert names["devices"]["readings"].to_pylist() == [
        sum(one.device == device for one in sent()) for device in sorted(DEVICES)
    ]
    assert names["minutes"]["mean"].to_pylist() == values("press-1")
    assert names["reads"].objects == HOURS
