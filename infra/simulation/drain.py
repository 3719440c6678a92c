"""Wait until what was acknowledged is in the archive."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from infra.console import live
from infra.target import Target
from simulator.verification.ledger import read_entries
from simulator.verification.observe import ArchivedCounter

DRAIN_S: Final = 90.0


def await_archived(target: Target, ledger_path: Path, before: int = 0) -> None:
    """Wait until as many records are archived as were acknowledged, on top of ``before``.
    Return after ``DRAIN_S`` in any case: the verifier then names what is missing."""
    wanted = before + sum(entry.acked_at is not None for entry in read_entries(ledger_path))
    counter = archived_counter(target)
    seen = 0
    deadline = time.monotonic() + DRAIN_S
    with live(lambda: f"  … {seen} of {wanted} records are archived"):
        while (seen := counter.count()) < wanted and time.monotonic() < deadline:
            time.sleep(0.2)


def archived_counter(target: Target) -> ArchivedCounter:
    """Counts what the archive holds."""
    return ArchivedCounter(target.client("s3", "simulator"), target.settings.bucket(target.account))
