"""The spool under random lives: readings, acknowledgements, kills, copies, a full disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from devices.errors import SpoolBusyError, SpoolFullError
from devices.spool.disk import BALLAST
from devices.spool.rollback_guard import FILE as GUARD
from devices.spool.spool import FILE, Spool, SpoolLimits

FAST = SpoolLimits(sync=False)


def open_spool(folder: Path, **more: Any) -> Spool:
    more.setdefault("limits", FAST)
    more.setdefault("now", lambda: 1_000)
    return Spool(folder, **more)


def waiting(spool: Spool) -> list[tuple[str, int, float]]:
    """Boot, number and value of all that waits, in order."""
    found = []
    place = 0
    while batch := spool.read(place, spool.end, 7, 400):
        found += [
            (batch.boot, batch.seq + i, float(reading.metrics["v"]))
            for i, reading in enumerate(batch.readings)
        ]
        place = batch.last + 1
    return found


def kill(spool: Spool) -> None:
    """As a process that is killed: nothing is closed in an orderly way. SQLite would checkpoint
    only at an orderly end of the last connection."""
    spool._database.db.close()
    os.close(spool._lock)


class Lives(RuleBasedStateMachine):
    """What waits is what was taken and not acknowledged; no identity is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.model: list[tuple[str, int, float]] = []
        self.used: dict[tuple[str, int], float] = {}
        self.value = 0.0
        self.saved: tuple[Path, list[tuple[str, int, float]]] | None = None
        self.spool = open_spool(self.folder)

    def teardown(self) -> None:
        with contextlib.suppress(Exception):
            self.spool.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(count=st.integers(1, 130))
    def take(self, count: int) -> None:
        for _ in range(count):
            boot, seq = self.spool.boot, self.spool.seq
            self.value += 1
            self.spool.add(1_000, {"v": self.value})
            assert (boot, seq) not in self.used, "an identity is used for two readings"
            self.used[boot, seq] = self.value
            self.model.append((boot, seq, self.value))

    @precondition(lambda self: self.model)
    @rule(skip=st.integers(0, 5), count=st.integers(1, 20))
    def acknowledge(self, skip: int, count: int) -> None:
        place = 0
        for _ in range(skip):
            batch = self.spool.read(place, self.spool.end, 3, 9_999)
            if batch is None:
                return
            place = batch.last + 1
        batch = self.spool.read(place, self.spool.end, count, 9_999)
        if batch is not None:
            self.spool.delete(batch.first, batch.last)
            gone = {(batch.boot, batch.seq + i) for i in range(len(batch.readings))}
            self.model = [one for one in self.model if one[:2] not in gone]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def hear_that_numbers_are_durable(self, data: st.DataObject) -> None:
        boot = data.draw(st.sampled_from(sorted({one[0] for one in self.model})))
        low = data.draw(st.integers(0, 200))
        high = low + data.draw(st.integers(0, 50))
        self.spool.delete_ids(boot, [(low, high)])
        self.model = [m for m in self.model if m[0] != boot or not low <= m[1] <= high]

    @rule()
    def stop_and_start(self) -> None:
        boot = self.spool.boot
        self.spool.close()
        self.spool = open_spool(self.folder)
        assert self.spool.boot == boot

    @rule()
    def be_killed(self) -> None:
        boot = self.spool.boot
        kill(self.spool)
        self.spool = open_spool(self.folder)
        assert self.spool.boot == boot

    @rule()
    def save_a_copy(self) -> None:
        """An orderly backup of the file alone."""
        target = self.folder / "backup"
        with contextlib.closing(sqlite3.connect(target)) as copy:
            self.spool._database.db.backup(copy)
        self.saved = (target, list(self.model))

    @precondition(lambda self: self.saved is not None)
    @rule(in_place=st.booleans())
    def put_the_copy_back(self, in_place: bool) -> None:
        """What was acknowledged since waits again, with its old identity and content."""
        assert self.saved is not None
        backup, then = self.saved
        boot = self.spool.boot
        self.spool.close()
        self.spool = open_spool(self.folder)  # the device went on after the backup
        self.spool.close()
        path = self.folder / FILE
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if in_place:
            path.write_bytes(backup.read_bytes())
        else:
            path.unlink()
            shutil.copy(backup, path)
        self.spool = open_spool(self.folder)
        assert self.spool.boot != boot
        self.model = list(then)

    @invariant()
    def what_waits_is_what_was_taken_and_not_acknowledged(self) -> None:
        assert waiting(self.spool) == self.model
        assert len(self.spool) == len(self.model)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
