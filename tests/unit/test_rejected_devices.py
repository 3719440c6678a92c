"""What became of a device's readings that were not folded: counted by device and disposition."""

from __future__ import annotations

from typing import Any

from consumers.shard.report import DEVICES_KEPT, ShardReport, ShardStats
from consumers.worker.status import WorkerStatus
from ingest.tables import status, watched
from tests.harness.shard import NOW, Shard, open_worker, payload
from tests.harness.stores import MemoryDynamo, MemoryS3

AHEAD = NOW + 3_600_000


def _report(*messages: tuple[str, bytes]) -> ShardReport:
    shard = Shard()
    for device, data in messages:
        shard.put(device, data, NOW, NOW)
    worker = open_worker(shard, MemoryDynamo(), MemoryS3(), lambda: 0.0)
    worker.process(shard.records)
    worker.commit()
    return worker._stats.report


def _message(boot: str, *times: int) -> bytes:
    return payload(boot, 0, [(ts, {"temperature": 1.0}) for ts in times])


def _dispositions(report: ShardReport, device: str) -> dict[str, int]:
    return report.rejected_devices[device].dispositions


def test_readings_of_a_clock_that_is_ahead_are_counted_for_their_device() -> None:
    report = _report(
        ("fast-1", _message("boot-one", AHEAD, AHEAD + 1, NOW)),
        ("good-1", _message("boot-two", NOW)),
    )  # fmt: skip
    assert _dispositions(report, "fast-1") == {"clock_ahead": 2}
    assert report.rejected_devices.keys() == {"fast-1"}
    assert report.rejected_devices["fast-1"].last_at == NOW
    assert report.dispositions == {"clock_ahead": 2, "ok": 2}


def test_status_lists_every_kind_of_reject_and_not_the_malformed_only() -> None:
    report = _report(
        ("bad-1", b"no json"), ("fast-1", _message("boot-one", AHEAD)),
        ("old-1", _message("boot-two", NOW - 10**11)),
    )  # fmt: skip
    status = WorkerStatus()
    status.report(report)
    listed: Any = status.snapshot()["rejects"]
    assert {(one["device"], one["disposition"]) for one in listed} == {
        ("bad-1", "malformed"), ("fast-1", "clock_ahead"), ("old-1", "late"),
    }  # fmt: skip


def test_a_shard_names_the_devices_with_the_newest_rejects_and_forgets_the_others() -> None:
    stats = ShardStats("shard-0", lambda: NOW, write=lambda _: None)
    for number in range(DEVICES_KEPT + 3):
        stats.reject(f"dev-{number}", "late", b"x", NOW + number)
        stats.reject("dev-0", "late", b"x", NOW + number)
    kept = stats.report.rejected_devices
    assert len(kept) == DEVICES_KEPT
    assert kept["dev-0"].dispositions == {"late": DEVICES_KEPT + 4}
    assert "dev-1" not in kept
    assert list(kept)[-1] == "dev-0"


def test_two_shards_reports_of_a_device_are_added_up() -> None:
    status = WorkerStatus()
    for name in ("shard-0", "shard-1"):
        stats = ShardStats(name, lambda: NOW, write=lambda _: None)
        stats.reject("dev-0", "late", b"x", NOW, readings=3)
        stats.reject("dev-0", "malformed", b"x", NOW + 1)
        status.report(stats.report)
    assert status.snapshot()["rejected_devices"] == {
        "dev-0": {"dispositions": {"late": 6, "malformed": 2}, "last_at": NOW + 1}
    }


def test_a_page_that_somebody_watches_hides_no_reject_from_the_commands() -> None:
    """The table of reports also holds the item of what viewers watch."""
    report = {"rejected_devices": {"fast-1": {"dispositions": {"late": 2}, "last_at": NOW}}}
    viewers = {**watched.key(), "v:page": {"M": {}}}
    table = [viewers, status.write("worker-1", report, NOW)]
    (found,) = status.reports(table)
    assert found["rejected_devices"] == report["rejected_devices"]
