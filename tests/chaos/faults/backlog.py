"""A worker that starts far behind, with the settings that everybody has."""

from __future__ import annotations

from collections.abc import Iterator

from devices.batch import Outgoing
from ingest.settings import Settings
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site
from tests.chaos.faults.devices import now_ms
from tests.chaos.site import Expected, Site
from tests.harness.shard import payload

SHARDS = 4
SMALL, LARGE = 2_400, 100_000
"""Bytes of a record in the stream."""
DEVICES = 64
MANY, FEW = 24_000, 280
"""Records of each size: of both, a shard has more than two of the largest answers."""
DEFAULTS = {name: Settings.model_fields[name].default for name in ("max_records", "heap_mb")}


@on_own_site(shards=SHARDS, max_leases=SHARDS, **DEFAULTS)
def a_backlog_at_the_defaults(site: Site) -> None:
    """Four shards with a backlog of records of 2.4 KB and of 100 KB, and a worker whose memory
    is planned for four: its daemon never runs out of heap, and catches up."""
    site.put(list(_messages(site, SMALL, MANY)))
    site.put(list(_messages(site, LARGE, FEW)))
    worker = site.start_worker()
    site.until(lambda: len(worker.children()) == SHARDS, 90, "a child for each shard")
    left = site.drain(240)
    assert not left, left
    assert worker.worker.status.restarts == 0, "the daemon was restarted"


def _messages(site: Site, record_bytes: int, count: int) -> Iterator[Expected]:
    """One reading a message, and a field that no consumer knows as ballast."""
    newest, boot = now_ms(), f"backlog-{record_bytes}"
    ballast = b',"ballast":"' + b"x" * (record_bytes * 3 // 4 - 300) + b'"}'
    for number in range(count):
        ts = newest - (count - number)
        body = payload(boot, number // DEVICES, [(ts, {"level": float(number)})])
        message = Outgoing(boot, number // DEVICES, 1, body[:-1] + ballast)
        yield f"behind-{site.seed}-{number % DEVICES:03d}", message, OK
