"""The end of a scenario on a stack of its own: what was too early is redriven, and counts once.

The clocks of some fleets jump; what they sent then is archived as ``clock_ahead``. It is put into
the stream again with the clock corrected, and asked for a second time. Exact is: each distinct
reading was archived as ``ok`` now, nothing is left to redrive, and the windows are again what the
archive says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from infra.archive.redriving_rejects import plan_redrive, redrive
from infra.scenario.audit import audit_of
from infra.target import Target
from lake.rejects.fix import Fix
from lake.rejects.found import Wanted
from simulator.verification.lake import DAY_MS, LakeReading
from simulator.verification.ledger import read_entries

EARLIER_MS: Final = 900_000
"""By how much the clocks are corrected: what was up to half an hour ahead is in order then."""


class RedrivenEarly(NamedTuple):
    """The result for a report, and what the lake must have now beside what was sent."""

    result: Mapping[str, Any]
    accepted: frozenset[LakeReading]


def redrive_early(target: Target, ledger: Path, devices: Sequence[str]) -> RedrivenEarly:
    """Redrive what the clocks of these devices made too early."""
    sent = [entry.sent_at for entry in read_entries(ledger)]
    begin = min(sent, default=0) - DAY_MS
    wanted = Wanted(
        max(0, begin), max(sent, default=0) + DAY_MS, frozenset({"clock_ahead"}),
        frozenset(devices),
    )  # fmt: skip
    fix = Fix(clock_ms=-EARLIER_MS)
    first = plan_redrive(target, wanted, fix)
    states = redrive(target, first, wanted.start) if first.send else {}
    again = plan_redrive(target, wanted, fix)
    audit = audit_of(target, ledger, devices)
    exact = (
        states.get("ok", 0) == len(first.send) and not again.send and audit["verdict"] == "clean"
    )
    result = {
        "verdict": "exact" if exact else "inexact",
        "redriven": len(first.send),
        "archived": states,
        "repeated": first.repeated,
        "refused": sum(first.refused.values()),
        "left": len(again.send),
        "audit": audit["verdict"],
    }
    accepted = {
        LakeReading(one.device_id, one.boot, one.seq, one.ts // DAY_MS)
        for one in first.send.values()
    }
    return RedrivenEarly(result, frozenset(accepted))
