"""Quarantined readings of a deployment put into its stream again, for the command and for
scenarios."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from consumers.schemas.judge import Judge
from infra.archive.auditing import quiet_s, source_of
from infra.console import UserError, live
from infra.schemas import applied_schemas, await_force, types_of
from infra.target import Target
from ingest.schemas.schema import Applied, History
from ingest.stream import PutError, put_all
from lake.rejects.admission import Admission, Quarantines, plan_of
from lake.rejects.found import Wanted, find_rejects
from lake.rejects.redrive import accepted_ids

LOOK_S: Final = 2.0


def plan_admission(target: Target, wanted: Wanted) -> Admission:
    """Decide for each quarantined row of the deployment's archive, by the schemas that were applied
    last."""
    source, archive = source_of(target, None)
    with live(lambda: f"  … the archive is read ({archive.fetched} segments)"):
        rejects = list(find_rejects(archive, wanted))
        types = types_of(target, {one.device_id for one in rejects if one.device_id})
        return plan_of(
            rejects,
            quarantines_of(applied_schemas(target).newest, types),
            partial(accepted_ids, source),
        )


def quarantines_of(applied: Applied, types: dict[str, str]) -> Quarantines:
    """What a set of schemas quarantines from when it is in force on."""
    judge = Judge(History(1, [Applied(0, applied.schemas)]), types)
    return lambda device, metrics: judge.quarantines(device, 0, metrics)


def admit(target: Target, plan: Admission, sleep: Callable[[float], None] = time.sleep) -> int:
    """Put what is planned, once the newest schemas are in force, and wait for the archive; how many
    readings are folded.

    :raises UserError: when the stream does not take a record.
    """
    with live(lambda: "  … waiting until the schemas are in force"):
        await_force(applied_schemas(target), lambda: time.time_ns() // 1_000_000, sleep)
    try:
        put_all(target.client("kinesis", "redrive"), target.settings.stream, plan.records())
    except PutError as error:
        raise UserError(f"{error}; the same command goes on, and nothing counts twice") from None
    source, _ = source_of(target, None)
    deadline = time.monotonic() + 2 * quiet_s(target)
    readings = list(plan.send.values())
    folded = 0
    with live(lambda: f"  … {folded} of {len(readings)} folded"):
        while True:
            folded = len(accepted_ids(source, readings) & plan.send.keys())
            if folded == len(readings) or time.monotonic() > deadline:
                return folded
            sleep(LOOK_S)
