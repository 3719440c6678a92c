"""The live stream: server-sent events with what changed since the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dashboard import alerts, fleet
from dashboard.errors import BadRequestError
from dashboard.feed import Feed
from dashboard.fleet import Snapshot
from dashboard.http.responses import event
from ingest.topic import is_device_id

HEARTBEAT_S: Final = 10.0
MAX_WATCHED: Final = 200
MAX_STREAMS: Final = 200


class Live:
    """The open streams, over one feed."""

    def __init__(self, feed: Feed, units: Mapping[str, str]) -> None:
        self._feed = feed
        self._units = units
        self.streams = 0

    async def open(self, request: Request) -> Response:
        """A stream of ``summary``, ``devices`` (those in ``watch`` that changed), ``alerts``
        (those of devices in which one changed) and ``problem``.

        :raises BadRequestError: when ``watch`` holds anything but some device ids.
        :raises HTTPException: 503 when too many streams are open.
        """
        watched = [one for one in request.query_params.get("watch", "").split(",") if one]
        if len(watched) > MAX_WATCHED or not all(map(is_device_id, watched)):
            raise BadRequestError(f"watch: up to {MAX_WATCHED} device ids, with commas between")
        if self.streams >= MAX_STREAMS:
            raise HTTPException(503, "too many live streams are open: try again later")
        return StreamingResponse(
            self._events(watched),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, watched: list[str]) -> AsyncIterator[bytes]:
        self.streams += 1
        self._feed.viewers += 1
        known = Snapshot()
        sent: dict[str, Any] = {}
        error = ""
        try:
            yield b"retry: 1000\n\n"
            while True:
                self._feed.watch(watched)
                newest = await self._feed.after(known.version, HEARTBEAT_S)
                if error != self._feed.error:
                    error = self._feed.error
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
                    yield event("devices", self._feed.sparks.listed(rows))
                if known.version and (told := alerts.news(known.alerts, newest.alerts)):
                    yield event("alerts", told)
                known = newest
        finally:
            self.streams -= 1
            self._feed.viewers -= 1
