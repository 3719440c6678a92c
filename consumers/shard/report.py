"""What a child writes to stderr for its supervisor: reports of its counts, and log lines.

Each is one line of JSON. Counts are of work done: a batch that is processed again after a crash
counts again.
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

from consumers.hot.figures import Figures, PendingSince
from consumers.hot.runs import Kept
from consumers.kcl.protocol import StreamRecord
from consumers.memory import resident_mb
from ingest.histogram import Histogram

REPORT_S: Final = 1.0
BUSY_S: Final = 2.0

LIVE_MS: Final = (-1_000, 10_000)
"""Ages (ms) that a reading of a device with the right time has when the broker receives it."""

MARK: Final = b'{"penstock":'


REJECTS_KEPT: Final = 5
DEVICES_KEPT: Final = 20
PREVIEW_BYTES: Final = 160
TRANSITIONS_TOLD: Final = 100
OUTSIDE_KEPT: Final = 1_000
TRACED_KEPT: Final = 5

log: Final = logging.getLogger(__name__)


class Reject(Struct):
    """A record of which something was not folded; ``at`` is when the stream took it (ms), and
    ``preview`` the beginning of what was sent, as text."""

    device: str | None
    disposition: str
    at: int
    preview: str


class DeviceRejects(Struct):
    """What of one device was not folded since the child began: readings by disposition, and
    records in which none could be read. ``last_at`` is when the stream took the newest (ms)."""

    dispositions: dict[str, int]
    last_at: int


class Traced(Struct):
    """A reading of a sampled message that became durable: the message's trace (hexadecimal), how
    long it took from the reading's ``ts`` (ms), and when (ms since the epoch)."""

    trace: str
    ms: int
    at: int


class ShardReport(Struct, tag_field="penstock", tag="shard"):
    """One child's counts since it began; times are ms since the epoch.

    ``latency`` is from a reading's ``ts`` to its first durable write, in the buckets of
    :class:`~ingest.histogram.Histogram`; ``live_latency`` is that of devices whose clock is right
    and that sent at once, see :meth:`ShardStats.on_ages`. ``puts`` are how long segments
    took to be put (ms). ``newest`` is the sequence number of the
    last record received, ``behind_ms`` how far that was behind the tip of the shard.
    ``uncommitted_since`` is when the oldest record arrived that no checkpoint covers.
    ``longest_stall_ms`` is the longest time in which records waited and no batch was finished.
    ``acknowledgements`` were published to devices. ``ended``: the shard is closed and read to its
    end. ``replaced`` is how many children of this shard ended before this one under its daemon.
    ``unflushed_since`` is when the oldest change was folded that is not durable in the hot tables.
    ``flushes`` are how long writes of what was due took (ms), ``items_written`` how many items
    DynamoDB took. Pending and open are counted over all tiers, see
    :class:`consumers.hot.figures.Figures`. ``busy_ms`` is the time in which the child did not wait
    for the daemon.
    ``outside`` are readings outside of a schema that only warns; they are folded.
    ``rejected_devices`` are the devices of which something was not folded, the newest last, at
    most :data:`DEVICES_KEPT`. ``traced`` are the last sampled messages that became durable, the
    newest last, at most :data:`TRACED_KEPT`.
    """

    shard: str
    pid: int
    records: int = 0
    dispositions: dict[str, int] = {}
    durable: int = 0
    latency: dict[int, int] = {}
    live_latency: dict[int, int] = {}
    puts: dict[int, int] = {}
    first_durable_at: int | None = None
    newest: str = ""
    behind_ms: int | None = None
    uncommitted_since: int | None = None
    longest_stall_ms: int = 0
    commits: int = 0
    committed_at: int | None = None
    committed_key: str = ""
    checkpointed_at: int | None = None
    conflicts: int = 0
    throttled: int = 0
    lease_lost: bool = False
    ended: bool = False
    replaced: int = 0
    memory_mb: float = 0.0
    acknowledgements: int = 0
    acknowledgements_dropped: int = 0
    unflushed_since: int | None = None
    flushes: dict[int, int] = {}
    items_written: int = 0
    pending_readings: int = 0
    pending_windows: int = 0
    open_windows: int = 0
    busy_ms: int = 0
    outside: int = 0
    rejects: list[Reject] = []
    rejected_devices: dict[str, DeviceRejects] = {}
    traced: list[Traced] = []


