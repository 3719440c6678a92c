"""The ledger: written before a message goes to the transport, readable after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from devices.batch import Outgoing
from ingest.tiers import LOCAL_TIERS
from simulator.errors import LedgerError
from simulator.verification.ledger import OK, Ledger, Meta, read_entries, read_meta

META = Meta(
    run="5f3a", seed=7, stack="penstock", started_at=1000, tiers=LOCAL_TIERS, clock_ahead_s=600
)
ONE = Outgoing("boot-one", 0, 2, b"\x00one")
TWO = Outgoing("boot-one", 2, 1, b"two")


class Clock:
    """A clock that counts the times it is asked, in ms."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def _ledger(path: Path) -> Ledger:
    return Ledger(path, META, Clock())


def test_meta_is_read_back_whole(tmp_path: Path) -> None:
    with _ledger(tmp_path / "a.sqlite"):
        pass
    assert read_meta(tmp_path / "a.sqlite") == META


def test_messages_are_read_in_the_order_of_their_hand_over(tmp_path: Path) -> None:
    with _ledger(tmp_path / "a.sqlite") as ledger:
        ledger.sending("d1", ONE)
        ledger.sending("d2", TWO, "malformed")
        ledger.acknowledged("d1", ONE)
        assert (ledger.sent, ledger.acked, ledger.readings) == (2, 1, 2)
    first, second = read_entries(tmp_path / "a.sqlite")
    assert first[1:] == ("d1", "boot-one", 0, 2, b"\x00one", OK, 1, 3)
    assert second[1:] == ("d2", "boot-one", 2, 1, b"two", "malformed", 2, None)


def test_a_repeated_message_is_two_entries_acknowledged_one_by_one(tmp_path: Path) -> None:
    with _ledger(tmp_path / "a.sqlite") as ledger:
        ledger.sending("d1", ONE)
        ledger.sending("d1", ONE)
        ledger.acknowledged("d1", ONE)
    assert [entry.acked_at for entry in read_entries(tmp_path / "a.sqlite")] == [3, None]


def test_a_message_is_committed_before_sending_returns(tmp_path: Path) -> None:
    with _ledger(tmp_path / "a.sqlite") as ledger:
        ledger.sending("d1", ONE)
        assert [entry.payload for entry in read_entries(tmp_path / "a.sqlite")] == [ONE.payload]


def test_a_killed_writer_leaves_everything_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.unit.test_ledger import _ledger, ONE, TWO\n"
        f"ledger = _ledger(Path({str(path)!r}))\n"
        "ledger.sending('d1', ONE); ledger.sending('d1', TWO); ledger.acknowledged('d1', ONE)\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        os.kill(writer.pid, signal.SIGKILL)
    entries = list(read_entries(path))
    assert [entry.payload for entry in entries] == [ONE.payload, TWO.payload]
    assert [entry.acked_at is not None for entry in entries] == [True, False]


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with _ledger(path) as ledger:
        ledger.sending("d1", ONE)
    before = path.read_bytes()
    list(read_entries(path))
    read_meta(path)
    assert path.read_bytes() == before


def test_a_second_run_does_not_go_into_the_same_file(tmp_path: Path) -> None:
    with _ledger(tmp_path / "a.sqlite"):
        pass
    with pytest.raises(LedgerError, match="exists: name another file"):
        _ledger(tmp_path / "a.sqlite")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"there is no ledger at .*nothing\.sqlite"):
        read_meta(tmp_path / "nothing.sqlite")


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_ledger_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.sqlite").write_bytes(content)
    with pytest.raises(LedgerError, match="is not a ledger of this version"):
        read_meta(tmp_path / "a.sqlite")
    with pytest.raises(LedgerError, match="is not a ledger of this version"):
        list(read_entries(tmp_path / "a.sqlite"))


@pytest.mark.parametrize("value", [None, "{}", "no json"])
def test_a_ledger_of_another_version_is_named(tmp_path: Path, value: str | None) -> None:
    db = sqlite3.connect(tmp_path / "a.sqlite")
    db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    if value is not None:
        db.execute("INSERT INTO meta VALUES ('meta', ?)", (value,))
    db.commit()
    db.close()
    with pytest.raises(LedgerError, match="is not a ledger of this version"):
        read_meta(tmp_path / "a.sqlite")