def notices() -> list[str]:
    return []


def test_a_copied_folder_goes_on_under_a_new_boot(tmp_path: Path, notices: list[str]) -> None:
    with open_spool(tmp_path / "a") as spool:
        spool.add(1, {"v": 1})
        boot = spool.boot
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with open_spool(tmp_path / "b", on_event=lambda event: notices.append(str(event))) as clone:
        assert clone.boot != boot
        assert waiting(clone) == [(boot, 0, 1.0)]  # it may send this, as the original does
    assert "is a copy" in notices[0]
    with open_spool(tmp_path / "a") as original:
        assert original.boot == boot


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_spool_without_its_rollback_guard_goes_on_under_a_new_boot(
    tmp_path: Path, how: str
) -> None:
    with open_spool(tmp_path) as spool:
        boot = spool.boot
    guard = tmp_path / GUARD
    guard.unlink() if how == "missing" else guard.write_bytes(b"{")
    with open_spool(tmp_path) as spool:
        assert spool.boot != boot


def test_what_was_not_synced_takes_a_new_boot_when_the_machine_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "boot_id"
    start.write_text("monday")
    monkeypatch.setattr("devices.spool.rollback_guard._START", start)
    boots = []
    for day in ("monday", "monday", "tuesday"):
        start.write_text(day)
        with open_spool(tmp_path / "unsynced") as spool:
            boots.append(spool.boot)
        with open_spool(tmp_path / "synced", limits=SpoolLimits()) as spool:
            boots.append(spool.boot)
    assert boots[0] == boots[2] != boots[4]
    assert boots[1] == boots[3] == boots[5]


def test_a_device_runs_once(tmp_path: Path) -> None:
    with open_spool(tmp_path), pytest.raises(SpoolBusyError, match="runs once"):
        open_spool(tmp_path)


# -- bounds -----------------------------------------------------------------------------------


def test_a_full_spool_refuses_loudly_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    with open_spool(tmp_path, limits=SpoolLimits(bytes=700, sync=False)) as spool:
        with pytest.raises(SpoolFullError, match="a reading is refused"):
            _fill(spool)
        count, next_seq = len(spool), spool.seq
        assert [seq for _, seq, _ in waiting(spool)] == list(range(count))
        batch = spool.read(0, spool.end, 1, 9_999)
        assert batch is not None
        spool.delete(batch.first, batch.last)
        spool.add(1, {"v": 1.0})
        assert spool.seq == next_seq + 1  # the refused reading took no number
        assert spool.size <= 700


def test_dropping_the_oldest_is_counted_and_remembered(tmp_path: Path) -> None:
    limits = SpoolLimits(bytes=700, when_full="drop_oldest", sync=False)
    with open_spool(tmp_path, limits=limits) as spool:
        for i in range(50):
            spool.add(1, {"v": float(i)})
        kept = [value for _, _, value in waiting(spool)]
        assert kept == [float(i) for i in range(50 - len(kept), 50)]
        assert spool.dropped == 50 - len(kept) > 0
        dropped = spool.dropped
    with open_spool(tmp_path, limits=limits) as spool:
        assert spool.dropped == dropped


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
def test_what_is_too_old_is_a_full_spool(tmp_path: Path, when_full: Any) -> None:
    now = [0]
    limits = SpoolLimits(age_s=60, when_full=when_full, sync=False)
    with open_spool(tmp_path, limits=limits, now=lambda: now[0]) as spool:
        spool.add(1, {"v": 1})
        now[0] = 60_001
        if when_full == "refuse":
            with pytest.raises(SpoolFullError, match="60 s"):
                spool.add(1, {"v": 2})
        else:
            spool.add(1, {"v": 2})
            assert [value for _, _, value in waiting(spool)] == [2.0]
            assert spool.dropped == 1


