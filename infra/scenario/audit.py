"""The audit of a simulated fleet's windows: the archive and the hot tables, without the ledger.

The verifier compares both with what was sent. An audit has only the archive, as in production; a
run in which it is not clean while the verifier is content would show that it cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from infra.archive.auditing import auditor_of
from infra.target import Target
from ingest.message import Message, decode
from lake.audit.audit import Range, aligned
from simulator.verification.ledger import OK, read_entries
from simulator.verification.oracle import Rules

SHOWN: Final = 20


def audit_of(target: Target, ledger: Path, devices: Sequence[str]) -> dict[str, Any]:
    """Compare every window of these devices that a ledger's readings belong to."""
    tiers = target.settings.tiers
    rules = Rules(tiers, target.settings.clock_ahead_s)
    times = [
        reading.ts
        for entry in read_entries(ledger)
        if entry.expect == OK and isinstance(message := decode(entry.payload), Message)
        for reading in message.readings
        if rules.disposition(reading.ts, reading.metrics, entry.sent_at) == OK
    ]
    if not times:
        return {"verdict": "clean", "windows": 0, "readings": 0, "differences": []}
    start, end = aligned(min(times), max(times) + 1, tiers)
    result = auditor_of(target).auditor.run(Range(start, end, sorted(devices), tiers))
    return {
        "verdict": "clean" if result.clean else "different",
        "windows": result.windows,
        "readings": result.readings,
        "differences": [one.sentence for one in result.differences[:SHOWN]],
    }
