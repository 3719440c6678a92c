"""Compare what was sent with what arrived, reading by reading. Values in, a report out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ingest.message import Message, decode
from simulator.verification import oracle
from simulator.verification.differences import latest_fault, window_faults
from simulator.verification.lake import DAY_MS, LakeReading
from simulator.verification.ledger import OK, Entry
from simulator.verification.observe import ArchiveRow, Observed
from simulator.verification.oracle import Rules, Sent
from simulator.verification.quarantine import quarantined
from simulator.verification.room import Place, place_of, refused

SHOWN: Final = 20

Id = tuple[str, str, int]


@dataclass
class Report:
    """The verdict, what was counted, and the first differences as sentences."""

    sent: dict[str, int]
    windows: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("checked", "missing", "extra", "wrong", "expired"), 0
        )
    )
    latest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("checked", "wrong"), 0))
    archive: dict[str, int] = field(default_factory=dict)
    dispositions: dict[str, int] = field(default_factory=dict)
    devices: int = 0
    differences: list[str] = field(default_factory=list)
    accepted: frozenset[LakeReading] = frozenset()
    """The readings that the lake must have, once each; not in :meth:`as_dict`."""

    @property
    def exact(self) -> bool:
        """Whether everything that was sent is there, once, and nothing else is."""
        faults = (
            [self.windows[name] for name in ("missing", "extra", "wrong")]
            + [self.latest["wrong"]]
            + [self.archive[name] for name in ("missing", "duplicated", "wrong", "extra")]
        )
        return not any(faults) and not self.differences

    def differ(self, sentence: str) -> None:
        """Note a difference."""
        if len(self.differences) < SHOWN:
            self.differences.append(sentence)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": "exact" if self.exact else "inexact",
            "devices": self.devices,
            "sent": self.sent,
            "windows": self.windows,
            "latest": self.latest,
            "archive": self.archive,
            "dispositions": self.dispositions,
            "differences": self.differences,
        }


class Verifier:
    """One comparison. ``now_s`` is when the tables were read: expired windows are not compared.
    With ``exclusive`` the stack belongs to this ledger, and anything else in it is extra."""

    def __init__(
        self,
        entries: Iterable[Entry],
        observed: Observed,
        rules: Rules,
        *,
        now_s: float,
        exclusive: bool,
    ) -> None:
        self._entries = list(entries)
        self._observed = observed
        self._rules = rules
        self._now_s = now_s
        self._exclusive = exclusive
        self._devices = {entry.device for entry in self._entries}
        self._contents: dict[Id, list[tuple[int, Mapping[str, float]]]] = defaultdict(list)
        self._acked: set[Id] = set()
        self._first_sent: dict[Id, int] = {}
        self._rows_of: dict[Id, list[ArchiveRow]] = defaultdict(list)
        self._refused: set[Place] = set()
        self._quarantined: set[Place] = set()
        self.taken: list[Sent] = []
        self.wanted: dict[tuple[str, str], oracle.Window] = {}
        """After :meth:`report`: the readings that the stream took, and the windows that must exist,
        by (device, window)."""

    def report(self) -> Report:
        """Compare everything."""
        self._read_ledger()
        self._quarantined = quarantined(self._observed, self._rules)
        self._refused = refused(self._observed, self._rules, self._quarantined)
        report = Report(sent=self._sent(), devices=len(self._devices))
        self._check_archive(report)
        taken = self.taken = list(self._taken())
        report.accepted = frozenset(filter(None, map(self._accepted, taken)))
        arrived = {(s.device, s.boot, s.seq) for s in taken} - self._acked
        report.sent["unacknowledged_arrived"] = len(arrived)
        report.sent["unacknowledged_lost"] = len(self._contents) - len(self._acked) - len(arrived)
        self.wanted = oracle.windows(taken, self._rules)
        self._check_windows(report, self.wanted)
        self._check_latest(report, oracle.latest(taken, self._rules))
        return report

    def _read_ledger(self) -> None:
        for entry in self._entries:
            message = decode(entry.payload) if entry.expect == OK else None
            if not isinstance(message, Message):
                continue
            for index, reading in enumerate(message.readings):
                identity = (entry.device, message.boot, message.seq + index)
                self._contents[identity].append((reading.ts, reading.metrics))
                self._first_sent.setdefault(identity, entry.sent_at)
                if entry.acked_at is not None:
                    self._acked.add(identity)

    def _sent(self) -> dict[str, int]:
        telemetry = [entry for entry in self._entries if entry.expect == OK]
        return {
            "messages": len(self._entries),
            "readings": len(self._contents),
            "acknowledged": len(self._acked),
            "unacknowledged": len(self._contents) - len(self._acked),
            "repeated": len(telemetry) - len({(e.device, e.boot, e.seq) for e in telemetry}),
            "garbage": len(self._entries) - len(telemetry),
            "conflicting": sum(
                any(content != contents[0] for content in contents)
                for contents in self._contents.values()
            ),
        }

    # -- the archive -----------------------------------------------------------------------

    def _check_archive(self, report: Report) -> None:
        places: Counter[tuple[Any, ...]] = Counter()
        counts = dict.fromkeys(
            ("objects", "records", "readings", "missing", "duplicated", "repeated", "wrong",
             "extra", "rejected"), 0)  # fmt: skip
        rejected: Counter[tuple[str, bytes, str]] = Counter()
        report.archive = counts
        for row in self._rows():
            places[row.shard_id, row.sequence_number, row.sub_sequence, row.reading] += 1
            report.dispositions[row.disposition] = report.dispositions.get(row.disposition, 0) + 1
            if row.reading is None:
                rejected[row.device_id or "", row.raw or b"", row.disposition] += 1
            else:
                self._check_row(report, row)
        counts["objects"] = self._observed.objects
        counts["records"] = len({place[:3] for place in places})
        counts["readings"] = len(self._rows_of)
        counts["rejected"] = sum(rejected.values())
        counts["repeated"] = sum(map(len, self._rows_of.values())) - len(self._rows_of)
        for place, count in places.items():
            if count > 1:
                counts["duplicated"] += count - 1
                report.differ(f"record {place[1]} of {place[0]} is archived {count} times")
        for identity in sorted(self._acked - self._rows_of.keys()):
            counts["missing"] += 1
            report.differ(f"{_name(identity)} was acknowledged and is not in the archive")
        self._check_rejected(report, rejected)

    def _rows(self) -> Iterator[ArchiveRow]:
        for row in self._observed.rows:
            if self._exclusive or row.device_id in self._devices:
                yield row

    def _check_row(self, report: Report, row: ArchiveRow) -> None:
        assert row.boot is not None
        assert row.seq is not None
        identity = (row.device_id or "", row.boot, row.seq)
        contents = self._contents.get(identity)
        if contents is None:
            report.archive["extra"] += 1
            report.differ(f"{_name(identity)} is in the archive and was never sent")
            return
        self._rows_of[identity].append(row)
        if (row.ts, row.metrics) not in contents:
            report.archive["wrong"] += 1
            report.differ(f"{_name(identity)} is archived with other content: {row.metrics}")
        if place_of(row) in self._refused:
            wanted = "overflow"
        elif place_of(row) in self._quarantined:
            wanted = "quarantined"
        else:
            wanted = self._rules.disposition(row.ts or 0, row.metrics or {}, row.received_at or 0)
        if row.disposition != wanted:
            report.archive["wrong"] += 1
            report.differ(f"{_name(identity)} is archived as {row.disposition}, expected {wanted}")

    def _check_rejected(self, report: Report, found: Counter[tuple[str, bytes, str]]) -> None:
        """Garbage must be there to the byte; as often as it was acknowledged, and at most as
        often as it was sent (the broker may repeat what was not)."""
        sent: Counter[tuple[str, bytes, str]] = Counter()
        acked: Counter[tuple[str, bytes, str]] = Counter()
        for entry in self._entries:
            if entry.expect != OK:
                sent[entry.device, entry.payload, entry.expect] += 1
                acked[entry.device, entry.payload, entry.expect] += entry.acked_at is not None
        for (device, raw, expect), count in acked.items():
            if found[device, raw, expect] < count:
                report.archive["missing"] += count - found[device, raw, expect]
                report.differ(f"{device} sent {raw[:30]!r}, and it is not archived as {expect}")
        for (device, raw, disposition), count in found.items():
            if (device, raw, disposition) not in sent:
                report.archive["extra"] += count
                report.differ(f"{raw[:30]!r} of {device or '?'} is archived as {disposition}, "
                              "and was not sent")  # fmt: skip

    def _taken(self) -> Iterator[Sent]:
        """Every reading that the stream took, acknowledged or found in the archive, in the order
        of arrival; one that came with several contents is there with each of them. What a full
        window refused is not among them, nor what a schema quarantined."""
        left_out = self._refused | self._quarantined
        for identity, contents in self._contents.items():
            arrived = self._rows_of.get(identity, [])
            rows = sorted(
                (row for row in arrived if place_of(row) not in left_out),
                key=lambda row: (int(row.sequence_number), row.sub_sequence),
            )
            if not arrived and identity in self._acked:
                yield Sent(*identity, *contents[0], (self._first_sent[identity],))
            while rows:  # as a rule once: a device that keeps the contract sends the same again
                ts, metrics = rows[0].ts or 0, rows[0].metrics or {}
                same = [row for row in rows if (row.ts, row.metrics) == (rows[0].ts, metrics)]
                yield Sent(*identity, ts, metrics, tuple(row.received_at or 0 for row in same))
                rows = [row for row in rows if row not in same]

    def _accepted(self, sent: Sent) -> LakeReading | None:
        """The reading as the lake has it; ``None`` when no record brought it in order."""
        judge = self._rules.disposition
        if all(judge(sent.ts, sent.metrics, at) != OK for at in sent.received_at):
            return None
        return LakeReading(sent.device, sent.boot, sent.seq, sent.ts // DAY_MS)

    # -- the hot tables --------------------------------------------------------------------

    def _check_windows(
        self, report: Report, wanted: Mapping[tuple[str, str], oracle.Window]
    ) -> None:
        counts = report.windows
        stored = self._observed.windows
        for key in sorted(wanted.keys() | stored.keys()):
            item, window = stored.get(key), wanted.get(key)
            expires_at = window.expires_at if window else int(stored[key]["expires_at"]["N"])
            if expires_at <= self._now_s:
                counts["expired"] += 1
            elif window is None:
                if self._exclusive or key[0] in self._devices:
                    counts["extra"] += 1
                    report.differ(
                        f"window {key[1]} of {key[0]} is there and nothing was sent for it"
                    )
            elif item is None:
                counts["missing"] += 1
                report.differ(
                    f"window {key[1]} of {key[0]} is missing: expected {window.n} readings"
                )
            else:
                counts["checked"] += 1
                faults = list(window_faults(item, window))
                if faults:
                    counts["wrong"] += 1
                    report.differ(f"window {key[1]} of {key[0]}: {faults[0]}")

    def _check_latest(self, report: Report, wanted: Mapping[str, oracle.Latest]) -> None:
        """A device that is known and never sent has an item too, without a reading's identity."""
        stored = self._observed.devices
        for device in sorted(wanted.keys() | stored.keys()):
            item, state = stored.get(device), wanted.get(device)
            if state is not None:
                fault = "missing" if item is None else latest_fault(item, state)
            elif self._exclusive or device in self._devices:
                fault = "it shows a reading that was not sent" if "boot" in stored[device] else None
            else:
                continue
            report.latest["checked"] += state is not None
            if fault:
                report.latest["wrong"] += 1
                report.differ(f"latest state of {device}: {fault}")


def _name(identity: Id) -> str:
    return f"reading {identity[1]}/{identity[2]} of {identity[0]}"


def verify(
    entries: Sequence[Entry], observed: Observed, rules: Rules, *, now_s: float, exclusive: bool
) -> Report:
    """Compare a ledger with what was observed."""
    return Verifier(entries, observed, rules, now_s=now_s, exclusive=exclusive).report()
