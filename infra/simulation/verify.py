"""Compare a ledger with what a deployment's hot tables and archive hold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from infra.console import UserError
from infra.target import Target
from simulator.errors import LedgerError
from simulator.verification.ledger import read_entries, read_meta
from simulator.verification.observe import Clients, observe
from simulator.verification.oracle import Rules
from simulator.verification.verifier import Report, verify

SETTLE_S: Final = 5.0


def verify_ledger(target: Target, path: Path, *, exclusive: bool) -> Report:
    """Compare a ledger with the deployment.

    :raises UserError: when the file is no ledger.
    """
    try:
        meta = read_meta(path)
        entries = list(read_entries(path))
    except LedgerError as error:
        raise UserError(str(error)) from None
    clients = Clients(target.client("dynamodb", "simulator"), target.client("s3", "simulator"))
    devices = None if exclusive else {entry.device for entry in entries}
    now = time.time()
    observed = observe(clients, target.settings, target.account, devices)
    rules = Rules(meta.tiers, meta.clock_ahead_s)
    return verify(entries, observed, rules, now_s=now, exclusive=exclusive)


def verify_settled(target: Target, path: Path, *, exclusive: bool) -> Report:
    """Compare until it is exact, or until nothing changes any more for as long as a segment may
    stay open or an item may wait to be written: what is still on its way is no fault. More can
    be on its way than was acknowledged, so that a count does not tell when everything is there.

    :raises UserError: when the file is no ledger.
    """
    settings = target.settings
    longest = max(settings.latest_flush_s, *(tier.flush_s for tier in settings.tiers))
    quiet_s = max(settings.segment_age_s, longest) + SETTLE_S
    report = verify_ledger(target, path, exclusive=exclusive)
    changed = time.monotonic()
    while not report.exact and time.monotonic() - changed < quiet_s:
        time.sleep(1.0)
        before, report = report, verify_ledger(target, path, exclusive=exclusive)
        if report.as_dict() != before.as_dict():
            changed = time.monotonic()
    return report
