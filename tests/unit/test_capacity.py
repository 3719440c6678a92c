"""Heap, leases and records a read follow from each other, and what is set must fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.kcl import daemon
from consumers.kcl.capacity import (
    CHILD_MB,
    HEAP_BASE_MB,
    MOST_LEASES,
    OUTSIDE_HEAP_MB,
    USABLE,
    capacity,
    lease_heap_mb,
)
from consumers.memory import memory_mb
from ingest.settings import Settings, SettingsError

MEMORY = (1024, 2048, 4096, 16_384, 262_144)


def planned(memory: int, **settings: Any) -> tuple[int, int]:
    room = capacity(Settings(**settings), memory)
    return room.heap_mb, room.leases


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("max_records", [1, 10, 100, 2000, 10_000])
def test_a_worker_that_is_behind_on_every_shard_fits_into_heap_and_machine(
    memory: int, max_records: int
) -> None:
    heap, leases = planned(memory, max_records=max_records)
    assert leases >= 1
    assert heap >= HEAP_BASE_MB + leases * lease_heap_mb(max_records)
    assert heap + OUTSIDE_HEAP_MB + leases * CHILD_MB <= memory * USABLE


def test_the_defaults_take_few_shards_on_a_small_machine_and_no_more_than_32_on_a_large_one() -> (
    None
):
    assert planned(1024)[1] < planned(2048)[1] < planned(16_384)[1] == MOST_LEASES
    assert planned(16_384) == planned(262_144)


def test_smaller_reads_need_less_heap_only_below_the_limit_of_kinesis() -> None:
    assert lease_heap_mb(10_000) == lease_heap_mb(2000) == lease_heap_mb(100)
    assert lease_heap_mb(20) < lease_heap_mb(60)


def test_leases_follow_from_a_heap_that_is_set_and_the_heap_from_leases() -> None:
    heap, leases = planned(16_384, heap_mb=512)
    assert heap == 512
    assert leases == (512 - HEAP_BASE_MB) // lease_heap_mb(2000)
    assert planned(16_384, max_leases=leases)[0] <= 512


def test_a_heap_that_cannot_hold_its_shards_is_refused_with_what_would() -> None:
    with pytest.raises(SettingsError, match=r"heap_mb = 256: 8 shards .* can need 784 MiB"):
        planned(16_384, heap_mb=256, max_leases=8)
    with pytest.raises(SettingsError, match="heap_mb = 64: 1 shard with max_records = 2000"):
        planned(16_384, heap_mb=64)


def test_more_leases_than_the_machine_carries_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"max_leases = 64: .* this machine has 2048"):
        planned(2048, max_leases=64)
    with pytest.raises(SettingsError, match="this machine has 256 MiB of memory"):
        planned(256)


def test_the_daemon_gets_what_was_planned_and_leaves_when_it_is_out_of_memory() -> None:
    settings = Settings(max_leases=4)
    room = capacity(settings, 16_384)
    values = daemon.properties(settings, room, "w", ["child"])
    assert (values["maxRecords"], values["maxLeasesForWorker"]) == ("2000", "4")
    command = daemon.command(Path("kcl.properties"), settings, room)
    assert f"-Xmx{room.heap_mb}m" in command
    assert "-XX:+ExitOnOutOfMemoryError" in command


def test_this_machine_has_memory() -> None:
    assert 256 < memory_mb() < 1 << 24
