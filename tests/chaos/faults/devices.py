"""What devices do: repeat, mix up, come late, start over, lie about the time, send nonsense."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from devices.batch import Outgoing
from ingest.message import MAX_PAYLOAD_BYTES
from simulator.verification.ledger import OK
from tests.chaos.faults import on_shared_site
from tests.chaos.site import Site
from tests.harness.shard import payload


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def message(boot: str, seq: int, readings: Sequence[tuple[int, float]]) -> Outgoing:
    """A message of ``(ts, value)`` readings."""
    body = payload(boot, seq, [(ts, {"temperature": value}) for ts, value in readings])
    return Outgoing(boot, seq, len(readings), body)


def numbered(boot: str, count: int, newest: int, step: int = 50) -> list[tuple[Outgoing, str]]:
    """``count`` messages of one reading, ``step`` ms apart."""
    return [(message(boot, i, [(newest - (count - i) * step, float(i))]), OK) for i in range(count)]


@on_shared_site
def duplicate_publishes(site: Site) -> None:
    """Every message is published twice, under packet ids of its own."""
    with site.load(4, duplicate_every=1):
        pass


@on_shared_site
def reordered_publishes(site: Site) -> None:
    """A device's messages come in any order."""
    chance = random.Random(site.seed)
    messages = {}
    for device in site.fleet(4):
        mine = numbered("reordered", 80, now_ms())
        chance.shuffle(mine)
        messages[device] = mine
    site.publish(messages)


@on_shared_site
def an_old_backlog_after_live_data(site: Site) -> None:
    """A device that was offline sends what it has, after what is new."""
    messages = {}
    for device in site.fleet(3):
        live = numbered("live-data", 20, now_ms())
        backlog = numbered("backlog0", 120, now_ms() - 2 * 3_600_000, step=30_000)
        messages[device] = live[:10] + backlog + live[10:]
    site.publish(messages)


@on_shared_site
def sequence_counter_reset(site: Site) -> None:
    """A device starts its counter again, under a new boot, twice."""
    site.publish(
        {
            device: [m for boot in ("boot-001", "boot-002", "boot-003")
                     for m in numbered(boot, 25, now_ms())]
            for device in site.fleet(3)
        }
    )  # fmt: skip


@on_shared_site
def an_identity_sent_with_other_content(site: Site) -> None:
    """The same identity with another value, with another time in the same window, and with a
    time in another window. Both rows are archived, a window takes the first, and the verifier
    says so."""
    before = site.report().sent["conflicting"]
    start = now_ms() // 60_000 * 60_000 - 60_000
    fleet = site.fleet(2)
    site.publish(
        {
            device: [
                (message("conflict", 0, [(start + 1_000, 1.0)]), OK),
                (message("conflict", 1, [(start + 2_000, 2.0)]), OK),
                (message("conflict", 2, [(start + 3_000, 3.0)]), OK),
                (message("conflict", 0, [(start + 1_000, 100.0)]), OK),
                (message("conflict", 1, [(start + 2_500, 200.0)]), OK),
                (message("conflict", 2, [(start + 45_000, 300.0)]), OK),
            ]
            for device in fleet
        }
    )
    site.drain()
    assert site.report().sent["conflicting"] - before == 3 * len(fleet)


@on_shared_site
def a_clock_ahead_and_one_behind(site: Site) -> None:
    """Ahead by less and by more than is folded; behind by an hour."""
    ahead = site.settings.clock_ahead_s * 1000
    first, second, third = site.fleet(3)
    site.publish(
        {
            first: numbered("ahead-ok", 20, now_ms() + ahead // 2),
            second: numbered("ahead-no", 20, now_ms() + 3 * ahead),
            third: numbered("behind00", 20, now_ms() - 3_600_000),
        }
    )


@on_shared_site
def readings_later_than_a_tier_s_time_to_live(site: Site) -> None:
    """Too late for the finest tier, for the next, and for all."""
    messages = {}
    for device, tier in zip(site.fleet(3), site.settings.tiers, strict=True):
        messages[device] = numbered("too-late", 20, now_ms() - tier.ttl_s * 1000)
    site.publish(messages)


@on_shared_site
def malformed_and_hostile_payloads(site: Site) -> None:
    """Garbage after every message: broken JSON, deep nesting, KPL magic, other versions."""
    with site.load(5, devices=6, malformed_every=1):
        pass


@on_shared_site
def a_kpl_magic_payload(site: Site) -> None:
    """Bytes that the KCL would take for an aggregate, if they were a record's."""
    magic = b"\xf3\x89\x9a\xc2" + b"\x0a\x04dev0\x1a\x02\x08\x00" * 5
    device = site.fleet(1)[0]
    site.publish(
        {
            device: [
                *numbered("kpl-0000", 5, now_ms()),
                (Outgoing("garbage", 0, 0, magic), "malformed"),
                *numbered("kpl-0001", 5, now_ms()),
            ]
        }
    )


@on_shared_site
def an_oversize_payload(site: Site) -> None:
    """Larger than IoT Core lets through, so it comes straight into the stream."""
    large = b'{"v":1,"pad":"' + b"x" * MAX_PAYLOAD_BYTES + b'"}'
    device = site.fleet(1)[0].device_id
    site.put(
        [(device, Outgoing("garbage", 0, 0, large), "oversize")]
        + [(device, m, expect) for m, expect in numbered("after-it", 5, now_ms())]
    )


@on_shared_site
def a_very_fragmented_sequence(site: Site) -> None:
    """Every other sequence number in random order, then the gaps."""
    chance = random.Random(site.seed)
    messages = {}
    for device in site.fleet(2):
        all_of_them = numbered("fragment", 600, now_ms(), step=5)
        halves = [all_of_them[0::2], all_of_them[1::2]]
        for half in halves:
            chance.shuffle(half)
        messages[device] = halves[0] + halves[1]
    site.publish(messages)


@on_shared_site
def an_idle_shard_s_tail(site: Site) -> None:
    """One message and then nothing: it is flushed and committed all the same."""
    device = site.fleet(1)[0]
    site.publish({device: numbered("the-last", 1, now_ms())})
