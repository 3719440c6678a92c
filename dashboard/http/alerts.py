"""The handlers of alerts: what is open, what was, and what a person does to them."""

from __future__ import annotations

import re
from typing import Final, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec
from botocore.exceptions import ClientError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dashboard import answers
from dashboard.alerts import MAX_PAGE, Wanted
from dashboard.errors import BadRequestError
from dashboard.http import requests
from dashboard.http.responses import json_response, tagged_response
from dashboard.tenants.view import View
from ingest.tables.alarm_acts import AlarmBusyError
from ingest.tables.alarms import Kind

T = TypeVar("T")

UNNAMED: Final = "dashboard"
"""Who did it, where nobody names the user and the request does not say."""

MAX_BODY: Final = 4096
MAX_MUTE_MS: Final = 366 * 86_400_000
NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class AlertsApi:
    """The handlers."""

    async def open(self, request: Request, view: View) -> Response:
        """A page of open alerts."""
        limit = requests.integer(request, "limit", 50, 1, MAX_PAGE)
        found, cursor = await view.open_alerts(limit, request.query_params.get("cursor"))
        page: answers.Alerts = {
            "alerts": found, "cursor": cursor, "user": view.principal.name,
            "may_change": view.may_change_alerts,
        }  # fmt: skip
        return tagged_response(request, page)

    async def of_device(self, request: Request, view: View) -> Response:
        """The alerts of a device, open or not; of one rule with ``rule``."""
        device, rule = _subject(request.query_params.get("device", "")), _rule(request)
        found = await view.alerts_of(device)
        if rule:
            found = [one for one in found if one["rule"] == rule]
        return tagged_response(request, found)

    async def history(self, request: Request, view: View) -> Response:
        """A page of transitions."""
        asked = request.query_params
        severity = asked.get("severity", "")
        if severity and severity not in get_args(answers.Severity):
            raise BadRequestError(f"severity: one of {', '.join(get_args(answers.Severity))}")
        wanted = Wanted(
            device=_subject(asked["device"]) if asked.get("device") else "",
            rule=_rule(request),
            severity=severity,
            start_ms=requests.time(request, "from", 0),
            end_ms=requests.time(request, "to", 2**53),
        )
        limit = requests.integer(request, "limit", 50, 1, MAX_PAGE)
        found, cursor = await view.alert_history(wanted, limit, asked.get("cursor"))
        history: answers.AlertHistory = {"transitions": found, "cursor": cursor}
        return tagged_response(request, history)

    async def acknowledge(self, request: Request, view: View) -> Response:
        """Say that somebody takes care of an open alert."""
        return await self._act(request, view, "acknowledged")

    async def mute(self, request: Request, view: View) -> Response:
        """Let nobody be notified, until a time."""
        return await self._act(request, view, "muted")

    async def unmute(self, request: Request, view: View) -> Response:
        """End that."""
        return await self._act(request, view, "unmuted")

    async def _act(self, request: Request, view: View, kind: Kind) -> Response:
        check_same_origin(request)
        view.require_changes()
        act = await read_body(request, answers.AlertAct)
        by = act.get("by", "").strip() or UNNAMED
        until = _until(act, view.now_ms()) if kind == "muted" else 0
        if not NAME.fullmatch(by):
            raise BadRequestError("by: a name of up to 128 characters")
        device, rule = _subject(act["device"]), act["rule"]
        try:
            done = await view.change_alert(device, rule, kind, by, until)
        except LookupError as error:
            raise HTTPException(409, str(error)) from None
        except AlarmBusyError as error:
            raise HTTPException(503, str(error)) from None
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                raise HTTPException(403, "the dashboard's role may not change alerts") from None
            raise
        return json_response(done)


def check_same_origin(request: Request) -> None:
    """Refuse what a page of another site lets a browser send. A browser says where a request comes
    from; a program says nothing, and has to name the JSON type, which such a page cannot.

    :raises HTTPException: 403, or 415 for another type of body.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    foreign = site not in (None, "same-origin")
    if site is None and origin is not None:
        foreign = urlsplit(origin).netloc != request.headers.get("host")
    if foreign:
        raise HTTPException(403, "a page of another site may not change anything")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON, as Content-Type: application/json")


async def read_body(request: Request, wanted: type[T]) -> T:
    """A JSON body of at most :data:`MAX_BODY` bytes.

    :raises HTTPException: 413 when it is larger.
    :raises BadRequestError: when it is not what is wanted.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"a body of up to {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(body), type=wanted)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"body: {error}") from None


def _until(act: answers.AlertAct, now_ms: int) -> int:
    until = act.get("until", now_ms + 3_600_000)
    if not now_ms < until <= now_ms + MAX_MUTE_MS:
        raise BadRequestError("until: a time (ms) from now to a year ahead")
    return until


def _subject(name: str) -> str:
    if not requests.SUBJECT.fullmatch(name):
        raise BadRequestError("device: a device's id")
    return name


def _rule(request: Request) -> str:
    rule = request.query_params.get("rule", "")
    if rule and not requests.RULE.fullmatch(rule):
        raise BadRequestError("rule: a rule's name, of lower-case letters, digits and hyphens")
    return rule
