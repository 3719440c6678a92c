"""The item of a worker in the status table, written and read back."""

from __future__ import annotations

import pytest

from ingest.tables import status as worker_report


def test_a_report_reads_back_as_it_was_written() -> None:
    item = worker_report.write("host-1", {"records": 3, "shards": [{"shard": "s-0"}]}, 5_000)
    assert worker_report.read(item) == {
        "worker": "host-1",
        "updated_at": 5_000,
        "records": 3,
        "shards": [{"shard": "s-0"}],
    }
    assert item["expires_at"] == {"N": str(5 + worker_report.LIFE_S)}


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_what_is_no_report_is_refused(text: str) -> None:
    item = {**worker_report.write("w", {}, 0), "report": {"S": text}}
    with pytest.raises(ValueError, match="not a report"):
        worker_report.read(item)
