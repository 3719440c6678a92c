"""The read API over hot tables in memory, for tests of what it answers and whom it answers."""

from __future__ import annotations

from starlette.testclient import TestClient

from dashboard.feed import Feed, Shadows
from dashboard.feed import Tables as Names
from dashboard.http.access import Access
from dashboard.http.api import create_app
from ingest.tiers import LOCAL_TIERS
from tests.harness.tables import Tables

NOW = 1_795_420_800_000
NAMES = Names("windows", "devices", "status", "alerts")


def a_fleet() -> Tables:
    """40 devices, each seen a minute before the last; one never seen; 20 windows of the first
    with gaps, an expired one; one worker."""
    made = Tables()
    for i in range(40):
        made.add_device(f"dev-{i:02d}", seen=NOW - i * 60_000, group=f"g{i % 2}", kind="pump")
    made.add_device("never", seen=None, group="g0", kind="meter")
    for minute in range(20):
        made.add_window(
            "dev-00", f"1m#2026-11-23T07:{minute:02d}:00Z", f"{minute * 10}-{minute * 10 + 8}"
        )
    made.add_window("dev-00", "1m#2026-11-23T07:30:00Z", "300-309", expires_at=1)
    made.add_worker("w-1", NOW - 1000)
    return made


def client_of(
    tables: Tables,
    access: Access | None = None,
    *,
    peer: str = "127.0.0.1",
    names: Names = NAMES,
    read_only: bool = False,
) -> TestClient:
    """A client of the API over these tables, as a page on loopback is; ``peer`` is the address
    that it comes from."""
    writer = None if read_only else tables.writer
    shadows = Shadows(tables.shadows) if read_only else tables.commands
    feed = Feed(tables, names, now_ms=lambda: NOW, fastest_s=0.01, writer=writer, shadows=shadows)
    app = create_app(feed, LOCAL_TIERS, access, {"temperature": "°C"})
    return TestClient(
        app, base_url="http://127.0.0.1", raise_server_exceptions=False, client=(peer, 50_000)
    )
