"""Values to HTTP responses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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


def tagged_response(request: Request, value: Any) -> Response:
    """A JSON document with an ETag; 304 without a body when the caller has it already."""
    body = orjson.dumps(value)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def event(kind: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
