"""The provisioned dashboards of Grafana: each asks for metrics and data sources that there are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers.shard.report import ShardReport
from consumers.worker.prometheus import exposition
from consumers.worker.status import WorkerStatus
from tests.harness.dashboard import NOW, a_fleet, client_of

FOLDER = Path(__file__).parents[2] / "infra" / "grafana"
WORKERS = json.loads((FOLDER / "dashboards" / "workers.json").read_text())
DEVICES = json.loads((FOLDER / "dashboards" / "devices.json").read_text())
SOURCES = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "penstock.yaml").read_text())


def exposed() -> set[str]:
    """The names of all samples on a worker's page."""
    status = WorkerStatus()
    status.daemon_pid = os.getpid()
    status.restarted("killed")
    now = {"uncommitted_since": 1, "unflushed_since": 1, "behind_ms": 0, "dispositions": {"ok": 1}}
    status.report(ShardReport("s-0", 1, **now))  # type: ignore[arg-type]
    page = exposition(status.snapshot(), status.latency()).decode()
    return set(re.findall(r"^(penstock_\w+)", page, re.MULTILINE))


def test_every_panel_of_the_workers_asks_for_metrics_that_they_expose() -> None:
    names = exposed()
    for panel in WORKERS["panels"]:
        for target in panel["targets"]:
            asked = set(re.findall(r"\bpenstock_\w+", target["expr"]))
            assert asked
            assert asked <= names, panel["title"]


def test_every_panel_has_a_data_source_that_is_provisioned() -> None:
    known = {source["uid"]: source["type"] for source in SOURCES["datasources"]}
    for panel in WORKERS["panels"]:
        assert known[panel["datasource"]["uid"]] == panel["datasource"]["type"]


def test_no_secret_and_no_address_is_in_the_provisioned_files() -> None:
    for source in SOURCES["datasources"]:
        secrets = source.get("secureJsonData", {}).values()
        assert all(value.startswith("${") for value in (source["url"], *secrets))


def test_panels_do_not_overlap_and_have_distinct_ids() -> None:
    panels = WORKERS["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


# -- devices, by the Infinity data source -------------------------------------------------------


def infinity(answer: Any, root: str, columns: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """What the Infinity data source makes of a JSON answer with its backend parser: rows under the
    root selector, a column for each selector, each by its type (documentation of
    yesoreyeram-infinity-datasource: "JSON", "Columns"). A null stays one."""
    read: Mapping[str, Callable[[Any], Any]] = {
        "string": _text,
        "number": _number,
        "timestamp": lambda text: datetime.fromisoformat(_text(text)),
        "timestamp_epoch": lambda ms: datetime.fromtimestamp(_number(ms) / 1000, UTC),
    }
    rows = answer[root] if root else answer
    return [
        {
            one["text"]: None
            if (value := row[one["selector"]]) is None
            else read[one["type"]](value)
            for one in columns
        }
        for row in rows
    ]


def _text(value: Any) -> str:
    assert isinstance(value, str)
    return value


def _number(value: Any) -> float:
    assert isinstance(value, int | float)
    return value


def _queries() -> Iterator[Any]:
    for one in DEVICES["templating"]["list"]:
        if one["type"] == "query":
            yield pytest.param(one["query"]["infinityQuery"], id=one["name"])
    for panel in DEVICES["panels"]:
        yield from (pytest.param(one, id=panel["title"]) for one in panel["targets"])


@pytest.mark.parametrize("query", list(_queries()))
def test_the_plugin_of_grafana_gets_its_columns_from_our_answers(query: dict[str, Any]) -> None:
    chosen = {"device": "dev-00", "tier": "1m", "metric": "temperature",
              "__from": str(NOW - 3_600_000), "__to": str(NOW)}  # fmt: skip
    path = re.sub(r"\$\{(\w+)\}", lambda name: chosen[name[1]], query["url"])
    with client_of(a_fleet()) as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert (query["parser"], query["type"]) == ("backend", "json")
    rows = infinity(answer.json(), query["root_selector"], query["columns"])
    assert rows
    for column in query["columns"]:
        assert any(row[column["text"]] is not None for row in rows), column
