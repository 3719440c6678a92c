"""Two worlds: a fleet of several tenants, and the same with all but one tenant's part taken away.

What a tenant is answered must be the same in both, byte for byte: then nothing of the others is in
it, neither a name nor a count nor the absence of one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.testclient import TestClient

from dashboard.feed import Feed
from dashboard.http.access import Access, SharedToken
from dashboard.http.api import create_app
from dashboard.principal import Principal, Role
from ingest.tables.alarms import Entry
from ingest.tiers import LOCAL_TIERS
from tests.harness.dashboard import NAMES, NOW
from tests.harness.tables import Tables

GROUPS: Final = ("red", "blue", "green", "")
UNITS: Final = {f"{group}_level": "m" for group in GROUPS if group} | {"temperature": "°C"}
RAISED, CLEARED = Entry(NOW - 120_000, "raised"), Entry(NOW - 60_000, "cleared")


@dataclass(frozen=True)
class Thing:
    """A device, with what the tables hold of it; ``alert`` is ``open``, ``closed`` or empty."""

    name: str
    group: str
    seen: int | None
    value: float
    windows: int
    alert: str
    changed: int
    rejected: int

    @property
    def kind(self) -> str:
        return f"{self.group or 'no'}-type"

    @property
    def metrics(self) -> dict[str, float]:
        return {"temperature": self.value, f"{self.group or 'no'}_level": self.value}


@dataclass(frozen=True)
class World:
    """Devices, and for which groups there is an alert of the group itself. ``traffic`` is what
    workers count over all devices."""

    things: tuple[Thing, ...]
    group_alerts: tuple[str, ...] = ()
    traffic: float = field(default=5.0)

    def only(self, groups: Iterable[str]) -> World:
        """The same without every other group; its workers count less, too."""
        mine = tuple(one for one in self.things if one.group in set(groups))
        return World(mine, tuple(one for one in self.group_alerts if one in set(groups)), 1.0)

    def moved(self, name: str, group: str) -> World:
        """With a device in another group."""
        return replace(self, things=tuple(
            replace(one, group=group) if one.name == name else one for one in self.things
        ))  # fmt: skip

    def fill(self, tables: Tables) -> None:
        """Put it into tables, in place of what is there."""
        tables.devices.clear()
        tables.windows.clear()
        tables.alerts.items.clear()
        for one in self.things:
            self._add(tables, one)
        for group in self.group_alerts:
            tables.alerts.add(f"#group/{group}", RAISED, changed=NOW - 20, rule=f"{group}-rule")
        rejected = [one for one in self.things if one.rejected]
        tables.add_worker(
            "w-1", NOW - 1000, messages_per_s=self.traffic, records=int(self.traffic * 10),
            dispositions={"ok": int(self.traffic), "late": len(rejected)},
            rejects=[{"device": one.name, "disposition": "malformed", "at": one.rejected,
                      "preview": one.group} for one in rejected],
            rejected_devices={one.name: {"dispositions": {"late": one.rejected}, "last_at": 7}
                              for one in rejected},
        )  # fmt: skip

    def _add(self, tables: Tables, one: Thing) -> None:
        tables.add_device(
            one.name, seen=one.seen, group=one.group, kind=one.kind, metrics=one.metrics
        )
        for minute in range(one.windows):
            ids = f"{minute * 10}-{minute * 10 + 8}"
            tables.add_window(
                one.name, f"1m#2026-11-23T07:{minute:02d}:00Z", ids, values=[one.value, 1.0]
            )
        if one.alert:
            entries = (RAISED,) if one.alert == "open" else (RAISED, CLEARED)
            tables.alerts.add(one.name, *entries, changed=one.changed, rule="hot")


def a_world(chance: random.Random, size: int) -> World:
    """Devices at random; many alerts change at the same time."""
    things = [
        Thing(
            name=f"dev-{number:03d}",
            group=chance.choice(GROUPS),
            seen=chance.choice([None, NOW, NOW - 61_000, NOW - 16 * 60_000]),
            value=float(chance.randrange(100)),
            windows=chance.choice([0, 0, 3, 9]),
            alert=chance.choice(["", "open", "open", "closed"]),
            changed=NOW - chance.randrange(4) * 10,
            rejected=chance.choice([0, 0, 0, 3]),
        )
        for number in range(size)
    ]
    return World(tuple(things), tuple(one for one in GROUPS if one and chance.random() < 0.5))


def tenant(group: str, role: Role = "operator") -> Principal:
    """Whoever sees one group."""
    return Principal(f"{group}@example", frozenset({group}), role)


PEOPLE: Final = {
    **{f"{group}-{role}": tenant(group, role)
       for group in ("red", "blue") for role in ("viewer", "operator", "admin")},
    "everything": Principal("root"),
    "two": Principal("two@example", frozenset({"red", "green"}), "operator"),
    "nothing": Principal("nobody@example", frozenset(), "admin"),
}  # fmt: skip
"""Principals by their token."""


def feed_of(tables: Tables) -> Feed:
    """A feed that reads once and then when it is told to."""
    return Feed(
        tables, NAMES, now_ms=lambda: NOW, fastest_s=3600, writer=tables.writer,
        shadows=tables.commands,
    )  # fmt: skip


@contextmanager
def serving(world: World) -> Iterator[tuple[TestClient, Tables]]:
    """The API over a world, for :data:`PEOPLE`."""
    tables = Tables()
    world.fill(tables)
    access = Access(tokens=tuple(SharedToken(*one) for one in PEOPLE.items()))
    app = create_app(feed_of(tables), LOCAL_TIERS, access, UNITS)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client, tables
