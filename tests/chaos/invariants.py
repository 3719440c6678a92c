"""The invariants of design §3, checked on a site from the outside."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from consumers.kcl.position import position
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record
from simulator.verification.observe import Clients, Observed, observe
from simulator.verification.oracle import Rules
from simulator.verification.verifier import Report, Verifier
from tests.chaos.alarms import SiteAlarms
from tests.chaos.checkpoint_watch import CheckpointWatch
from tests.chaos.stack import DeployedStack
from tests.chaos.traffic import Traffic
from tests.harness.stream import read_stream


class Invariants:
    """H, A, C, K, L and T of one stack, against everything that was sent to it."""

    def __init__(
        self,
        stack: DeployedStack,
        traffic: Traffic,
        checkpoints: CheckpointWatch,
        alarms: SiteAlarms,
    ) -> None:
        self._stack = stack
        self._traffic = traffic
        self._checkpoints = checkpoints
        self._alarms = alarms
        self._known: set[str] = set()

    def leases(self) -> dict[str, dict[str, str]]:
        """Every lease: shard to owner and checkpoint."""
        rows = self._stack.dynamodb.scan(
            TableName=self._stack.settings.application, ConsistentRead=True
        )["Items"]
        return {
            row["leaseKey"]["S"]: {
                "owner": row.get("leaseOwner", {}).get("S", ""),
                "checkpoint": row["checkpoint"]["S"],
            }
            for row in rows
            if "checkpoint" in row  # KCL 3.5 keeps more than leases there
        }

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Every record of the stream, by shard: what must be in the archive."""
        return read_stream(self._stack.kinesis, self._stack.settings.stream)

    def lag(self) -> dict[str, int]:
        """Records after each shard's checkpoint, of shards that are behind; a shard without a
        lease counts whole."""
        leases = self.leases()
        behind = {}
        for shard, records in self.records().items():
            checkpoint = leases.get(shard, {}).get("checkpoint", "TRIM_HORIZON")
            if checkpoint == "SHARD_END":
                continue
            left = len(records)
            if checkpoint.isdigit():
                reached = position(checkpoint, 0)
                left = sum(position(r["SequenceNumber"], 0) > reached for r in records)
            if left:
                behind[shard] = left
        return behind

    def drain(self, seconds: float = 90.0) -> list[str]:
        """L: wait until no shard is behind; what is behind after that time (s)."""
        deadline, pause = time.monotonic() + seconds, 0.2
        while behind := self.lag():
            if time.monotonic() > deadline:
                return [f"L: {shard} is {count} records behind" for shard, count in behind.items()]
            time.sleep(pause)
            pause = min(3.0, pause * 1.5)  # to read the stream takes from what its worker may read
        return []

    def violations(self) -> list[str]:
        """Every violation that was not reported by an earlier call."""
        found = [*self.drain(), *self._checkpoints.take()]
        clients = Clients(self._stack.dynamodb, self._stack.s3)
        observed = observe(clients, self._stack.settings, self._stack.target.account, None)
        found += self._misplaced(observed)
        verifier = self._verifier(observed)
        report = verifier.report()
        if not report.exact:
            found += [f"H/A/C: {difference}" for difference in report.differences]
        alarms = self._alarms.result(verifier.taken, verifier.wanted, self._rules)
        if alarms is not None and not alarms.exact:
            found += [f"T: {difference}" for difference in alarms.differences]
        new = [one for one in found if one not in self._known]
        self._known |= set(new)
        return new

    def report(self, observed: Observed | None = None) -> Report:
        """The verifier's comparison of all that was sent with all that is there."""
        observed = observed or observe(
            Clients(self._stack.dynamodb, self._stack.s3),
            self._stack.settings,
            self._stack.target.account,
            None,
        )
        return self._verifier(observed).report()

    def _verifier(self, observed: Observed) -> Verifier:
        entries = self._traffic.entries()
        return Verifier(entries, observed, self._rules, now_s=time.time(), exclusive=True)

    @property
    def _rules(self) -> Rules:
        return Rules(self._stack.settings.tiers, self._stack.settings.clock_ahead_s)

    def _misplaced(self, observed: Observed) -> list[str]:
        """A, against the stream itself: every record in the archive, once and whole."""
        archived = Counter((r.shard_id, r.sequence_number, r.reading) for r in observed.rows)
        wanted = Counter(
            (shard, record["SequenceNumber"], index)
            for shard, records in self.records().items()
            for record in records
            for index in _indexes(record["Data"])
        )
        found = [f"A: {p} is archived {archived[p]} times" for p in (archived - wanted)][:5]
        return found + [f"A: {p} is not archived" for p in (wanted - archived)][:5]


def _indexes(data: bytes) -> list[int | None]:
    envelope = decode_record(data)
    message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
    return list(range(len(message.readings))) if isinstance(message, Message) else [None]
