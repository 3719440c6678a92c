"""The HTTP API and the page: from requests to queries, and from values to responses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dashboard import answers, completeness, fleet, queries, trends
from dashboard.errors import BadRequestError, ForbiddenError, NotFoundError
from dashboard.feed import Feed
from dashboard.http import requests
from dashboard.http.access import OPEN_PATH, Access, Guard
from dashboard.http.alerts import AlertsApi
from dashboard.http.handlers.commands import CommandsApi
from dashboard.http.live import Live
from dashboard.http.openapi import document
from dashboard.http.requests import MAX_SPAN_WINDOWS, Span
from dashboard.http.responses import json_response, tagged_response
from dashboard.http.routes import acts, reads
from dashboard.tenants.view import View, Views
from ingest.tiers import Tier

STATIC: Final = Path(__file__).parents[1] / "static"
LIVE_PATH: Final = "/api/v1/live"


class Api:
    """The handlers."""

    def __init__(self, tiers: Sequence[Tier], units: Mapping[str, str]) -> None:
        self._units = units
        self._tiers = {tier.name: tier for tier in tiers}

    # -- the fleet, from the newest snapshot -----------------------------------------------

    async def summary(self, request: Request, view: View) -> Response:
        """The fleet in a few figures."""
        summary = fleet.summary(view.snapshot, self._units)
        return tagged_response(request, summary, read_at=("at", "version"))

    async def history(self, request: Request, view: View) -> Response:
        """The fleet's figures over the last hour."""
        history: answers.FleetHistory = {
            "step_ms": trends.STEP_MS,
            "points": view.trends(requests.time(request, "from", 0)),
        }
        return json_response(history)

    async def devices(self, request: Request, view: View) -> Response:
        """A page of devices."""
        snapshot, wanted = view.snapshot, requests.wanted(request)
        found, total = fleet.page(snapshot, wanted)
        view.watch(row["device"] for row in found)
        listing: answers.Listing = {
            "total": total,
            "offset": wanted.offset,
            "version": snapshot.version,
            "devices": view.with_trends(found),
        }
        return tagged_response(request, listing, read_at=("version",))

    async def stream(self, request: Request, view: View) -> Response:
        """Shards, workers and rejects."""
        return tagged_response(request, fleet.stream(view.snapshot), read_at=("at",))

    # -- one device, read when it is asked for ---------------------------------------------

    async def device(self, request: Request, view: View) -> Response:
        """One device."""
        row = await view.live_device(requests.device(request))
        detail: answers.DeviceDetail = {
            **fleet.with_status(row, view.now_ms()),
            "tiers": list(self._tiers),
            "rejected": fleet.rejected(view.snapshot, row["device"]),
        }
        return json_response(detail)

    async def windows(self, request: Request, view: View) -> Response:
        """A page of a device's windows."""
        span = self._span(request, view)
        limit = requests.integer(request, "limit", 500, 1, queries.MAX_PAGE)
        name = requests.device(request)
        found, cursor = await view.windows(
            name, span.tier, start_ms=span.start_ms, end_ms=span.end_ms, limit=limit,
            cursor=request.query_params.get("cursor"),
        )  # fmt: skip
        page: answers.Windows = {
            "device": name, "tier": span.tier.name, "windows": found, "cursor": cursor,
        }  # fmt: skip
        return json_response(page)

    async def missing(self, request: Request, view: View) -> Response:
        """Which sequence numbers of a device are missing within a span."""
        span, name = self._span(request, view), requests.device(request)
        found = await self._all(view, name, span)
        missing: answers.Missing = {
            "device": name, "tier": span.tier.name, "from": span.start_ms, "to": span.end_ms,
            "boots": completeness.missing(window["ids"] for window in found),
        }  # fmt: skip
        return json_response(missing)

    async def series(self, request: Request, view: View) -> Response:
        """One metric as a flat array of points, as Grafana's JSON data sources read it."""
        span, metric = self._span(request, view), requests.metric(request)
        name = requests.device(request)
        points: list[answers.Point] = [
            {"time": window["start"], "device": name, **window["metrics"][metric]}
            for window in await self._all(view, name, span)
            if metric in window["metrics"]
        ]
        return json_response(points)

    def _span(self, request: Request, view: View) -> Span:
        return requests.span(request, self._tiers, view.now_ms())

    async def _all(self, view: View, name: str, span: Span) -> list[answers.Window]:
        """Every window of a span, whose size :func:`~dashboard.http.requests.span` bounds."""
        found: list[answers.Window] = []
        cursor: str | None = None
        while True:
            more, cursor = await view.windows(
                name, span.tier, start_ms=span.start_ms, end_ms=span.end_ms,
                limit=queries.MAX_PAGE, cursor=cursor,
            )  # fmt: skip
            found += more
            if cursor is None or len(found) >= MAX_SPAN_WINDOWS:
                return found

    # -- about itself ----------------------------------------------------------------------

    async def health(self, _: Request, view: View) -> Response:
        """Whether the newest read of the hot tables succeeded, and why not."""
        error = view.error
        health: answers.Health = {"status": "degraded" if error else "ok", "error": error}
        return json_response(health, 503 if error else 200)

    async def metrics(self, _: Request, view: View) -> Response:
        """This process's own figures, for Prometheus."""
        text = "".join(
            f"# TYPE {name} {kind}\n{name} {value}\n"
            for name, kind, value in view.process_figures()
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request, __: View) -> Response:
        """The document that describes this API."""
        return json_response(document(list(self._tiers)))


