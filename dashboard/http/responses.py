"""Values to HTTP responses."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON document that no cache keeps."""
    return Response(
        orjson.dumps(value),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def tagged_response(
    request: Request, value: Any, *, read_at: Collection[str] = frozenset()
) -> Response:
    """A JSON document with an ETag; 304 without a body when the caller has it already.

    :param read_at: names of fields that say which reading of the tables it is from. They alone are
        no change: each process that answers reads for itself.
    """
    body = orjson.dumps(value)
    kept = {k: v for k, v in value.items() if k not in read_at} if read_at else value
    tag = f'"{hashlib.blake2b(orjson.dumps(kept), digest_size=12).hexdigest()}"'
    headers = {"ETag": f"W/{tag}" if read_at else tag, "Cache-Control": "no-cache"}
    known = request.headers.get("if-none-match", "").split(",")
    if tag in {one.strip().removeprefix("W/") for one in known}:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def event(kind: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
