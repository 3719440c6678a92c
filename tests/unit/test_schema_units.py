"""Dashboards show the units of the applied schemas, and the setting's before them."""

from __future__ import annotations

from typing import Any

from dashboard import queries
from dashboard.fleet import Snapshot, summary
from ingest.schemas.item import KEY, write_request
from ingest.tables import status
from tests.harness.schemas import StatusTable, schema
from tests.harness.shard import NOW


class Items:
    """A status table with a worker's report and the schemas."""

    def scan(self, **_: Any) -> Any:
        table = StatusTable()
        table.apply([schema(1, 0, 5)], NOW)
        values = write_request("status", table.history, 0)["ExpressionAttributeValues"]
        item = {"worker": {"S": KEY}, "history": values[":history"], "ver": values[":ver"]}
        return {"Items": [item, status.write("w-1", {"shards": []}, NOW)]}


def test_the_schemas_are_no_worker_and_give_units() -> None:
    reports, units = queries.workers(Items(), "status")  # type: ignore[arg-type]
    assert [one["worker"] for one in reports] == ["w-1"]
    assert units == {"a": "bar"}


def test_the_settings_units_go_before_those_of_the_schemas() -> None:
    snapshot = Snapshot(units={"a": "bar", "b": "W"})
    assert summary(snapshot, {"a": "psi"})["units"] == {"a": "psi", "b": "W"}
