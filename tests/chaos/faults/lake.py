"""The lake's jobs are killed, frozen and run twice at once while workers archive; its catalog is
lost; rejects are redriven while a child dies. After each, every snapshot has what it says."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

from devices.batch import Outgoing
from infra.archive.lake import archive_bucket
from infra.archive.redriving_rejects import plan_redrive
from infra.simulation.lake import check_lake, of_run
from infra.target import Target
from ingest.record import Envelope, decode_record
from lake.archive.segments import list_segments
from lake.rejects.fix import Fix
from lake.rejects.found import Wanted
from simulator.verification.lake import LakeReport
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.faults.archive import ended, penstock
from tests.chaos.faults.devices import now_ms, numbered
from tests.chaos.faults.processes import working
from tests.chaos.lake_writer import HELD, LEASE_S, Job, exit_code, start
from tests.chaos.site import Site
from tests.harness.lake_schedule import COMPACT_STEPS, SYNC_STEPS

_EARLY: Final = 20
_DAYS_S: Final = 2 * 86_400
_GLUE: Final = {"lake_catalog": "glue"}


def _run(target: Target, job: Job) -> None:
    """Run a job to its end, once no other writer is at work."""
    code = _ended(target, job)
    assert code == 0, f"{job} ended with {code}"


def _ended(target: Target, job: Job, seconds: float = 30.0) -> int:
    """The exit code of a job that began when no other writer was at work."""
    deadline = time.monotonic() + seconds
    while (code := exit_code(start(target, job))) == HELD:
        assert time.monotonic() < deadline, "the lease of a writer that is gone did not end"
        time.sleep(LEASE_S / 8)
    return code


def _checked(site: Site, target: Target) -> LakeReport:
    """Bring the lake up to date when all is archived, and compare each snapshot."""
    site.drain()
    for name in ("sync", "compact"):
        _run(target, Job(name))
    report = check_lake(target, site.report().accepted)
    assert report.exact, report.differences[:3]
    assert report.readings, "there was nothing to compare"
    return report


def _await_segment(site: Site, target: Target) -> None:
    """Wait until workers have committed one more."""
    bucket = archive_bucket(target)
    before = len(list_segments(site.s3, bucket))
    site.until(lambda: len(list_segments(site.s3, bucket)) > before, 30, "a segment")


@on_own_site(**_GLUE)
def librarian_and_compactor_are_killed_at_each_step(site: Site) -> None:
    """SIGKILL at every step of registering, compacting and merging, while workers archive."""
    jobs = [Job("sync", "kill", step) for step in SYNC_STEPS]
    jobs += [Job("compact", "kill", step) for step in COMPACT_STEPS if step != "merged"]
    with site.load(10, devices=12):
        working(site)
        for name in ("sync", "compact"):
            _await_segment(site, site.target)
            _run(site.target, Job(name))
        _await_segment(site, site.target)  # a job that is killed before its commit leaves it
        for job in [*jobs, Job("compact", "kill", "merged", later_s=_DAYS_S)]:
            assert _ended(site.target, job) == -signal.SIGKILL, job
    assert _checked(site, site.target).snapshots >= len(("sync", "compact")) * 3


@on_own_site(**_GLUE)
def two_writers_of_the_lake_at_once(site: Site) -> None:
    """Two librarians and two compactors start together; then each is frozen before its commit for
    longer than its lease, another one commits meanwhile, and the first goes on."""
    with site.load(8, devices=12):
        working(site)
        for name in ("sync", "compact"):
            _await_segment(site, site.target)
            pair = [start(site.target, Job(name)) for _ in range(2)]
            codes = sorted(exit_code(one) for one in pair)
            assert codes in ([0, 0], [0, HELD]), f"two at once ended with {codes}"
            _await_segment(site, site.target)
            frozen = start(site.target, Job(name, "freeze", "prepared"))
            site.until(partial(_is_frozen, frozen.pid), 30, "the commit")
            _run(site.target, Job(name))
            os.kill(frozen.pid or 0, signal.SIGCONT)
            assert exit_code(frozen) == 0
    _checked(site, site.target)


def _is_frozen(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@on_own_site()
def the_lake_s_catalog_is_lost(site: Site) -> None:
    """The catalog's file is gone while devices send: SQL reads the archive itself, and the command
    makes both tables again from the listing."""
    target = of_run(site.target, site.folder)
    own = {"PENSTOCK_LAKE_CATALOG": "sqlite", "PENSTOCK_LAKE_CATALOG_URI": str(_file(target))}
    with site.load(8, devices=12):
        working(site)
        for name in ("sync", "compact"):
            _await_segment(site, target)
            _run(target, Job(name))
        _file(target).unlink()
        ended(penstock(site, "lake", "rebuild", "--yes", "--json", more=own))
        _file(target).unlink()
    site.drain()
    count = "SELECT count(*) AS n FROM readings"
    wanted = [{"n": len(site.report().accepted)}]
    assert ended(penstock(site, "sql", count, "--json", more=own)) == wanted
    rebuilt = ended(penstock(site, "lake", "rebuild", "--yes", "--json", more=own))
    assert rebuilt["compacted"]["readings"] == wanted[0]["n"]
    assert ended(penstock(site, "sql", count, "--json", more=own)) == wanted
    _checked(site, target)


def _file(target: Target) -> Path:
    return Path(target.settings.lake_catalog_uri or "")


@on_own_site()
def rejects_are_redriven_while_a_child_dies(site: Site) -> None:
    """Readings of clocks that were ahead are redriven by two commands at once, of which one is
    killed, and once more; a child dies while they are in the stream. Each counts once."""
    earlier_s = 3 * site.settings.clock_ahead_s
    with site.load(6):
        worker = working(site)
        site.publish(
            {one: numbered("ahead-no", _EARLY, now_ms() + earlier_s * 1000)
             for one in site.fleet(4)}
        )  # fmt: skip
    site.drain()
    since = now_ms() - 3_600_000
    wanted = Wanted(since, now_ms() + 1, frozenset({"clock_ahead"}))
    chosen = plan_redrive(site.target, wanted, Fix(clock_ms=-earlier_s * 1000)).send
    assert len(chosen) == 4 * _EARLY
    redrive = ("rejects", "redrive", "--reason", "clock_ahead", "--clock", f"-{earlier_s}",
               "--yes", "--json")  # fmt: skip
    with site.load(8):
        killed, other = penstock(site, *redrive), penstock(site, *redrive)
        site.until(lambda: _redriven_in_the_stream(site), 60, "a redriven reading")
        os.kill(worker.children()[0], signal.SIGKILL)
        os.killpg(killed.pid, signal.SIGKILL)
        for command in (killed, other):
            command.communicate(timeout=150)
        # The same once more, so that the ledger has what the verifier must find.
        site.put([(one.device_id, Outgoing(one.boot, one.seq, 1, one.payload), OK)
                  for one in chosen.values()])  # fmt: skip
    site.drain()
    again = ended(penstock(site, *redrive))
    assert (again["redriven"], again["redriven_before"]) == (0, len(chosen))
    report = _checked(site, of_run(site.target, site.folder))
    assert report.readings >= len(chosen)


def _redriven_in_the_stream(site: Site) -> bool:
    return any(
        b'"redrive-' in envelope.payload
        for records in site.records().values()
        for record in records
        if isinstance(envelope := decode_record(record["Data"]), Envelope)
    )
