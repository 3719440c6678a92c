"""The provisioned dashboards of Grafana: each asks for metrics and data sources that there are."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import yaml

from consumers.shard.report import ShardReport
from consumers.worker.prometheus import exposition
from consumers.worker.status import WorkerStatus

FOLDER = Path(__file__).parents[2] / "infra" / "grafana"
WORKERS = json.loads((FOLDER / "dashboards" / "workers.json").read_text())
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
