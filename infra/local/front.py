"""A listener on loopback in front of the embedded CloudFront, which a browser cannot reach by
itself: its host name is of AWS, and it speaks TLS there. Nothing is cached."""

from __future__ import annotations

from typing import Final

import urllib3
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
TIMEOUT_S: Final = 60.0
_OWN: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding",
     "upgrade"}
)  # fmt: skip
"""Headers of one connection, which are made anew on the next."""


def front_of(endpoint_url: str, domain: str) -> Starlette:
    """An application that hands each request to the distribution with this domain, as TLS ended
    here, and its answer back.

    :param endpoint_url: of the embedded AWS.
    """
    pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=TIMEOUT_S)

    async def forward(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in _OWN}
        target = request.scope["raw_path"].decode("ascii")
        if query := request.scope["query_string"].decode("ascii"):
            target = f"{target}?{query}"
        body = await request.body()
        try:
            answer = await run_in_threadpool(
                pool.request, request.method, f"{endpoint_url}{target}", body=body or None,
                headers={**headers, "host": domain, "x-forwarded-proto": "https"},
                redirect=False, decode_content=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            return Response(f"the embedded AWS does not answer: {error}\n", 502)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
        return Response(answer.data, answer.status, kept)

    return Starlette(routes=[Route("/{path:path}", forward, methods=list(METHODS))])
