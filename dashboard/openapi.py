"""The API's OpenAPI document, by hand: what is promised, and held by a test against the server."""

from __future__ import annotations

from typing import Any

from dashboard.fleet import MAX_LIMIT, SORTS
from dashboard.queries import MAX_PAGE
from ingest.topic import DEVICE_ID

_NUMBER = {"type": "number"}
_INTEGER = {"type": "integer"}
_TIME = {
    "type": "string",
    "description": "ISO 8601, UTC without an offset; or ms since 1970.",
    "examples": ["2026-11-24T07:45:00Z", "1795478400000"],
}
_TEXT = {"type": "string"}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties, **more}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _map(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


_DEVICE = _object(
    {
        "device": _TEXT,
        "group": _TEXT,
        "type": _TEXT,
        "status": {"type": "string", "enum": ["online", "late", "silent", "new"]},
        "last_seen": _maybe({**_INTEGER, "description": "ms since 1970, the rule's clock"}),
        "last_ts": _maybe({**_INTEGER, "description": "ms since 1970, the device's clock"}),
        "boot": _maybe(_TEXT),
        "seq": _maybe(_INTEGER),
        "metrics": _map(_object({"v": _NUMBER, "ts": _INTEGER})),
    }
)
_METRIC = _object(
    {
        name: _NUMBER if name != "n" else _INTEGER
        for name in ("n", "mean", "min", "max", "first", "last", "stddev")
    }
)
_WINDOW = _object(
    {
        "tier": _TEXT,
        "start": {"type": "string", "format": "date-time"},
        "n": _INTEGER,
        "first_ts": _INTEGER,
        "last_ts": _INTEGER,
        "ids": _map({**_TEXT, "description": "ranges of sequence numbers, as 1-60,62"}),
        "metrics": _map(_METRIC),
    }
)
_SUMMARY = _object(
    {
        "at": _INTEGER,
        "version": _INTEGER,
        "devices": _object(dict.fromkeys(("total", "online", "late", "silent", "new"), _INTEGER)),
        "messages_per_s": _NUMBER,
        "readings_per_s": _NUMBER,
        "latency_ms": _object({name: _maybe(_NUMBER) for name in ("p50", "p95", "p99")}),
        "workers": _INTEGER,
        "lag_ms": _map({**_INTEGER, "description": "by shard"}),
        "rejected": _map({**_INTEGER, "description": "records or readings, by disposition"}),
        "units": _map(_TEXT),
        "groups": _array(_TEXT),
        "types": _array(_TEXT),
    }
)
_STREAM = _object(
    {
        "at": _INTEGER,
        "shards": _array({"type": "object"}),
        "dispositions": _map(_INTEGER),
        "rejects": _array({"type": "object"}),
        "workers": _array({"type": "object"}),
    }
)
_BOOT = _object(
    {
        "first": _INTEGER,
        "last": _INTEGER,
        "present": _INTEGER,
        "missing": _INTEGER,
        "gaps": _array(_array(_INTEGER)),
    }
)


def document(tiers: list[str]) -> dict[str, Any]:
    """The document, for a deployment with these tiers."""
    span = [
        _query("tier", {"type": "string", "enum": tiers}, "Size of the windows."),
        _query("from", _TIME, "Start of the span; an hour before its end."),
        _query("to", _TIME, "End of the span; now."),
    ]
    device = [
        {
            "name": "device",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{DEVICE_ID.pattern}$"},
        }
    ]
    page = [
        _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_PAGE}, "The most to return."),
        _query("cursor", _TEXT, "From the answer before."),
    ]
    windows = _object(
        {"device": _TEXT, "tier": _TEXT, "windows": _array(_WINDOW), "cursor": _maybe(_TEXT)}
    )
    missing = _object(
        {"device": _TEXT, "tier": _TEXT, "from": _INTEGER, "to": _INTEGER, "boots": _map(_BOOT)}
    )
    listing = _object(
        {"total": _INTEGER, "offset": _INTEGER, "devices": _array(_DEVICE), "version": _INTEGER}
    )
    point = _object({"time": _TEXT, "device": _TEXT, **_METRIC["properties"]})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock read API",
            "version": "1",
            "description": "The hot tables, for dashboards. Times are ms since 1970 unless named.",
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "paths": {
            "/api/v1/summary": _get("The fleet in a few figures", [], _SUMMARY),
            "/api/v1/stream": _get("Shards, lag, commits and rejects", [], _STREAM),
            "/api/v1/devices": _get("A page of devices", _listing(), listing),
            "/api/v1/devices/{device}": _get("One device", device, _DEVICE, missing=True),
            "/api/v1/devices/{device}/windows": _get(
                "A device's windows over a span, oldest first", [*device, *span, *page], windows,
                missing=True,
            ),
            "/api/v1/devices/{device}/missing": _get(
                "Sequence numbers that are missing within a span", [*device, *span], missing,
                missing=True,
            ),
            "/api/v1/devices/{device}/series": _get(
                "One metric as a flat array, for Grafana",
                [*device, *span, {**_query("metric", _TEXT, "Its name."), "required": True}],
                _array(point), missing=True,
            ),
            "/api/v1/live": {
                "get": {
                    "summary": "Server-sent events: summary, devices, problem",
                    "parameters": [_query("watch", _TEXT, "Device ids, with commas between.")],
                    "responses": {
                        "200": {"description": "events", "content": {"text/event-stream": {}}}
                    },
                }
            },
        },
    }  # fmt: skip


def _listing() -> list[dict[str, Any]]:
    return [
        _query("search", _TEXT, "Part of the name."),
        _query("group", _TEXT, "Only this group."),
        _query("type", _TEXT, "Only this type."),
        _query("status", {"type": "string", "enum": ["online", "late", "silent", "new"]}, "Only."),
        _query("sort", {"type": "string", "enum": list(SORTS)}, "By what."),
        _query("order", {"type": "string", "enum": ["asc", "desc"]}, "Which way."),
        _query("offset", {**_INTEGER, "minimum": 0}, "How many to leave out."),
        _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_LIMIT}, "How many to return."),
    ]


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _get(
    summary: str, parameters: list[dict[str, Any]], schema: dict[str, Any], *, missing: bool = False
) -> dict[str, Any]:
    error = {"application/json": {"schema": _object({"error": _TEXT})}}
    responses: dict[str, Any] = {
        "200": {"description": "ok", "content": {"application/json": {"schema": schema}}},
        "400": {"description": "a parameter is wrong", "content": error},
        "401": {"description": "no access", "content": error},
    }
    if missing:
        responses["404"] = {"description": "there is no such device", "content": error}
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}
