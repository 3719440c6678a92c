"""Rejects of a deployment put into its stream again, for the command and for scenarios."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from consumers.hot.lateness import LatenessPolicy
from infra.archive.auditing import quiet_s, source_of
from infra.console import UserError, live
from infra.target import Target
from ingest.stream import PutError, put_all
from lake.rejects.fix import Fix
from lake.rejects.found import Wanted, find_redriven, find_rejects
from lake.rejects.redrive import Plan, accepted_ids, plan

LOOK_S: Final = 2.0


def plan_redrive(target: Target, wanted: Wanted, fix: Fix) -> Plan:
    """Decide for each reject of the deployment's archive."""
    settings = target.settings
    source, archive = source_of(target, None)
    judge = LatenessPolicy(settings.tiers, settings.clock_ahead_s).disposition
    with live(lambda: f"  … the archive is read ({archive.fetched} segments)"):
        return plan(
            find_rejects(archive, wanted),
            fix,
            judge,
            find_redriven(archive, wanted.start),
            partial(accepted_ids, source),
        )


def redrive(target: Target, chosen: Plan, since_ms: int) -> dict[str, int]:
    """Put what was chosen, and wait for the archive; how many readings have which disposition
    there.

    :raises UserError: when the stream does not take a record.
    """
    try:
        put_all(target.client("kinesis", "redrive"), target.settings.stream, chosen.records())
    except PutError as error:
        raise UserError(f"{error}; the same command goes on, and nothing counts twice") from None
    deadline = time.monotonic() + 2 * quiet_s(target)
    _, archive = source_of(target, None)
    states: dict[str, int] = {}
    with live(lambda: f"  … {sum(states.values())} of {len(chosen.send)} archived"):
        while True:
            found = find_redriven(archive, since_ms)
            states = {}
            for key in chosen.send.keys() & found.keys():
                states[found[key]] = states.get(found[key], 0) + 1
            if sum(states.values()) == len(chosen.send) or time.monotonic() > deadline:
                return states
            time.sleep(LOOK_S)
