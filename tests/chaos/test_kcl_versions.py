"""The KCL in ``kcl_jars``: beside the wheel's, before and after it, and with all in one table."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from consumers.kcl.jars import installed_version
from consumers.kcl.leases import read_leader
from infra.emulator.process import Emulator
from ingest.settings import load
from tests.chaos.faults.processes import until_restarted, working
from tests.chaos.site import RunningWorker, Site
from tests.chaos.suite import emulator_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("chaos"),
    pytest.mark.skipif(
        installed_version(load()) < (3, 5), reason="kcl_jars names no KCL 3.5: see `make jars`"
    ),
]
SEED: Final = 11


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator_in(tmp_path_factory.mktemp("aws")) as running:
        yield running


def _owners(site: Site) -> set[str]:
    return {lease["owner"] for lease in site.leases().values()}


def _take_over(site: Site, old: RunningWorker, new: RunningWorker) -> None:
    """Wait until both work; end the old one; wait until the new one has everything."""
    both = {old.worker.worker_id, new.worker.worker_id}
    site.until(lambda: _owners(site) == both, 180, "leases for both versions")
    old.end()
    site.until(lambda: _owners(site) == {new.worker.worker_id}, 60, "the other version alone")


def test_workers_of_both_versions_take_over_from_each_other(aws: Emulator, tmp_path: Path) -> None:
    """A new version is deployed, and then the old one again."""
    with Site(aws, tmp_path, stack="versions", seed=SEED) as site:
        with site.load(40):
            old = site.start_worker(kcl_jars=None)
            site.until(lambda: len(old.children()) >= 2, 90, "a child for each shard")
            new = site.start_worker()
            _take_over(site, old, new)
            _take_over(site, new, site.start_worker(kcl_jars=None))
        assert site.violations() == []


def test_without_its_two_other_tables_the_kcl_keeps_all_in_the_lease_table(
    aws: Emulator, tmp_path: Path
) -> None:
    """With the worker's role, and with a daemon that is killed: what it held is released there."""
    with Site(aws, tmp_path, stack="one-table", seed=SEED) as site:
        for suffix in ("CoordinatorState", "WorkerMetricStats"):
            site.dynamodb.delete_table(TableName=f"{site.settings.application}-{suffix}")
        with site.load(20):
            worker = working(site)
            first = worker.worker.worker_id
            assert read_leader(site.dynamodb, site.settings.application) == first
            os.kill(worker.daemon, signal.SIGKILL)
            until_restarted(site, worker)
            site.until(lambda: _owners(site) == {worker.worker.worker_id}, 30, "its leases again")
        assert site.violations() == []
        rows = site.dynamodb.scan(TableName=site.settings.application)["Items"]
        types = {row["entityType"]["S"] for row in rows if "entityType" in row}
        assert types >= {"LEADER", "WORKER_METRIC_STATS"}
        assert first not in {row["leaseKey"]["S"] for row in rows}
