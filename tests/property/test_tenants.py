"""Nobody learns anything of another group's devices: what is answered is what a fleet would answer
that has nothing else. More than a thousand requests at random, and streams while the fleet changes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard import alerts
from dashboard.http.live import Live
from dashboard.tenants.view import Views
from tests.harness.dashboard import NOW
from tests.harness.tables import Tables
from tests.harness.tenant_attacks import Attacker, cursors_of_everybody
from tests.harness.tenants import GROUPS, PEOPLE, UNITS, World, a_world, feed_of, serving

EXAMPLES, ATTEMPTS = 60, 40
TENANTS = sorted(name for name, one in PEOPLE.items() if one.groups is not None)
calm = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_what_a_tenant_is_answered_is_what_a_fleet_without_the_others_answers() -> None:
    seen: Counter[tuple[str, int]] = Counter()

    @calm
    @given(st.integers(0, 2**32), st.sampled_from(TENANTS))
    def attack(seed: int, token: str) -> None:
        chance = random.Random(seed)
        world = a_world(chance, chance.choice([6, 30, 120]))
        mine = world.only(PEOPLE[token].groups or ())
        with serving(world) as (client, tables), serving(mine) as (alone, _):
            attacker = Attacker(chance, world, cursors_of_everybody(client))
            foreign = {
                name: dict(item) for name, item in tables.alerts.items.items()
                if name not in {one.name for one in mine.things}
                and name.removeprefix("#group/") not in mine.group_alerts
            }  # fmt: skip
            for _ in range(ATTEMPTS):
                attempt = attacker.attempt()
                answer = attempt.send(client, token)
                assert answer == attempt.send(alone, token), attempt
                assert answer[0] < 500, (attempt, answer)
                seen[attempt.method, answer[0]] += 1
            for name, item in foreign.items():
                assert tables.alerts.items[name] == item, f"{name} was changed"

    attack()
    assert sum(seen.values()) >= 1_000
    assert {("GET", 200), ("GET", 404), ("POST", 200), ("POST", 403), ("POST", 404)} <= seen.keys()


def test_a_stream_tells_what_a_fleet_without_the_others_would_tell() -> None:
    told: Counter[bytes] = Counter()

    @calm
    @given(st.integers(0, 2**32), st.sampled_from(TENANTS))
    def follow(seed: int, token: str) -> None:
        chance = random.Random(seed)
        worlds = [a_world(chance, 12)]
        for _ in range(5):
            worlds.append(_changed(chance, worlds[-1]))
        watched = [one.name for one in worlds[0].things] + ["ghost"]
        groups = PEOPLE[token].groups or frozenset()
        whole = asyncio.run(_streamed(worlds, token, watched))
        alone = asyncio.run(_streamed([one.only(groups) for one in worlds], token, watched))
        assert whole == alone
        told.update(one.partition(b"\n")[0] for one in whole)

    follow()
    assert all(told[b"event: " + kind] > EXAMPLES for kind in (b"summary", b"devices", b"alerts"))


def _changed(chance: random.Random, world: World) -> World:
    """A device is moved, or many send and some raise an alert."""
    if chance.random() < 0.5:
        return world.moved(chance.choice(world.things).name, chance.choice(GROUPS))
    fresh = a_world(chance, len(world.things))
    groups = {one.name: one.group for one in world.things}
    for one in fresh.things:
        fresh = fresh.moved(one.name, groups[one.name])
    return fresh


async def _streamed(worlds: list[World], token: str, watched: list[str]) -> list[bytes]:
    """The events of a stream that is open while one world becomes the next."""
    tables = Tables()
    worlds[0].fill(tables)
    feed = feed_of(tables)
    await feed._refresh(feed._read)
    view = Views(feed).of(PEOPLE[token])
    told: list[bytes] = []

    async def follow() -> None:
        async for one in Live(UNITS)._events(view, watched):
            told.append(one)

    following = asyncio.create_task(follow())
    try:
        for world in worlds:
            world.fill(tables)
            await feed._refresh(feed._read)
            await _settled()
            visible = {one.name for one in world.things if view.principal.sees(one.group)}
            assert set(view.snapshot.devices) == visible
            feed._tell(alerts.changed_since(tables, "alerts", NOW - 15))
            await _settled()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await feed.stop()
    return told


async def _settled() -> None:
    """Let everything run that is ready: a stream waits for the feed only."""
    for _ in range(50):
        await asyncio.sleep(0)
