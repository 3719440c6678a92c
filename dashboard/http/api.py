"""The HTTP API and the page: from requests to queries, and from values to responses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dashboard import answers, completeness, fleet, queries
from dashboard.errors import BadRequestError
from dashboard.feed import Feed
from dashboard.http import requests
from dashboard.http.access import Access, Guard
from dashboard.http.alerts import AlertsApi
from dashboard.http.live import Live
from dashboard.http.openapi import document
from dashboard.http.requests import MAX_SPAN_WINDOWS, Span
from dashboard.http.responses import json_response, tagged_response
from ingest.tiers import Tier

STATIC: Final = Path(__file__).parents[1] / "static"


class Api:
    """The handlers, over one feed."""

    def __init__(self, feed: Feed, tiers: Sequence[Tier], units: Mapping[str, str]) -> None:
        self._feed = feed
        self._units = units
        self._tiers = {tier.name: tier for tier in tiers}
        self.live = Live(feed, units)
        feed.finest = min(tiers, key=lambda tier: tier.size_ms)

    # -- the fleet, from the newest snapshot -----------------------------------------------

    async def summary(self, request: Request) -> Response:
        """The fleet in a few figures."""
        return tagged_response(request, fleet.summary(self._feed.snapshot, self._units))

    async def devices(self, request: Request) -> Response:
        """A page of devices."""
        snapshot, wanted = self._feed.snapshot, requests.wanted(request)
        found, total = fleet.page(snapshot, wanted)
        self._feed.watch(row["device"] for row in found)
        listing: answers.Listing = {
            "total": total,
            "offset": wanted.offset,
            "version": snapshot.version,
            "devices": self._feed.sparks.listed(found),
        }
        return tagged_response(request, listing)

    async def stream(self, request: Request) -> Response:
        """Shards, workers and rejects."""
        return tagged_response(request, fleet.stream(self._feed.snapshot))

    # -- one device, read when it is asked for ---------------------------------------------

    async def device(self, request: Request) -> Response:
        """One device."""
        row = await self._device(request)
        self._feed.watch([row["device"]])
        (row,) = await self._feed.call(self._feed.live, [row])
        detail: answers.DeviceDetail = {
            **fleet.with_status(row, self._feed.now_ms()),
            "tiers": list(self._tiers),
            "rejected": fleet.rejected(self._feed.snapshot, row["device"]),
        }
        return json_response(detail)

    async def windows(self, request: Request) -> Response:
        """A page of a device's windows."""
        span = self._span(request)
        limit = requests.integer(request, "limit", 500, 1, queries.MAX_PAGE)
        name = (await self._device(request))["device"]
        found, cursor = await self._page(name, span, limit, request.query_params.get("cursor"))
        page: answers.Windows = {
            "device": name, "tier": span.tier.name, "windows": found, "cursor": cursor,
        }  # fmt: skip
        return json_response(page)

    async def missing(self, request: Request) -> Response:
        """Which sequence numbers of a device are missing within a span."""
        span = self._span(request)
        name = (await self._device(request))["device"]
        found = await self._all(name, span)
        missing: answers.Missing = {
            "device": name, "tier": span.tier.name, "from": span.start_ms, "to": span.end_ms,
            "boots": completeness.missing(window["ids"] for window in found),
        }  # fmt: skip
        return json_response(missing)

    async def series(self, request: Request) -> Response:
        """One metric as a flat array of points, as Grafana's JSON data sources read it."""
        span, metric = self._span(request), requests.metric(request)
        name = (await self._device(request))["device"]
        points: list[answers.Point] = [
            {"time": window["start"], "device": name, **window["metrics"][metric]}
            for window in await self._all(name, span)
            if metric in window["metrics"]
        ]
        return json_response(points)

    def _span(self, request: Request) -> Span:
        return requests.span(request, self._tiers, self._feed.now_ms())

    async def _device(self, request: Request) -> answers.Device:
        """:raises HTTPException: 404 when the roster does not have it."""
        name = requests.device(request)
        row: answers.Device | None = await self._feed.call(
            queries.device, self._feed.client, self._feed.tables.devices, name
        )
        if row is None:
            raise HTTPException(404, f"there is no device {name}")
        return row

    async def _page(
        self, name: str, span: Span, limit: int, cursor: str | None
    ) -> tuple[list[answers.Window], str | None]:
        page: tuple[list[answers.Window], str | None] = await self._feed.call(
            queries.windows, self._feed.client, self._feed.tables.windows, name, span.tier,
            start_ms=span.start_ms, end_ms=span.end_ms, limit=limit, cursor=cursor,
            now_s=self._feed.now_ms() / 1000,
        )  # fmt: skip
        return page

    async def _all(self, name: str, span: Span) -> list[answers.Window]:
        """Every window of a span, whose size :func:`~dashboard.http.requests.span` bounds."""
        found, cursor = await self._page(name, span, queries.MAX_PAGE, None)
        while cursor is not None and len(found) < MAX_SPAN_WINDOWS:
            more, cursor = await self._page(name, span, queries.MAX_PAGE, cursor)
            found += more
        return found

    # -- about itself ----------------------------------------------------------------------

    async def up(self, _: Request) -> Response:
        """200 while the newest read of the hot tables succeeded, else 503; and nothing else,
        because everybody may ask."""
        if self._feed.error:
            return PlainTextResponse("down\n", 503)
        return PlainTextResponse("up\n")

    async def health(self, _: Request) -> Response:
        """The same, with why."""
        error = self._feed.error
        health: answers.Health = {"status": "degraded" if error else "ok", "error": error}
        return json_response(health, 503 if error else 200)

    async def metrics(self, _: Request) -> Response:
        """This process's own figures, for Prometheus."""
        lines = [
            ("penstock_dashboard_devices", "gauge", len(self._feed.snapshot.devices)),
            ("penstock_dashboard_streams", "gauge", self.live.streams),
            ("penstock_dashboard_reads_total", "counter", self._feed.reads),
            ("penstock_dashboard_read_seconds", "gauge", round(self._feed.read_s, 4)),
            ("penstock_dashboard_healthy", "gauge", int(not self._feed.error)),
        ]
        text = "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, kind, value in lines)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        """The document that describes this API."""
        return json_response(document(list(self._tiers)))


def create_app(
    feed: Feed,
    tiers: Sequence[Tier],
    access: Access | None = None,
    units: Mapping[str, str] | None = None,
) -> ASGIApp:
    """The whole application behind its access check.

    :param feed: what it reads; started and stopped with the application.
    :param access: who may read; without one, callers on this machine's loopback.
    :param units: a metric's name to its unit, for display.

    >>> app = create_app(feed, settings.tiers, units={"power": "W"})  # doctest: +SKIP
    """
    api = Api(feed, tiers, units or {})
    alarms = AlertsApi(feed)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await feed.start()
        try:
            yield
        finally:
            await feed.stop()

    app = Starlette(
        routes=[
            Route("/healthz", api.up),
            Route("/metrics", api.metrics),
            Route("/api/v1/openapi.json", api.openapi),
            Route("/api/v1/health", api.health),
            Route("/api/v1/summary", api.summary),
            Route("/api/v1/stream", api.stream),
            Route("/api/v1/live", api.live.open),
            Route("/api/v1/devices", api.devices),
            Route("/api/v1/devices/{device}", api.device),
            Route("/api/v1/devices/{device}/windows", api.windows),
            Route("/api/v1/devices/{device}/missing", api.missing),
            Route("/api/v1/devices/{device}/series", api.series),
            Route("/api/v1/alerts", alarms.open),
            Route("/api/v1/alerts/device", alarms.of_device),
            Route("/api/v1/alerts/history", alarms.history),
            Route("/api/v1/alerts/acknowledge", alarms.acknowledge, methods=["POST"]),
            Route("/api/v1/alerts/mute", alarms.mute, methods=["POST"]),
            Route("/api/v1/alerts/unmute", alarms.unmute, methods=["POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        exception_handlers={
            BadRequestError: _bad_request,
            HTTPException: _http_error,
            Exception: _query_failed,
        },
        lifespan=lifespan,
    )
    return Guard(app, access or Access())


async def _bad_request(_: Request, error: Exception) -> Response:
    return _failure(str(error), 400)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(error.detail, error.status_code)
    return _failure(error.detail, error.status_code, error.headers)


async def _query_failed(_: Request, error: Exception) -> Response:
    return _failure(f"the query failed: {type(error).__name__}", 502)


def _failure(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    failure: answers.Failure = {"error": text}
    return json_response(failure, status, headers)
