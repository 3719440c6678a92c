"""The HTTP API and the page. Requests to queries, values to JSON; nothing is decided here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard import completeness, fleet, queries
from dashboard.access import COOKIE, Access
from dashboard.feed import Feed
from dashboard.fleet import Snapshot, Wanted
from dashboard.openapi import document
from dashboard.queries import BadRequestError
from ingest.message import METRIC_NAME
from ingest.tiers import Tier
from ingest.times import parse_time
from ingest.topic import is_device_id

STATIC: Final = Path(__file__).with_name("static")
BEAT_S: Final = 10.0
MAX_WATCHED: Final = 200
MAX_STREAMS: Final = 200
MAX_SPAN_WINDOWS: Final = 20_000
_SECURITY: Final = {
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The handlers, over one feed."""

    def __init__(self, feed: Feed, tiers: Sequence[Tier], units: Mapping[str, str]) -> None:
        self._feed = feed
        self._units = units
        self._tiers = {tier.name: tier for tier in tiers}
        self._streams = 0
        self._requests = 0

    # -- fleet -----------------------------------------------------------------------------

    async def summary(self, request: Request) -> Response:
        return self._tagged(request, lambda snapshot: fleet.summary(snapshot, self._units))

    async def devices(self, request: Request) -> Response:
        wanted = _wanted(request)

        def answer(snapshot: Snapshot) -> dict[str, Any]:
            page = fleet.page(snapshot, wanted)
            for row in page["devices"]:
                row["spark"] = self._feed.sparks.of(row["device"])
            return page

        return self._tagged(request, answer)

    async def shards(self, request: Request) -> Response:
        return self._tagged(request, lambda snapshot: fleet.stream(snapshot))

    # -- one device ------------------------------------------------------------------------

    async def device(self, request: Request) -> Response:
        row = await self._row(request)
        now = self._feed.now_ms()
        return JSONResponse(
            {**fleet.show(row, now), "tiers": list(self._tiers), "certificate": None},
            headers={"Cache-Control": "no-store"},
        )

    async def windows(self, request: Request) -> Response:
        name, tier, start, end = self._span(request)
        await self._row(request)
        found, cursor = await self._feed.call(
            queries.windows, self._feed.client, self._feed.tables.windows, name, tier,
            start_ms=start, end_ms=end, limit=_integer(request, "limit", 500, 1, queries.MAX_PAGE),
            cursor=request.query_params.get("cursor"), now_s=self._feed.now_ms() / 1000,
        )  # fmt: skip
        return JSONResponse(
            {"device": name, "tier": tier.name, "windows": found, "cursor": cursor},
            headers={"Cache-Control": "no-store"},
        )

    async def missing(self, request: Request) -> Response:
        name, tier, start, end = self._span(request)
        await self._row(request)
        found = await self._all_windows(name, tier, start, end)
        return JSONResponse(
            {"device": name, "tier": tier.name, "from": start, "to": end,
             "boots": completeness.missing(window["ids"] for window in found)},
            headers={"Cache-Control": "no-store"},
        )  # fmt: skip

    async def series(self, request: Request) -> Response:
        """One metric as a flat array of points, as Grafana's JSON data sources read it."""
        name, tier, start, end = self._span(request)
        metric = request.query_params.get("metric", "")
        if not METRIC_NAME.fullmatch(metric):
            raise BadRequestError(f"metric: a name as {METRIC_NAME.pattern}, not {metric!r:.60}")
        await self._row(request)
        found = await self._all_windows(name, tier, start, end)
        return JSONResponse(
            [
                {"time": window["start"], "device": name, **window["metrics"][metric]}
                for window in found
                if metric in window["metrics"]
            ],
            headers={"Cache-Control": "no-store"},
        )

    async def _all_windows(
        self, name: str, tier: Tier, start: int, end: int
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while len(found) < MAX_SPAN_WINDOWS:
            part, cursor = await self._feed.call(
                queries.windows, self._feed.client, self._feed.tables.windows, name, tier,
                start_ms=start, end_ms=end, limit=queries.MAX_PAGE, cursor=cursor,
                now_s=self._feed.now_ms() / 1000,
            )  # fmt: skip
            found += part
            if cursor is None:
                break
        return found

    async def _row(self, request: Request) -> dict[str, Any]:
        name = _device(request)
        row = await self._feed.call(
            queries.device, self._feed.client, self._feed.tables.devices, name
        )
        if row is None:
            raise HTTPException(404, f"there is no device {name}")
        return dict(row)

    def _span(self, request: Request) -> tuple[str, Tier, int, int]:
        name = _device(request)
        first = next(iter(self._tiers))
        tier = self._tiers.get(request.query_params.get("tier", first))
        if tier is None:
            raise BadRequestError(f"tier: one of {', '.join(self._tiers)}")
        now = self._feed.now_ms()
        largest = 2**53
        end = _time(request, "to", now, largest)
        start = _time(request, "from", end - 3_600_000, largest)
        if not start <= end:
            raise BadRequestError("from: not after to")
        if (end - start) // tier.size_ms > MAX_SPAN_WINDOWS:
            raise BadRequestError(
                f"a span of more than {MAX_SPAN_WINDOWS} windows: take a coarser tier"
            )
        return name, tier, start - start % tier.size_ms, end

    # -- live ------------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        """Server-sent events: ``summary`` and ``devices``, only what changed; a comment as a
        heartbeat."""
        watched = [one for one in request.query_params.get("watch", "").split(",") if one]
        if len(watched) > MAX_WATCHED or not all(map(is_device_id, watched)):
            raise BadRequestError(f"watch: up to {MAX_WATCHED} device ids, with commas between")
        if self._streams >= MAX_STREAMS:
            raise HTTPException(503, "too many live streams are open: try again later")
        return StreamingResponse(
            self._events(watched),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, watched: list[str]) -> AsyncIterator[bytes]:
        self._streams += 1
        known = Snapshot()
        told: dict[str, Any] = {}
        error = ""
        try:
            yield b"retry: 1000\n\n"
            while True:
                newest = await self._feed.after(known.version, BEAT_S)
                if error != self._feed.error:
                    error = self._feed.error
                    yield _event("problem", {"error": error})
                if newest is None:
                    yield b": still here\n\n"
                    continue
                summary = fleet.summary(newest, self._units)
                figures = {k: v for k, v in summary.items() if k not in ("at", "version")}
                if figures != told:
                    told = figures
                    yield _event("summary", summary)
                if rows := fleet.changed(known, newest, watched):
                    sparks = self._feed.sparks
                    yield _event(
                        "devices", [{**row, "spark": sparks.of(row["device"])} for row in rows]
                    )
                known = newest
        finally:
            self._streams -= 1

    # -- about itself ----------------------------------------------------------------------

    async def health(self, _: Request) -> Response:
        """200 while the newest read succeeded."""
        problem = self._feed.error
        return JSONResponse(
            {"status": "degraded" if problem else "ok", "error": problem},
            status_code=503 if problem else 200,
        )

    async def metrics(self, _: Request) -> Response:
        snapshot = self._feed.snapshot
        lines = [
            ("penstock_dashboard_devices", "gauge", len(snapshot.devices)),
            ("penstock_dashboard_streams", "gauge", self._streams),
            ("penstock_dashboard_reads_total", "counter", self._feed.reads),
            ("penstock_dashboard_read_seconds", "gauge", round(self._feed.read_s, 4)),
            ("penstock_dashboard_healthy", "gauge", int(not self._feed.error)),
        ]
        text = "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, kind, value in lines)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document(list(self._tiers)))

    def _tagged(self, request: Request, answer: Callable[[Snapshot], Any]) -> Response:
        """An answer from the newest snapshot, with an ETag; 304 when the caller has it."""
        body = json.dumps(answer(self._feed.snapshot), separators=(",", ":")).encode()
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)


def create_app(
    feed: Feed,
    tiers: Sequence[Tier],
    access: Access | None = None,
    units: Mapping[str, str] | None = None,
) -> ASGIApp:
    """The whole application, guarded."""
    api = Api(feed, tiers, units or {})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await feed.start()
        try:
            yield
        finally:
            await feed.stop()

    app = Starlette(
        routes=[
            Route("/healthz", api.health),
            Route("/metrics", api.metrics),
            Route("/api/v1/openapi.json", api.openapi),
            Route("/api/v1/summary", api.summary),
            Route("/api/v1/stream", api.shards),
            Route("/api/v1/live", api.live),
            Route("/api/v1/devices", api.devices),
            Route("/api/v1/devices/{device}", api.device),
            Route("/api/v1/devices/{device}/windows", api.windows),
            Route("/api/v1/devices/{device}/missing", api.missing),
            Route("/api/v1/devices/{device}/series", api.series),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        exception_handlers={
            BadRequestError: _bad_request,
            HTTPException: _http_error,
            Exception: _failure,
        },
        lifespan=lifespan,
    )
    return _Guard(app, access or Access())


class _Guard:
    """Checks access first, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_SECURITY.items()]
            await send(message)

        request = Request(scope)
        token = request.query_params.get("token")
        headers = {name.lower(): value for name, value in request.headers.items()}
        if scope["path"] == "/healthz" or self._access.allows(headers, token):
            if token and self._access.token:
                await self._enter(token)(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
            return
        refusal = JSONResponse(
            {"error": "access is by token: /?token=…, or Authorization: Bearer …"},
            401,
        )
        await refusal(scope, receive, guarded)

    @staticmethod
    def _enter(token: str) -> Response:
        """Keep the token in a cookie, and take it out of the address."""
        response = Response(status_code=303, headers={"Location": "/"})
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", max_age=30 * 86_400)
        return response


def _wanted(request: Request) -> Wanted:
    asked = request.query_params
    text = {name: asked.get(name, "")[:200] for name in ("search", "group", "type", "status")}
    return Wanted(
        **text,
        sort=asked.get("sort", "device"),
        descending=asked.get("order", "asc") == "desc",
        offset=_integer(request, "offset", 0, 0, 10_000_000),
        limit=_integer(request, "limit", 100, 1, fleet.MAX_LIMIT),
    )


def _device(request: Request) -> str:
    name = str(request.path_params["device"])
    if not is_device_id(name):
        raise BadRequestError("device: 1 to 128 of letters, digits, ':', '_' and '-'")
    return name


def _integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?\d{1,17}", text) or not low <= int(text) <= high:
        raise BadRequestError(f"{name}: an integer from {low} to {high}, not {text!r:.60}")
    return int(text)


def _time(request: Request, name: str, default: int, largest: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        found = parse_time(text)
    except ValueError as error:
        raise BadRequestError(f"{name}: {error}") from None
    if not -largest <= found <= largest:
        raise BadRequestError(f"{name}: a time that a calendar knows, not {text!r:.60}")
    return found


def _event(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


async def _bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(error.detail, error.status_code)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failure(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the query failed: {type(error).__name__}"}, 502)
