"""The API's OpenAPI document, made from the types that it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from dashboard import answers
from dashboard.alerts import MAX_PAGE as MAX_DEVICES
from dashboard.answers import Freshness
from dashboard.fleet import MAX_LIMIT, SORTS
from dashboard.http.requests import MAX_WATCHED, RULE, SUBJECT
from dashboard.queries import MAX_PAGE
from ingest.message import METRIC_NAME
from ingest.topic import DEVICE_ID

_INTEGER: Final = {"type": "integer"}
_TEXT: Final = {"type": "string"}
_TIME: Final = {
    "anyOf": [{"type": "string", "format": "date-time"}, _INTEGER],
    "description": "ISO 8601, UTC without an offset; or ms since 1970.",
    "examples": ["2026-11-24T07:45:00Z", "1795478400000"],
}

_UNCHANGED: Final = {"description": "it is as in the answer with the ETag of If-None-Match"}

_ANSWERS: Final = (
    answers.Summary, answers.Stream, answers.Listing, answers.DeviceDetail, answers.Windows,
    answers.Missing, list[answers.Point], answers.Failure, answers.Health,
    answers.Latest, answers.FleetHistory,
    answers.Alerts, list[answers.Alert], answers.AlertHistory, answers.AlertAct,
    answers.Commands, answers.Command, answers.CommandToSend,
)  # fmt: skip


def document(tiers: list[str]) -> dict[str, Any]:
    """The document, for a deployment with these tiers."""
    schemas, components = msgspec.json.schema_components(
        _ANSWERS, ref_template="#/components/schemas/{name}"
    )
    summary, stream, listing, device, windows, missing, series, failure, health = schemas[:9]
    latest, history = schemas[9:11]

    def get(
        text: str,
        parameters: list[dict[str, Any]],
        answer: dict[str, Any],
        *,
        of_a_device: bool = False,
        tagged: bool = False,
    ) -> dict[str, Any]:
        responses = {
            "200": _response("ok", answer),
            "400": _response("a parameter is wrong", failure),
            "401": _response("no access", failure),
        }
        if tagged:
            responses["304"] = _UNCHANGED
        if of_a_device:
            responses["404"] = _response("there is no such device", failure)
        return {"get": {"summary": text, "parameters": parameters, "responses": responses}}

    span = [
        _query("tier", {"type": "string", "enum": tiers}, "Size of the windows."),
        _query("from", _TIME, "Start of the span; an hour before its end."),
        _query("to", _TIME, "End of the span; now."),
    ]
    name = [
        {
            "name": "device",
            "in": "path",
            "required": True,
            "schema": _matching(DEVICE_ID.pattern),
        }
    ]
    page = [
        _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_PAGE}, "The most to return."),
        _query("cursor", _TEXT, "From the answer before."),
    ]
    watched = _matching(f"({DEVICE_ID.pattern}(,{DEVICE_ID.pattern}){{0,{MAX_WATCHED - 1}}})?")
    watch = [_query("watch", watched, "Device ids, with commas between.")]
    metric = [{**_query("metric", _matching(METRIC_NAME.pattern), "Its name."), "required": True}]
    of_one = "/api/v1/devices/{device}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock read API",
            "version": "1",
            "description": "Reads the hot tables, for dashboards. Times are UTC: integers are ms "
            "since the Unix epoch, texts are ISO 8601.",
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
        },
        "paths": {
            "/api/v1/health": {
                "get": {
                    "summary": "Whether DynamoDB answers, and why not",
                    "parameters": [],
                    "responses": {
                        "200": _response("it does", health),
                        "401": _response("no access", failure),
                        "503": _response("it does not", health),
                    },
                }
            },
            "/api/v1/summary": get("The fleet in a few figures", [], summary, tagged=True),
            "/api/v1/summary/history": get(
                "The fleet's figures over the last hour",
                [_query("from", _TIME, "Only from here on.")], history,
            ),
            "/api/v1/stream": get("Shards, lag, commits and rejects", [], stream, tagged=True),
            "/api/v1/devices": get("A page of devices", _listing(), listing, tagged=True),
            of_one: get("One device", name, device, of_a_device=True),
            f"{of_one}/windows": get(
                "A device's windows over a span, oldest first", [*name, *span, *page], windows,
                of_a_device=True,
            ),
            f"{of_one}/missing": get(
                "Sequence numbers that are missing within a span", [*name, *span], missing,
                of_a_device=True,
            ),
            f"{of_one}/series": get(
                "One metric as a flat array, for Grafana", [*name, *span, *metric], series,
                of_a_device=True,
            ),
            "/api/v1/latest": get(
                "What a live page shows, for who polls it", watch, latest, tagged=True
            ),
            "/api/v1/live": {
                "get": {
                    "summary": "Server-sent events: summary, devices, alerts, problem",
                    "parameters": watch,
                    "responses": {
                        "200": {"description": "events", "content": {"text/event-stream": {}}}
                    },
                }
            },
            f"{of_one}/commands": {
                **get("The newest commands to a device", name, schemas[15], of_a_device=True,
                      tagged=True),
                **_sending(name, schemas[16:], failure),
            },
            **_alert_paths(schemas[11:15], failure),
        },
    }  # fmt: skip


def _alert_paths(schemas: Sequence[dict[str, Any]], failure: dict[str, Any]) -> dict[str, Any]:
    alerts, of_device, history, act = schemas
    refused = {
        "400": _response("a parameter is wrong", failure),
        "401": _response("no access", failure),
        "404": _response("the deployment has no alerts, or there is no such alert", failure),
    }

    def get(text: str, parameters: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
        responses = {"200": _response("ok", answer), "304": _UNCHANGED, **refused}
        return {"get": {"summary": text, "parameters": parameters, "responses": responses}}

    def post(text: str) -> dict[str, Any]:
        responses = {
            "200": _response("done: the device's alerts as they are now", of_device),
            **refused,
            "403": _response("not allowed, or sent by a page of another site", failure),
            "409": _response("there is nothing to acknowledge", failure),
        }
        body = {"required": True, "content": {"application/json": {"schema": act}}}
        return {
            "post": {"summary": text, "parameters": [], "requestBody": body, "responses": responses}
        }

    device = _query("device", _matching(SUBJECT.pattern), "A device's id, or #group/ and a group.")
    rule = _query("rule", _matching(f"({RULE.pattern})?"), "Only of this rule.")
    page = [
        _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_DEVICES}, "How many devices."),
        _query("cursor", _TEXT, "From the answer before."),
    ]
    severity = {"type": "string", "enum": list(get_args(answers.Severity))}
    wanted = [
        device, rule, _query("severity", severity, "Only these."),
        _query("from", _TIME, "Of the window."), _query("to", _TIME, "Of the window."),
    ]  # fmt: skip
    return {
        "/api/v1/alerts": get("Open alerts, those that changed last first", page, alerts),
        "/api/v1/alerts/device": get(
            "The alerts of a device", [{**device, "required": True}, rule], of_device
        ),
        "/api/v1/alerts/history": get("Transitions of alerts", [*wanted, *page], history),
        "/api/v1/alerts/acknowledge": post("Say that somebody takes care of an open alert"),
        "/api/v1/alerts/mute": post("Notify nobody of an alert, until a time"),
        "/api/v1/alerts/unmute": post("End a mute"),
    }


def _matching(pattern: str) -> dict[str, Any]:
    """Texts that match a pattern as a whole."""
    return {"type": "string", "pattern": f"^{pattern}$"}


def _sending(
    name: list[dict[str, Any]], schemas: Sequence[dict[str, Any]], failure: dict[str, Any]
) -> dict[str, Any]:
    command, wanted = schemas
    responses = {
        "200": _response("sent, or sent before under this id: as it stands", command),
        "400": _response("something in the body is wrong", failure),
        "401": _response("no access", failure),
        "403": _response("not allowed, or sent by a page of another site", failure),
        "404": _response("there is no such device", failure),
        "409": _response("too many wait, or the id is another command's", failure),
    }
    body = {"required": True, "content": {"application/json": {"schema": wanted}}}
    return {
        "post": {
            "summary": "Send a command to a device, which does it once",
            "parameters": name,
            "requestBody": body,
            "responses": responses,
        }
    }


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _listing() -> list[dict[str, Any]]:
    return [
        _query("search", _TEXT, "Part of the name."),
        _query("group", _TEXT, "Only this group."),
        _query("type", _TEXT, "Only this type."),
        _query("status", {"type": "string", "enum": list(get_args(Freshness))}, "Only these."),
        _query("sort", {"type": "string", "enum": list(SORTS)}, "By what."),
        _query("order", {"type": "string", "enum": ["asc", "desc"]}, "Which way."),
        _query("offset", {**_INTEGER, "minimum": 0}, "How many to leave out."),
        _query("limit", {**_INTEGER, "minimum": 1, "maximum": MAX_LIMIT}, "How many to return."),
    ]


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
