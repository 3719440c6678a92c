"""The way in: every call is counted and, as the profile says, takes time or fails; and the
control endpoint, which is no part of AWS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from infra.emulator.cloudwatch.alarms import ALARMS_PATH, look_at
from infra.emulator.iam.decisions import DECISIONS_PATH
from infra.emulator.limits.failures import Failure, answer_of
from infra.emulator.profile import PROFILE_PATH, Profile
from infra.emulator.usage import METERS_PATH
from infra.emulator.world import World

_S3_LIST: Final = "ListObjectsV2"

_Handler = Callable[..., Awaitable[Any]]


def operation_of(service: str, method: str, path: str, headers: dict[str, str]) -> str:
    """The API operation of a request, or its method where only the path tells.

    >>> operation_of("s3", "PUT", "/bucket/key", {})
    'PutObject'
    """
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    if service == "s3":
        verb = method.capitalize()
        has_key = "/" in path.strip("/")
        if method == "GET" and not has_key:
            return _S3_LIST
        return f"{verb}Object" if has_key else f"{verb}Bucket"
    return method


def shape_calls(world: World) -> None:
    """Count every call of every service; let it take its time, and fail now and then."""
    from ministack import app

    for service, handler in list(app.SERVICE_HANDLERS.items()):
        app.SERVICE_HANDLERS[service] = _shaped(world, service, handler)


def _shaped(world: World, service: str, handler: _Handler) -> _Handler:
    async def call(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        operation = operation_of(service, method, path, headers)
        world.meters.add("requests", service, operation)
        delay = world.latency.draw(service, operation)
        failure = world.failures.draw(service, operation)
        if delay:
            await asyncio.sleep(delay / 2)
        if failure is None or failure is Failure.INTERNAL_AFTER:
            answer = await handler(method, path, headers, body, query)
        if delay:
            await asyncio.sleep(delay / 2)
        if failure is not None:
            world.meters.add("failures", service, operation)
            return tuple(answer_of(failure, service))
        if service == "s3":
            _count_s3(world, operation, body, answer)
        return answer

    return call


def _count_s3(world: World, operation: str, body: bytes, answer: Any) -> None:
    """S3 bills PUT, COPY, POST and LIST as one class of requests and GET and all others as
    another; DELETE is free."""
    add = world.meters.add
    if operation.startswith(("Put", "Post", "List")):
        add("s3", "put_requests")
    elif not operation.startswith("Delete"):
        add("s3", "get_requests")
    add("s3", "bytes_in", by=len(body))
    if isinstance(answer[2], bytes | str):
        add("s3", "bytes_out", by=len(answer[2]))


def serve_control(world: World) -> None:
    """Serve the meters and the decisions (``GET``), the profile (``GET``, and ``PUT`` to replace
    it), and looks at alarms (``PUT``)."""
    from ministack import app

    original = app.app

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/_penstock/"):
            await original(scope, receive, send)
            return
        status, document = await _control(world, scope, receive)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    app.app = serve


async def _control(world: World, scope: Any, receive: Any) -> tuple[int, Any]:
    request = (scope["method"], scope["path"])
    if request == ("GET", METERS_PATH):
        return 200, {"profile": world.profile.name, **world.meters.snapshot()}
    if request == ("GET", DECISIONS_PATH):
        return 200, world.decisions.document()
    if request == ("PUT", PROFILE_PATH):
        try:
            profile = Profile.from_json(await _body(receive))
        except (ValueError, TypeError) as error:
            return 400, {"message": str(error)}
        world.become(profile)
        return 200, json.loads(profile.to_json())
    if request == ("GET", PROFILE_PATH):
        return 200, json.loads(world.profile.to_json())
    if request == ("PUT", ALARMS_PATH):
        look_at(json.loads(await _body(receive)))
        return 200, {}
    return 404, {"message": f"there is no {' '.join(request)}"}


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
