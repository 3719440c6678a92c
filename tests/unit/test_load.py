"""The load engine: how many messages, when, through which transport, and what the ledger has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from devices.errors import ConnectError
from ingest.message import MAX_PAYLOAD_BYTES, Message, Reading, decode
from ingest.tiers import DEFAULT_TIERS
from simulator.load.fleet import FleetRunner, Status, run_fleet
from simulator.load.senders import messages
from simulator.load.transport import KinesisTransport
from simulator.scenario import Faults, Fleet, Phase, steady_fleet
from simulator.verification.ledger import OK, Entry, Ledger, Meta, read_entries, read_faults


class Stream:
    """A stream that takes everything, or refuses everything."""

    def __init__(self, error: str = "") -> None:
        self.records: list[Any] = []
        self._error = error

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
        self.records += Records
        return {"Records": [{"ErrorCode": self._error} if self._error else {} for _ in Records]}


def run(
    fleet: Fleet, folder: Path, stream: Stream, stopping: Callable[[], bool] = lambda: False,
    **more: Any,
) -> tuple[Status, list[Entry]]:  # fmt: skip
    meta = Meta("run", 1, "stack", 0, DEFAULT_TIERS, 600)
    names = [f"dev-{i}" for i in range(fleet.devices)]
    with Ledger(folder / "ledger.sqlite", meta, lambda: 1) as ledger:

        async def drive() -> Status:
            transport = KinesisTransport(stream, "stream", "penstock")
            runner = FleetRunner(fleet, names, seed=1, ledger=ledger, transport=transport, **more)
            return await run_fleet(runner, stopping)

        status = asyncio.run(drive())
    return status, list(read_entries(folder / "ledger.sqlite"))


def test_every_message_is_in_the_ledger_and_in_the_stream_once(tmp_path: Path) -> None:
    stream = Stream()
    status, entries = run(steady_fleet(7, rate=50, seconds=1, batch=3), tmp_path, stream)
    assert (status.taken, status.unacknowledged, status.failed) == (7 * 50 * 3, 0, [])
    assert len(stream.records) == len(entries) == 7 * 50
    assert all(entry.acked_at is not None for entry in entries)
    for device in {entry.device for entry in entries}:
        mine = [entry for entry in entries if entry.device == device]
        assert len({entry.boot for entry in mine}) == 1
        assert sorted(entry.seq for entry in mine) == list(range(0, 150, 3))


def test_every_k_th_message_is_repeated_and_followed_by_garbage(tmp_path: Path) -> None:
    stream = Stream()
    fleet = steady_fleet(2, rate=24, seconds=1, duplicate_every=4, malformed_every=3)
    _, entries = run(fleet, tmp_path, stream)
    assert read_faults(tmp_path / "ledger.sqlite") == {"duplicates": 2 * 6, "malformed": 2 * 8}
    assert len(stream.records) == len(entries) == 2 * (24 + 6 + 8)
    assert sum(entry.expect != OK for entry in entries) == 2 * 8


def test_devices_with_spools_send_the_same_through_the_same_transport(tmp_path: Path) -> None:
    stream = Stream()
    fleet = steady_fleet(3, rate=20, seconds=1, batch=2)
    status, entries = run(fleet, tmp_path, stream, spools=tmp_path / "spools")
    assert status.taken == sum(entry.readings for entry in entries) == 3 * 20 * 2
    assert sorted(number for _, number in status.numbers.values()) == [40, 40, 40]
    assert status.waiting == 0


def test_a_stream_that_refuses_records_fails_the_fleet_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="AccessDenied"):
        run(steady_fleet(2, rate=5, seconds=2), tmp_path, Stream("AccessDeniedException"))
    entries = list(read_entries(tmp_path / "ledger.sqlite"))
    assert entries
    assert all(entry.acked_at is None for entry in entries)


def test_a_fleet_that_is_asked_to_stop_ends_early_and_awaits_what_it_sent(tmp_path: Path) -> None:
    stream = Stream()
    fleet = steady_fleet(2, rate=20, seconds=600)
    status, entries = run(fleet, tmp_path, stream, lambda: len(stream.records) > 4)
    assert status.done
    assert len(stream.records) == len(entries) < 2000


def test_a_fleet_that_loses_its_network_needs_spools(tmp_path: Path) -> None:
    fleet = Fleet("f", 1, [Phase(seconds=1, rate=1)], faults=Faults(storms=1))
    with pytest.raises(ValueError, match="needs spools"):
        run(fleet, tmp_path, Stream())


def test_the_type_mixed_gives_devices_all_types_in_turn(tmp_path: Path) -> None:
    stream = Stream()
    _, entries = run(steady_fleet(3, rate=1, seconds=1), tmp_path, stream)
    metrics: set[str] = set()
    for entry in entries:
        message = decode(entry.payload)
        assert isinstance(message, Message)
        metrics |= message.readings[0].metrics.keys()
    assert {"temperature", "pressure", "power"} <= metrics


def test_readings_that_are_too_large_for_one_message_go_in_several() -> None:
    wide = {f"metric_{i:02d}": 0.123456789 for i in range(64)}
    cut = list(messages("boot0000", 5, [Reading(1, wide) for _ in range(200)]))
    assert len(cut) > 1
    assert all(len(message.payload) <= MAX_PAYLOAD_BYTES for message in cut)
    assert [m.seq for m in cut] == [5 + sum(p.readings for p in cut[:i]) for i in range(len(cut))]
    assert sum(message.readings for message in cut) == 200
