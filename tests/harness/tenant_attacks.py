"""What somebody tries who wants to see more than the own groups: requests at random."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from starlette.testclient import TestClient

from tests.harness.dashboard import NOW
from tests.harness.tenants import GROUPS, PEOPLE, World

SPAN: Final = {"tier": "1m", "from": str(NOW - 3_600_000), "to": str(NOW)}


class Attempt(NamedTuple):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any] | None = None

    def send(self, client: TestClient, token: str) -> tuple[int, bytes, str]:
        """What is answered: status, body, tag."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.request(
            self.method, self.path, params=self.query, json=self.body, headers=headers
        )
        return answer.status_code, answer.content, answer.headers.get("etag", "")


Make = Callable[["Attacker"], Attempt]


class Attacker:
    """Knows every name that there is, and cursors of everybody."""

    def __init__(self, chance: random.Random, world: World, cursors: list[str]) -> None:
        self.chance = chance
        self.names = [one.name for one in world.things] + ["ghost"]
        self.cursors = cursors

    def name(self) -> str:
        return self.chance.choice(self.names)

    def subject(self) -> str:
        group = self.chance.choice(GROUPS) or "red"
        return self.chance.choice([self.name(), self.name(), f"#group/{group}", "#rules"])

    def cursor(self) -> dict[str, str]:
        forged = [
            _encode([[NOW - self.chance.randrange(50), self.name()]]),
            _encode([[NOW, self.name()], [NOW, self.name()]]),
            _encode([["start", "end"][self.chance.randrange(2)], "start"]),
            _encode(f"1m#2026-11-23T07:0{self.chance.randrange(9)}:00Z"),
            "x",
        ]
        some = self.chance.choice([*self.cursors, *forged, ""])
        return {"cursor": some} if some else {}

    def page(self) -> dict[str, str]:
        return {"limit": str(self.chance.choice([1, 2, 3, 50])), **self.cursor()}

    def attempt(self) -> Attempt:
        """One of :data:`ATTEMPTS`, at random."""
        return ATTEMPTS[self.chance.choice(sorted(ATTEMPTS))](self)


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


def _plain(path: str) -> Make:
    return lambda _: Attempt("GET", path, {})


def _of_device(rest: str, **query: str) -> Make:
    def make(who: Attacker) -> Attempt:
        paged = who.page() if rest == "/windows" else {}
        return Attempt("GET", f"/api/v1/devices/{who.name()}{rest}", {**query, **paged})

    return make


def _devices(who: Attacker) -> Attempt:
    asked = {
        "search": who.chance.choice(["", who.name(), who.name()[:5], "e"]),
        "group": who.chance.choice(["", *GROUPS]),
        "type": who.chance.choice(["", "blue-type", "red-type"]),
        "status": who.chance.choice(["", "online", "new", "silent"]),
        "sort": who.chance.choice(["device", "group", "type", "status", "last_seen"]),
        "order": who.chance.choice(["asc", "desc"]),
        "offset": str(who.chance.choice([0, 1, 5])),
        "limit": str(who.chance.choice([1, 3, 200])),
    }
    return Attempt("GET", "/api/v1/devices", asked)


def _series(who: Attacker) -> Attempt:
    metric = who.chance.choice(["temperature", "blue_level", "red_level"])
    return Attempt("GET", f"/api/v1/devices/{who.name()}/series", {**SPAN, "metric": metric})


def _history(who: Attacker) -> Attempt:
    asked = who.page()
    if who.chance.random() < 0.4:
        asked["device"] = who.subject()
    return Attempt("GET", "/api/v1/alerts/history", asked)


def _act(what: str) -> Make:
    def make(who: Attacker) -> Attempt:
        rule = who.chance.choice(["hot", "hot", "blue-rule", "red-rule", "none"])
        body = {"device": who.subject(), "rule": rule, "by": "root"}
        return Attempt("POST", f"/api/v1/alerts/{what}", {}, body)

    return make


def _commands(who: Attacker) -> Attempt:
    path = f"/api/v1/devices/{who.name()}/commands"
    if who.chance.random() < 0.5:
        return Attempt("GET", path, {})
    number = who.chance.randrange(20)
    body = {"name": "blink", "args": {"times": number % 3}, "id": f"command-{number}", "by": "root"}
    return Attempt("POST", path, {}, body)


ATTEMPTS: Final[Mapping[str, Make]] = {
    "/metrics": _plain("/metrics"),
    "/api/v1/openapi.json": _plain("/api/v1/openapi.json"),
    "/api/v1/health": _plain("/api/v1/health"),
    "/api/v1/summary": _plain("/api/v1/summary"),
    "/api/v1/summary/history": _plain("/api/v1/summary/history"),
    "/api/v1/stream": _plain("/api/v1/stream"),
    "/api/v1/latest": lambda who: Attempt("GET", "/api/v1/latest", {"watch": who.name()}),
    "/api/v1/devices": _devices,
    "/api/v1/devices/{device}": _of_device(""),
    "/api/v1/devices/{device}/windows": _of_device("/windows", **SPAN),
    "/api/v1/devices/{device}/missing": _of_device("/missing", **SPAN),
    "/api/v1/devices/{device}/series": _series,
    "/api/v1/devices/{device}/commands": _commands,
    "/api/v1/alerts": lambda who: Attempt("GET", "/api/v1/alerts", who.page()),
    "/api/v1/alerts/device": lambda who: Attempt(
        "GET", "/api/v1/alerts/device", {"device": who.subject()}
    ),
    "/api/v1/alerts/history": _history,
    "/api/v1/alerts/acknowledge": _act("acknowledge"),
    "/api/v1/alerts/mute": _act("mute"),
    "/api/v1/alerts/unmute": _act("unmute"),
}
"""Every route by its path: what is tried on it."""


def cursors_of_everybody(client: TestClient) -> list[str]:
    """Cursors that the API gave to others."""
    found = []
    for token in sorted(PEOPLE):
        for path in ("/api/v1/alerts", "/api/v1/alerts/history"):
            status, body, _ = Attempt("GET", path, {"limit": "2"}).send(client, token)
            assert status == 200
            found.append(orjson.loads(body)["cursor"])
    return [one for one in found if one]