class LogLine(Struct, tag_field="penstock", tag="log"):
    """A log line of a child; ``level`` is the name that :mod:`logging` has for it, in lower case,
    and ``error`` the traceback of an exception."""

    level: str
    shard: str
    message: str
    error: str = ""


class ShardBusy(Struct, tag_field="penstock", tag="busy"):
    """A child is at work on one action for longer than :data:`BUSY_S`: it cannot report, and it
    does not wait for the daemon."""

    shard: str
    pid: int


class Transitions(Struct, tag_field="penstock", tag="transitions"):
    """Alarms of these devices have transitions that wait for delivery; some, when many have."""

    devices: list[str]


Line = ShardReport | LogLine | ShardBusy | Transitions
_decoder: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)
_encode: Final = msgspec.json.Encoder().encode


def parse(line: bytes) -> Line | None:
    """Read a child's line; ``None`` when it is not one, as an output of Java."""
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
        self._latency, self._live_latency = Histogram(), Histogram()
        self.puts, self.flushes = Histogram(), Histogram()
        self._pending_since = PendingSince()
        self._not_live: set[str] = set()
        self._outside: set[str] = set()
        self._progressed_at: int | None = None
        self._reported_at = 0.0
        self.acknowledgements: Callable[[], tuple[int, int]] | None = None
        """Returns how many acknowledgements were published and dropped, where they are on."""
        self.hot: Callable[[], Figures] | None = None
        """Returns the figures of the shard's hot store."""
        self.busy_s: Callable[[float], float] | None = None
        """Returns how long the process was at work, until a monotonic time (s)."""
        self.report = ShardReport(shard=shard, pid=os.getpid(), dispositions={}, latency={})

    def count(self, disposition: str, readings: int = 1) -> None:
        """Readings, or a record without any, were given this disposition."""
        counts = self.report.dispositions
        counts[disposition] = counts.get(disposition, 0) + readings

    def reject(
        self, device: str | None, disposition: str, raw: bytes, at: int, readings: int = 1
    ) -> None:
        """Keep a record among the last few of which ``readings`` were not folded for this reason,
        and count them for its device; ``at`` is when the stream took it (ms)."""
        preview = raw[:PREVIEW_BYTES].decode("utf-8", "backslashreplace")
        rejects = self.report.rejects
        rejects.append(Reject(device=device, disposition=disposition, at=at, preview=preview))
        del rejects[:-REJECTS_KEPT]
        if device is not None:
            self._count_rejected(device, disposition, at, readings)

    def _count_rejected(self, device: str, disposition: str, at: int, readings: int) -> None:
        devices = self.report.rejected_devices
        known = devices.pop(device, None) or DeviceRejects({}, 0)
        known.dispositions[disposition] = known.dispositions.get(disposition, 0) + readings
        known.last_at = max(known.last_at, at)
        devices[device] = known  # the newest last
        if len(devices) > DEVICES_KEPT:
            del devices[next(iter(devices))]

    def on_outside(self, device: str, readings: int) -> None:
        """Readings of a device are outside of its type's schema, which only warns. The first of a
        device is logged; memory of that is bounded."""
        self.report.outside += readings
        if device not in self._outside:
            if len(self._outside) >= OUTSIDE_KEPT:
                self._outside.clear()
            self._outside.add(device)
            log.warning("readings of %s are outside of the schema of its type", device)

    def on_ages(self, device: str, least_ms: int, greatest_ms: int) -> None:
        """How old a device's newest readings were when the broker received them, at least and at
        most. Outside of :data:`LIVE_MS` the device's clock is wrong, or it sends what it kept."""
        if LIVE_MS[0] <= least_ms and greatest_ms <= LIVE_MS[1]:
            self._not_live.discard(device)
        else:
            self._not_live.add(device)

    def durable(self, device: str, runs: Sequence[Kept]) -> None:
        """The readings of a device's runs are in the hot store for the first time."""
        now = self._now_ms()
        added = Histogram()
        for run in runs:
            for ts in run.ts:
                added.add(now - ts)
            self.report.durable += len(run)
        self._latency.add_counts(added.counts)
        if device not in self._not_live:
            self._live_latency.add_counts(added.counts)
        if self.report.first_durable_at is None and runs:
            self.report.first_durable_at = now

    def on_traced(self, trace_id: int, ts: int) -> None:
        """A reading of a sampled message is durable for the first time; ``ts`` is its own (ms)."""
        now, traced = self._now_ms(), self.report.traced
        traced.append(Traced(f"{trace_id:032x}", now - ts, now))
        del traced[:-TRACED_KEPT]

    def on_batch_done(self, records: Sequence[StreamRecord], uncommitted_since: int | None) -> None:
        """A batch is processed; ``uncommitted_since`` is when the oldest record arrived that is not
        committed."""
        now = self._now_ms()
        if records:
            self.report.records += len(records)
            self.report.newest = records[-1].sequence_number
            if self._progressed_at is not None:  # what waited before the first batch is its start
                waited_since = max(records[0].approximate_arrival_timestamp, self._progressed_at)
                stood_ms = now - waited_since
                self.report.longest_stall_ms = max(self.report.longest_stall_ms, stood_ms)
        self.report.uncommitted_since = uncommitted_since
        self._progressed_at = now

    def committed(self, key: str) -> None:
        """Everything up to a checkpoint is durable; ``key`` is the archive's newest object."""
        self.report.commits += 1
        self.report.committed_at = self._now_ms()
        self.report.committed_key = key

    def checkpointed(self) -> None:
        """The KCL has moved the shard's checkpoint."""
        self.report.checkpointed_at = self._now_ms()

    def on_transitions(self, devices: Sequence[str]) -> None:
        """Transitions of devices were recorded: tell the supervisor at once."""
        self._send(Transitions(list(devices[:TRANSITIONS_TOLD])))

    def send_due(self, now: float, *, force: bool = False) -> None:
        """Report, at most once a second unless forced; ``now`` is monotonic (s)."""
        if force or now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self.report.latency = self._latency.counts
            self.report.live_latency = self._live_latency.counts
            self.report.puts = self.puts.counts
            self.report.flushes = self.flushes.counts
            self._report_hot()
            if self.busy_s is not None:
                self.report.busy_ms = round(1000 * self.busy_s(now))
            self.report.memory_mb = round(resident_mb() or 0.0, 1)
            if self.acknowledgements is not None:
                published, dropped = self.acknowledgements()
                self.report.acknowledgements = published
                self.report.acknowledgements_dropped = dropped
            self._send(self.report)

    def _report_hot(self) -> None:
        if self.hot is None:
            return
        report, now = self.report, self.hot()
        report.conflicts, report.throttled = now.conflicts, now.throttled
        report.items_written = now.items_written
        report.pending_readings, report.pending_windows = now.pending_readings, now.pending_windows
        report.open_windows = now.open_windows
        report.unflushed_since = self._pending_since.oldest(now.epochs, self._now_ms())

    def _send(self, line: Line) -> None:
        self._write(_encode(line) + b"\n")
        sys.stderr.flush()


class Activity:
    """Whether the process is at work on an action, and since when; read by another thread."""

    def __init__(self, write: Callable[[bytes], object] = sys.stderr.buffer.write) -> None:
        self._write = write
        self._since: float | None = None
        self._before_s = 0.0
        self.shard = ""
        self.steps: Callable[[], int] = lambda: 0
        """Returns how many records were received and items written since the process began."""

    def began(self, now: float) -> None:
        """An action begins; ``now`` is monotonic (s)."""
        self._since = now

    def ended(self, now: float) -> None:
        """The process waits for the daemon: for its next action, or for a checkpoint."""
        since, self._since = self._since, None
        if since is not None:
            self._before_s += now - since

    def busy_s(self, now: float) -> float:
        """How long the process was at work since it began, until now."""
        since = self._since
        return self._before_s + (0.0 if since is None else now - since)

    def tell(self, now: float) -> None:
        """Send a :class:`ShardBusy` if an action takes long."""
        since = self._since
        if since is not None and now - since >= BUSY_S:
            self._write(_encode(ShardBusy(self.shard, os.getpid())) + b"\n")
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
