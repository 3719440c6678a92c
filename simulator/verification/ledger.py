"""The ledger: what was handed to the transport, and what was acknowledged.

A message is committed to the file before it is handed over, so whatever reached the stream is
in it, even when the simulator is killed. (Not when the machine loses power: the file is not
synced, because it proves the pipeline and not itself.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from devices.batch import Outgoing
from ingest.tiers import Tier
from simulator.errors import LedgerError

OK: Final = "ok"
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    payload BLOB NOT NULL,
    expect TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    acked_at INTEGER
);
CREATE TABLE fault (at INTEGER NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE command (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, until INTEGER NOT NULL, times INTEGER NOT NULL,
    status TEXT NOT NULL, final INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE effect (at INTEGER NOT NULL, device TEXT NOT NULL, command TEXT NOT NULL);
"""
_BUSY_S: Final = 30.0


class Meta(msgspec.Struct, frozen=True):
    """The run that a ledger is of, with the rules that its windows were made by."""

    run: str
    seed: int
    stack: str
    started_at: int
    tiers: tuple[Tier, ...]
    clock_ahead_s: int


class Entry(NamedTuple):
    """One message: times in ms, ``acked_at`` ``None`` when it was never acknowledged.

    ``expect`` is ``ok`` for telemetry (each reading then has a disposition of its own), or the
    disposition that the whole message must get.
    """

    id: int
    device: str
    boot: str
    seq: int
    readings: int
    payload: bytes
    expect: str
    sent_at: int
    acked_at: int | None


class Commanded(NamedTuple):
    """A command that was sent ``times`` times, and what its device's shadow says of it in the end:
    ``until`` (ms) is its deadline."""

    id: str
    device: str
    until: int
    times: int
    status: str
    final: bool


class Effect(NamedTuple):
    """A device did a command, at a time (ms)."""

    at: int
    device: str
    command: str


class Ledger:
    """A ledger being written. Also a :class:`devices.mqtt.client.Observer`."""

    def __init__(self, path: Path, meta: Meta, now_ms: Callable[[], int]) -> None:
        """:raises LedgerError: when the file exists: a ledger is of one run."""
        if path.exists():
            raise LedgerError(f"{path} exists: name another file, a ledger is of one run")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._begin(path, now_ms)
        self._db.executescript(_SCHEMA)
        self._db.execute(
            "INSERT INTO meta VALUES ('meta', ?)", (msgspec.json.encode(meta).decode(),)
        )

    @classmethod
    def join(cls, path: Path, now_ms: Callable[[], int]) -> Ledger:
        """Write into a ledger that exists, at the same time as other processes.

        :raises LedgerError: when there is none.
        """
        _open(path).close()
        ledger = cls.__new__(cls)
        ledger._begin(path, now_ms)
        return ledger

    def _begin(self, path: Path, now_ms: Callable[[], int]) -> None:
        self.path = path
        self._now_ms = now_ms
        self._open: dict[tuple[str, str, int, bytes], list[int]] = {}
        self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;")
        self.sent = self.acked = self.readings = 0

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sending(self, device_id: str, message: Outgoing, expect: str = OK) -> None:
        """Record a message before it is handed to the transport."""
        row = self._db.execute(
            "INSERT INTO message (device, boot, seq, readings, payload, expect, sent_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (device_id, message.boot, message.seq, message.readings, message.payload, expect,
             self._now_ms()),
        ).lastrowid  # fmt: skip
        assert row is not None
        self._open.setdefault(_key(device_id, message), []).append(row)
        self.sent += 1
        self.readings += message.readings if expect == OK else 0

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """Record the broker's acknowledgement."""
        key = _key(device_id, message)
        rows = self._open[key]
        row = rows.pop(0)
        if not rows:
            del self._open[key]
        self._db.execute("UPDATE message SET acked_at = ? WHERE id = ?", (self._now_ms(), row))
        self.acked += 1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written in the body is committed together, at its end."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def fault(self, kind: str, device: str) -> None:
        """Record that a fault was injected."""
        self._db.execute("INSERT INTO fault VALUES (?, ?, ?)", (self._now_ms(), kind, device))

    def commanded(self, command: Commanded) -> None:
        """Record a command that was sent, or how it stands, in place of what is there."""
        self._db.execute("INSERT OR REPLACE INTO command VALUES (?, ?, ?, ?, ?, ?)", command)

    def effect(self, device: str, command: str) -> None:
        """Record that a device does a command, before it does."""
        self._db.execute("INSERT INTO effect VALUES (?, ?, ?)", (self._now_ms(), device, command))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def read_meta(path: Path) -> Meta:
    """The run that a ledger is of.

    :raises LedgerError: when the file is missing or no ledger.
    """
    with closing(_open(path)) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'meta'").fetchone()
    try:
        return msgspec.json.decode(row[0], type=Meta)
    except msgspec.MsgspecError:
        raise LedgerError(f"{path} is not a ledger of this version") from None


def read_entries(path: Path) -> Iterator[Entry]:
    """All messages, in the order they were handed over."""
    with closing(_open(path)) as db:
        for row in db.execute(f"SELECT {', '.join(Entry._fields)} FROM message ORDER BY id"):  # noqa: S608
            yield Entry(*row)


def read_faults(path: Path) -> dict[str, int]:
    """How often each kind of fault was injected."""
    with closing(_open(path)) as db:
        return dict(db.execute("SELECT kind, count(*) FROM fault GROUP BY kind ORDER BY kind"))


def read_commanded(path: Path) -> list[Commanded]:
    """Every command that was sent; none in the ledger of an earlier version."""
    with closing(_open(path)) as db:
        rows = db.execute("SELECT * FROM command ORDER BY id") if _has(db, "command") else ()
        return [Commanded._make((*row[:-1], bool(row[-1]))) for row in rows]


def read_effects(path: Path) -> list[Effect]:
    """Everything that devices did by command."""
    with closing(_open(path)) as db:
        rows = db.execute("SELECT * FROM effect ORDER BY at") if _has(db, "effect") else ()
        return [Effect(*row) for row in rows]


def _has(db: sqlite3.Connection, table: str) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {path}: `penstock simulate` writes one")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        db.execute("SELECT value FROM meta WHERE key = 'meta'").fetchone()[0]
    except (sqlite3.DatabaseError, TypeError):
        db.close()
        raise LedgerError(f"{path} is not a ledger of this version") from None
    return db


def _key(device_id: str, message: Outgoing) -> tuple[Any, ...]:
    return device_id, message.boot, message.seq, message.payload