def test_a_reading_that_breaks_the_contract_takes_no_number(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        with pytest.raises(ValueError, match="Name"):
            spool.add(1, {"Not A Name": 1})
        assert (spool.seq, len(spool)) == (0, 0)


# -- the disk ---------------------------------------------------------------------------------


def _fill(spool: Spool, until: int = 100_000) -> None:
    for i in range(until):
        spool.add(1, {"v": float(i), **{f"metric_{k}": 1.5 for k in range(20)}})


def test_a_full_disk_is_said_and_what_is_there_is_kept_and_it_recovers(tmp_path: Path) -> None:
    """SQLite's own answer for a full disk, at a limit of pages."""
    with open_spool(tmp_path) as spool:
        spool._database.db.execute("PRAGMA max_page_count = 40")
        with pytest.raises(SpoolFullError, match="the disk is full"):
            _fill(spool)
        count = len(spool)
        assert count > 50
        assert not (tmp_path / BALLAST).exists()
        with pytest.raises(SpoolFullError):
            _fill(spool)
        assert [seq for _, seq, _ in waiting(spool)] == list(range(len(spool)))
        batch = spool.read(0, spool.end, 50, 99_999)
        assert batch is not None
        before = len(spool)
        spool.delete(batch.first, batch.last)
        assert len(spool) == before - 50
        spool.add(1, {"v": 1.0})
        assert (tmp_path / BALLAST).exists()
    with open_spool(tmp_path) as again:
        assert len(again) == before - 49


def test_a_deletion_that_finds_no_room_is_done_later(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        _fill(spool, 10)
        broken = _Broken(spool._database.db)
        spool._database.db = broken  # type: ignore[assignment]
        spool.delete(1, 4)
        assert len(spool) == 10
        broken.full = False
        spool.delete(5, 6)
        assert len(spool) == 4
        assert [seq for _, seq, _ in waiting(spool)] == [6, 7, 8, 9]


class _Broken:
    """A database whose disk is full."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.full = True

    def execute(self, text: str, *more: Any) -> Any:
        if self.full and text.startswith("DELETE"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(text, *more)

    def close(self) -> None:
        self._db.close()


# -- damage -----------------------------------------------------------------------------------


def _scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 - 100 : 4096 * 2] = b"\xff" * (4096 + 100)
    path.write_bytes(bytes(content))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no database": lambda path: path.write_bytes(b"not a database, not at all" * 100),
    "scribbled": _scribble,
    "tables gone": lambda path: _sql(path, "DROP TABLE reading; DROP TABLE state"),
    "half of the tables": lambda path: _sql(path, "DROP TABLE state"),
    "nonsense in the state": lambda path: _sql(path, "UPDATE state SET value = 'x'"),
}


def _sql(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_kept_aside_and_a_new_boot_begins(
    tmp_path: Path, damage: str, notices: list[str]
) -> None:
    with open_spool(tmp_path) as spool:
        _fill(spool, 200)
        boot = spool.boot
    DAMAGE[damage](tmp_path / FILE)
    with open_spool(tmp_path, on_event=lambda event: notices.append(str(event))) as spool:
        assert spool.boot != boot
        spool.add(1, {"v": 1})
        assert len(spool) == 1
    if damage != "tables gone":  # an empty database is as good as none
        assert list(tmp_path.glob(f"{FILE}.damaged-*"))
        assert "is damaged" in notices[0]


def test_damage_that_shows_while_it_runs_is_survived(tmp_path: Path, notices: list[str]) -> None:
    with open_spool(tmp_path, on_event=lambda event: notices.append(str(event))) as spool:
        _fill(spool, 200)
        boot, end = spool.boot, spool.end
        spool._database.db.execute("UPDATE reading SET reading = x'ff' WHERE n = 150")
        assert waiting(spool) != []
        assert spool.boot != boot
        spool.add(1, {"v": 1})
        assert spool.end > end
        assert "is damaged" in notices[0]
