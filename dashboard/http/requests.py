"""From a request's path and query to checked values. Pure.

Each function raises :class:`~dashboard.errors.BadRequestError` with a sentence that names the
parameter and what it takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.requests import Request

from dashboard.errors import BadRequestError
from dashboard.fleet import MAX_LIMIT, Wanted
from ingest.message import METRIC_NAME
from ingest.tiers import Tier
from ingest.times import parse_time
from ingest.topic import check_device_id

MAX_SPAN_WINDOWS: Final = 20_000
MAX_WATCHED: Final = 200
DEFAULT_SPAN_MS: Final = 3_600_000
SUBJECT: Final = re.compile(r"(#group/)?[^\x00-\x1f\x7f#]{1,128}")
"""What an alert is of: a device, or a group of devices."""

RULE: Final = re.compile(r"[a-z0-9-]{1,64}")
_INTEGER: Final = re.compile(r"-?\d{1,17}", re.ASCII)
_LARGEST: Final = 2**53


class Span(NamedTuple):
    """A tier and the time (ms) that the starts of its windows lie in, both ends included."""

    tier: Tier
    start_ms: int
    end_ms: int


def span(request: Request, tiers: Mapping[str, Tier], now_ms: int) -> Span:
    """``tier``, ``from`` and ``to``; by default the last hour in the finest tier."""
    tier = tiers.get(request.query_params.get("tier", next(iter(tiers))))
    if tier is None:
        raise BadRequestError(f"tier: one of {', '.join(tiers)}")
    end = time(request, "to", now_ms)
    start = time(request, "from", end - DEFAULT_SPAN_MS)
    if start > end:
        raise BadRequestError("from: not after to")
    if (end - start) // tier.size_ms > MAX_SPAN_WINDOWS:
        raise BadRequestError(
            f"a span of more than {MAX_SPAN_WINDOWS} windows: take a coarser tier"
        )
    return Span(tier, start - start % tier.size_ms, end)


def time(request: Request, name: str, default_ms: int) -> int:
    """A time in ms: an integer, or ISO 8601 as ``2026-11-23T07:00:00Z``; UTC without an offset."""
    text = request.query_params.get(name)
    if text is None:
        return default_ms
    try:
        # A "+" that was not escaped arrives as a space: 2026-11-23T08:00:00 01:00
        found = parse_time(re.sub(r" (?=\d\d:?\d\d$)", "+", text))
    except ValueError as error:
        raise BadRequestError(f"{name}: {error}") from None
    if abs(found) > _LARGEST:
        raise BadRequestError(f"{name}: a time that a calendar knows, not {text!r:.60}")
    return found


def wanted(request: Request) -> Wanted:
    """The page of devices that is asked for."""
    asked = request.query_params
    text = {name: asked.get(name, "")[:200] for name in ("search", "group", "type", "status")}
    return Wanted(
        **text,
        sort=asked.get("sort", "device"),
        descending=asked.get("order", "asc") == "desc",
        offset=integer(request, "offset", 0, 0, 10_000_000),
        limit=integer(request, "limit", 100, 1, MAX_LIMIT),
    )


def device(request: Request) -> str:
    """The device id in the path."""
    try:
        return check_device_id(str(request.path_params["device"]))
    except ValueError as error:
        raise BadRequestError(f"device: {error}") from None


def metric(request: Request) -> str:
    """The name of a metric."""
    name = request.query_params.get("metric", "")
    if not METRIC_NAME.fullmatch(name):
        raise BadRequestError(f"metric: a name as {METRIC_NAME.pattern}, not {name!r:.60}")
    return name


def integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    """An integer within bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        raise BadRequestError(f"{name}: an integer from {low} to {high}, not {text!r:.60}")
    return int(text)