def create_app(
    feed: Feed,
    tiers: Sequence[Tier],
    access: Access | None = None,
    units: Mapping[str, str] | None = None,
    *,
    stateless: bool = False,
) -> ASGIApp:
    """The whole application behind its access check.

    :param feed: what it reads; started and stopped with the application.
    :param access: who may read; without one, callers on this machine's loopback.
    :param units: a metric's name to its unit, for display.
    :param stateless: leave out what a server alone can do: the live stream, and the page.

    >>> app = create_app(feed, settings.tiers, units={"power": "W"})  # doctest: +SKIP
    """
    feed.finest = min(tiers, key=lambda tier: tier.size_ms)
    views = Views(feed)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await feed.start()
        try:
            yield
        finally:
            await feed.stop()

    async def up(_: Request) -> Response:
        """200 while the newest read of the hot tables succeeded, else 503; and nothing else,
        because everybody may ask."""
        return PlainTextResponse("up\n" if views.is_up else "down\n", 200 if views.is_up else 503)

    routes = routes_of(views, tiers, units or {})
    if stateless:
        routes = [route for route in routes if route.path != LIVE_PATH]
    page = [] if stateless else [Mount("/", StaticFiles(directory=STATIC, html=True))]
    app = Starlette(
        routes=[Route(OPEN_PATH, up), *routes, *page],
        exception_handlers={
            BadRequestError: _sentence(400),
            ForbiddenError: _sentence(403),
            NotFoundError: _sentence(404),
            HTTPException: _http_error,
            Exception: _query_failed,
        },
        lifespan=lifespan,
    )
    return Guard(app, access or Access())


def routes_of(views: Views, tiers: Sequence[Tier], units: Mapping[str, str]) -> list[Route]:
    """Every route that answers with what a deployment holds."""
    api, live, alarms, commands = Api(tiers, units), Live(units), AlertsApi(), CommandsApi()
    return [
        reads(views, "/metrics", api.metrics),
        reads(views, "/api/v1/openapi.json", api.openapi),
        reads(views, "/api/v1/health", api.health),
        reads(views, "/api/v1/summary", api.summary),
        reads(views, "/api/v1/summary/history", api.history),
        reads(views, "/api/v1/stream", api.stream),
        reads(views, LIVE_PATH, live.open),
        reads(views, "/api/v1/latest", live.latest),
        reads(views, "/api/v1/devices", api.devices),
        reads(views, "/api/v1/devices/{device}", api.device),
        reads(views, "/api/v1/devices/{device}/windows", api.windows),
        reads(views, "/api/v1/devices/{device}/missing", api.missing),
        reads(views, "/api/v1/devices/{device}/series", api.series),
        reads(views, "/api/v1/devices/{device}/commands", commands.of_device),
        acts(views, "/api/v1/devices/{device}/commands", commands.send),
        reads(views, "/api/v1/alerts", alarms.open),
        reads(views, "/api/v1/alerts/device", alarms.of_device),
        reads(views, "/api/v1/alerts/history", alarms.history),
        acts(views, "/api/v1/alerts/acknowledge", alarms.acknowledge),
        acts(views, "/api/v1/alerts/mute", alarms.mute),
        acts(views, "/api/v1/alerts/unmute", alarms.unmute),
    ]


def _sentence(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_: Request, error: Exception) -> Response:
        return _failure(str(error), status)

    return answer


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
