"""The live stream: server-sent events with what changed since the one before. And the newest state
as one document with an ETag, for who polls because no stream is served there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dashboard import alerts, answers, fleet
from dashboard.errors import BadRequestError
from dashboard.fleet import Snapshot
from dashboard.http.requests import MAX_WATCHED
from dashboard.http.responses import event, tagged_response
from dashboard.tenants.view import View
from ingest.topic import is_device_id

HEARTBEAT_S: Final = 10.0
MAX_STREAMS: Final = 200


class Live:
    """The open streams."""

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units
        self.streams = 0

    async def open(self, request: Request, view: View) -> Response:
        """A stream of ``summary``, ``devices`` (those in ``watch`` that changed), ``alerts``
        (those of devices in which one changed) and ``problem``. It ends when what says who asks
        expires.

        :raises BadRequestError: when ``watch`` holds anything but some device ids.
        :raises HTTPException: 503 when too many streams are open.
        """
        watched = _watched(request)
        if self.streams >= MAX_STREAMS:
            raise HTTPException(503, "too many live streams are open: try again later")
        return StreamingResponse(
            self._events(view, watched),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def latest(self, request: Request, view: View) -> Response:
        """The summary, and the devices in ``watch`` that there are.

        :raises BadRequestError: when ``watch`` holds anything but some device ids.
        """
        watched = _watched(request)
        view.watch(watched)
        snapshot = view.snapshot
        latest: answers.Latest = {
            **fleet.summary(snapshot, self._units),
            "watched": view.with_trends(fleet.changed(Snapshot(), snapshot, watched)),
            "error": view.error,
        }
        return tagged_response(request, latest, read_at=("at", "version"))

    async def _events(self, view: View, watched: list[str]) -> AsyncIterator[bytes]:
        self.streams += 1
        known = Snapshot()
        sent: dict[str, Any] = {}
        error = ""
        try:
            with view.looking():
                yield b"retry: 1000\n\n"
                while (left_s := _left_s(view)) > 0:
                    view.watch(watched)
                    newest = await view.after(known, min(HEARTBEAT_S, left_s))
                    if error != view.error:
                        error = view.error
                        yield event("problem", {"error": error})
                    if newest is None:
                        yield b": heartbeat\n\n"
                        continue
                    summary = fleet.summary(newest, self._units)
                    figures = {k: v for k, v in summary.items() if k not in ("at", "version")}
                    if figures != sent:
                        sent = figures
                        yield event("summary", summary)
                    if rows := fleet.changed(known, newest, watched):
                        yield event("devices", view.with_trends(rows))
                    if known.version and (told := alerts.news(known.alerts, newest.alerts)):
                        yield event("alerts", told)
                    known = newest
        finally:
            self.streams -= 1


def _watched(request: Request) -> list[str]:
    watched = [one for one in request.query_params.get("watch", "").split(",") if one]
    if len(watched) > MAX_WATCHED or not all(map(is_device_id, watched)):
        raise BadRequestError(f"watch: up to {MAX_WATCHED} device ids, with commas between")
    return watched


def _left_s(view: View) -> float:
    """Until when it is known who asks."""
    until_s = view.principal.until_s
    return HEARTBEAT_S if until_s is None else until_s - view.now_ms() / 1000
