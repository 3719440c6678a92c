"""The read API's OpenAPI document as requests: good and wrong values of each parameter, and whether
an answer is one that the document promises. One set, for each way in which the API is served."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import jsonschema

STREAMS: Final = "/api/v1/live"
"""Never ends, and is not served without a server."""

WRONG: Final = ("", "x", "-1", "0", "1e9", "99999999999999999999", "%00", "ü", "../..", "a" * 300)


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


Ask = Callable[[str], Answer]
"""Asks for a path with its query, as ``/api/v1/summary``."""


def check_contract(ask: Ask, device: str, *, requests: int) -> dict[int, int]:
    """Ask for every path of the document that is served, as it should be, and ``requests`` times
    with values at random; how often each status came.

    :raises AssertionError: when an answer is none that the document promises, or is a 5xx.
    """
    document = json.loads(ask("/api/v1/openapi.json").body)
    counts: dict[int, int] = {}
    for template, path in _paths(document, device, requests):
        answer = ask(path)
        counts[answer.status] = counts.get(answer.status, 0) + 1
        assert answer.status < 500, (path, answer)
        _is_promised(document, template, path, answer)
    return counts


def _paths(document: dict[str, Any], device: str, requests: int) -> Iterator[tuple[str, str]]:
    chance = random.Random(7)
    readable = [path for path, one in document["paths"].items() if "get" in one and path != STREAMS]
    for path in readable:
        yield path, _path(document, path, device, chance, wrong=0.0)
    for _ in range(requests):
        path = chance.choice(readable)
        yield path, _path(document, path, device, chance, wrong=0.3)


def _path(
    document: dict[str, Any], template: str, device: str, chance: random.Random, *, wrong: float
) -> str:
    query: dict[str, str] = {}
    for one in document["paths"][template]["get"]["parameters"]:
        if one["in"] == "path":
            name = chance.choice(WRONG[1:]) if chance.random() < wrong else device
            template = template.replace("{device}", quote(name, safe=""))
        elif one.get("required") or chance.random() < wrong:
            good = _good(one, device)
            query[one["name"]] = chance.choice(WRONG) if chance.random() < wrong else good
    return f"{template}?{urlencode(query)}" if query else template


def _good(parameter: dict[str, Any], device: str) -> str:
    schema, name = parameter["schema"], parameter["name"]
    if "enum" in schema:
        return str(schema["enum"][-1])
    if schema.get("type") == "integer":
        return str(schema.get("minimum", 0))
    return {"device": device, "metric": "temperature"}.get(name, "2026-11-23T07:00:00Z")


def _is_promised(document: dict[str, Any], template: str, path: str, answer: Answer) -> None:
    promised = document["paths"][template]["get"]["responses"]
    if answer.status in (400, 404) and str(answer.status) not in promised:
        assert set(json.loads(answer.body)) == {"error"}, (path, answer)
        return
    assert str(answer.status) in promised, (path, answer)
    schema = promised[str(answer.status)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    jsonschema.validate(json.loads(answer.body), whole)
