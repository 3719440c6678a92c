"""Answers that fail: throttles, lost replies, storms of 500, partial failures inside a 200."""

from __future__ import annotations

import time
from typing import Final

from botocore.config import Config

from ingest.message import Reading
from simulator.load.senders import messages as cut_messages
from simulator.verification.ledger import OK
from tests.chaos.faults import on_own_site, on_shared_site
from tests.chaos.plan import Fault, Rule
from tests.chaos.site import Expected, Site

STORM_S: Final = 20.0


def _under_load(site: Site, *rules: Rule, seconds: float = 4.0) -> None:
    """Let calls go wrong under load, and be sure that each rule has struck."""
    plan = site.spoil(*rules)
    with site.load(seconds):
        pass
    site.until(lambda: not plan.idle(), 20, f"{plan.idle()}")
    site.heal()


def _hot(fault: Fault, rate: float, **more: float) -> Rule:
    return Rule("dynamodb", fault, "BatchExecuteStatement", rate=rate, **more)  # type: ignore[arg-type]


@on_shared_site
def statements_throttled(site: Site) -> None:
    """Some statements of a batch are throttled, and now and then the whole call."""
    _under_load(site, _hot(Fault.PARTIAL, 0.5), _hot(Fault.THROTTLE, 0.2))


@on_shared_site
def statements_conflict(site: Site) -> None:
    """Some statements of a batch are answered with a conflict."""
    _under_load(site, _hot(Fault.CONFLICT, 0.4))


@on_shared_site
def writes_applied_and_replies_lost(site: Site) -> None:
    """The hot write is done and its reply never comes; or the connection ends before."""
    _under_load(site, _hot(Fault.REPLY_LOST, 0.3), _hot(Fault.RESET, 0.2))


@on_shared_site
def writes_answered_late(site: Site) -> None:
    """A second before each answer."""
    _under_load(site, _hot(Fault.DELAY, 0.5, seconds=1.0))


@on_shared_site
def unprocessed_keys(site: Site) -> None:
    """Half of what is read is not answered."""
    _under_load(site, Rule("dynamodb", Fault.PARTIAL, "BatchGetItem", rate=0.7))


@on_shared_site
def stale_reads(site: Site) -> None:
    """Reads answer with an older state, as no consistent read should."""
    conflicts = _hot(Fault.CONFLICT, 0.5)  # a conflict makes the worker read again
    _under_load(site, Rule("dynamodb", Fault.STALE, "BatchGetItem", rate=0.5), conflicts)


@on_shared_site
def s3_409_try_again(site: Site) -> None:
    """S3 wants the conditional put again."""
    _under_load(site, Rule("s3", Fault.CONFLICT_409, "PutObject", rate=0.6))


@on_shared_site
def s3_412_for_our_own_put(site: Site) -> None:
    """The put is done, and a retry inside S3 answers that the object exists."""
    _under_load(site, Rule("s3", Fault.DONE_412, "PutObject", rate=0.6))


@on_shared_site
def s3_times_out_after_the_put(site: Site) -> None:
    """The put is done and its reply never comes; or 503 before it."""
    _under_load(
        site,
        Rule("s3", Fault.REPLY_LOST, "PutObject", rate=0.5),
        Rule("s3", Fault.UNAVAILABLE, "PutObject", rate=0.3),
    )


@on_shared_site
def put_records_fails_in_part(site: Site) -> None:
    """A loader's records are refused inside a 200, and its replies get lost."""
    client = site.target.session("simulator").client(
        "kinesis",
        endpoint_url=site.proxy.url,
        config=Config(retries={"mode": "standard", "max_attempts": 8}),
    )
    now = time.time_ns() // 1_000_000
    readings = [Reading(now - 2000 + i, {"level": float(i)}) for i in range(2000)]
    messages: list[Expected] = [
        ("loader", message, OK)
        for seq in range(0, 2000, 5)
        for message in cut_messages("chaosload", seq, readings[seq : seq + 5])
    ]
    plan = site.spoil(
        Rule("kinesis", Fault.REPLY_LOST, "PutRecords", times=1),
        Rule("kinesis", Fault.PARTIAL, "PutRecords", times=4),
    )
    site.put(messages, client)
    site.heal()
    assert not plan.idle()


def _storm(site: Site, service: str) -> None:
    """Nothing but 500 from one service for 20 s, with devices going on and on."""
    site.start_worker()
    with site.load(STORM_S + 8, devices=6, rate=3):
        site.until(lambda: site.workers[0].worker.status.snapshot()["durable"], 60, "a window")
        site.spoil(Rule(service, Fault.ERROR, end_s=STORM_S))


@on_own_site()
def dynamodb_is_down_for_20_s(site: Site) -> None:
    """The hot tables and the KCL's leases."""
    _storm(site, "dynamodb")


@on_own_site()
def s3_is_down_for_20_s(site: Site) -> None:
    """No segment can be committed."""
    _storm(site, "s3")


@on_own_site()
def kinesis_is_down_for_20_s(site: Site) -> None:
    """No record can be read."""
    _storm(site, "kinesis")
