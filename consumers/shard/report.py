"""What a shard's child reports: counts since it started, as one JSON line now and then.

The lines go to stderr, where ``penstock consume`` picks them up. Counts are of work done, so
a batch that is processed again after a crash counts again.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from consumers.hot.runs import Run
from ingest.histogram import Histogram

REPORT_S: Final = 1.0
MARK: Final = b'{"penstock":'


REJECTS_KEPT: Final = 5
PREVIEW_BYTES: Final = 160


class Reject(Struct):
    """A record in which no reading could be read; ``at`` is when the stream took it (ms), and
    ``preview`` the beginning of what was sent, as text."""

    device: str | None
    disposition: str
    at: int
    preview: str


class ShardReport(Struct, tag_field="penstock", tag="shard"):
    """One child's counts. ``latency`` is reading ``ts`` to first durable write, in the buckets
    of :class:`~ingest.histogram.Histogram`; times are ms since the
    epoch. ``acknowledgements`` were published to devices."""

    shard: str
    pid: int
    records: int = 0
    dispositions: dict[str, int] = {}
    durable: int = 0
    latency: dict[int, int] = {}
    first_durable_at: int | None = None
    behind_ms: int | None = None
    commits: int = 0
    committed_at: int | None = None
    committed_key: str = ""
    conflicts: int = 0
    throttled: int = 0
    lease_lost: bool = False
    acknowledgements: int = 0
    acknowledgements_dropped: int = 0
    rejects: list[Reject] = []


class LogLine(Struct, tag_field="penstock", tag="log"):
    """A log line of a child; ``level`` is the name that :mod:`logging` has for it, in lower case,
    and ``error`` the traceback of an exception."""

    level: str
    shard: str
    message: str
    error: str = ""


Line = ShardReport | LogLine
_decoder: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)
_encode: Final = msgspec.json.Encoder().encode


def parse(line: bytes) -> Line | None:
    """A child's line, or ``None`` when it is somebody else's."""
    if not line.startswith(MARK):
        return None
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError:
        return None


class ShardStats:
    """Counts for one shard, and the line they are reported in."""

    def __init__(
        self,
        shard: str,
        now_ms: Callable[[], int],
        write: Callable[[bytes], object] = sys.stderr.buffer.write,
    ) -> None:
        self._now_ms = now_ms
        self._write = write
        self._latency = Histogram()
        self._reported_at = 0.0
        self.acknowledgements: Callable[[], tuple[int, int]] | None = None
        """Where they are told: how many were published, and how many dropped."""
        self.report = ShardReport(shard=shard, pid=os.getpid(), dispositions={}, latency={})

    def count(self, disposition: str, readings: int = 1) -> None:
        """Readings, or a record without any, were given this disposition."""
        counts = self.report.dispositions
        counts[disposition] = counts.get(disposition, 0) + readings

    def reject(self, device: str | None, disposition: str, raw: bytes, at: int) -> None:
        """Keep a record that could not be read among the last few, to be looked at; ``at`` is
        when the stream took it (ms)."""
        preview = raw[:PREVIEW_BYTES].decode("utf-8", "backslashreplace")
        rejects = self.report.rejects
        rejects.append(Reject(device=device, disposition=disposition, at=at, preview=preview))
        del rejects[:-REJECTS_KEPT]

    def durable(self, runs: Sequence[Run]) -> None:
        """The readings of these runs are in the hot store for the first time."""
        now = self._now_ms()
        for run in runs:
            for ts in run.ts:
                self._latency.add(now - ts)
            self.report.durable += len(run)
        if self.report.first_durable_at is None and runs:
            self.report.first_durable_at = now

    def committed(self, key: str) -> None:
        """Everything up to a checkpoint is durable; ``key`` is the archive's newest object."""
        self.report.commits += 1
        self.report.committed_at = self._now_ms()
        self.report.committed_key = key

    def send_due(self, now: float, *, force: bool = False) -> None:
        """Report, at most once a second unless forced; ``now`` is monotonic (s)."""
        if force or now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self.report.latency = self._latency.counts
            if self.acknowledgements is not None:
                published, dropped = self.acknowledgements()
                self.report.acknowledgements = published
                self.report.acknowledgements_dropped = dropped
            self._send(self.report)

    def _send(self, line: Line) -> None:
        self._write(_encode(line) + b"\n")
        sys.stderr.flush()


class LogHandler(logging.Handler):
    """Sends a child's log records to its supervisor, as :class:`LogLine`. ``shard`` is set when
    the child knows its shard."""

    def __init__(self, write: Callable[[bytes], object] = sys.stderr.buffer.write) -> None:
        super().__init__(logging.INFO)
        self._write_line = write
        self.shard = ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message, error = record.getMessage(), ""
            if record.exc_info and record.exc_info[1] is not None:
                message = f"{message}: {record.exc_info[1]!r}"
                error = "".join(traceback.format_exception(record.exc_info[1]))
            line = LogLine(record.levelname.lower(), self.shard, message, error)
            self._write_line(_encode(line) + b"\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  # as every handler of logging does
            self.handleError(record)
