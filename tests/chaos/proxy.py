"""A proxy in front of the embedded AWS that lets calls go wrong as a plan says.

It speaks HTTP/1.1 and HTTP/2 in clear text (which the KCL's Kinesis client wants), passes
everything through unchanged but what the plan picks, and runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import enum
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import hypercorn.asyncio.run
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypercorn.asyncio import serve
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config

from infra.target import LOCAL_KEYS
from tests.chaos.plan import Call, Fault, Plan, Rule

_REGION: Final = re.compile(r"/([a-z0-9-]+)/[a-z0-9-]+/aws4_request")
_ROOT: Final = Credentials(LOCAL_KEYS["aws_access_key_id"], LOCAL_KEYS["aws_secret_access_key"])
_SCOPE: Final = re.compile(r"/([a-z0-9-]+)/aws4_request")
_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date",
                         "server", "upgrade", "te", "trailer"})  # fmt: skip
_TARGETS: Final = {"Kinesis": "kinesis", "AWSEvents": "events"}
_S3: Final = {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "GetObject"}
_THROTTLE: Final = {
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "kinesis": (400, "ProvisionedThroughputExceededException"),
    "s3": (503, "SlowDown"),
    "events": (400, "ThrottlingException"),
}


@dataclass
class Request:
    """An HTTP request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def call(self) -> Call:
        """Which call of AWS it is."""
        if action := self.headers.get("x-amz-target"):
            service = _TARGETS.get(re.split(r"[._]", action)[0], "dynamodb")
            return Call(service, action.rsplit(".", 1)[-1], self.body.decode(errors="replace"))
        scope = _SCOPE.search(self.headers.get("authorization", ""))
        service = scope[1] if scope else ""
        listing = service == "s3" and "list-type=2" in self.target
        operation = "ListObjectsV2" if listing else _S3.get(self.method, self.method)
        return Call(service, operation, self.target)


@dataclass
class Reply:
    """An HTTP response; ``cut``: the connection ends in the middle of it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


class Close(enum.Enum):
    """How a connection ends that has carried its share of requests."""

    BETWEEN = "closed after an answer, before the next request"
    DURING = "closed while a request is answered: done or not, by turns"
    GOAWAY = "kept open, and nothing is answered after GOAWAY, as hypercorn does at its limit"


CLOSE_AFTER: Final = {"kinesis": 20, "dynamodb": 20, "s3": 3}
"""Requests that a connection carries before it ends, by service: a few seconds' worth of each."""


class _Connection(TCPServer):
    """A connection that the application can close: hypercorn gives it only the address."""

    open: ClassVar[dict[Any, asyncio.StreamWriter]] = {}

    async def run(self) -> None:
        client = self.writer.get_extra_info("peername")
        self.open[client] = self.writer
        try:
            await super().run()
        finally:
            del self.open[client]


hypercorn.asyncio.run.TCPServer = _Connection  # type: ignore[misc]


class Proxy:
    """A running proxy. Use as a context manager; set ``plan`` at any time."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._http = urllib3.PoolManager(maxsize=32, timeout=60.0, retries=False)
        self._threads = ThreadPoolExecutor(32, "proxy")
        self._seen: dict[str, Any] = {}
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.plan = Plan()
        self.on_call: Callable[[Call], None] = lambda call: None
        self.last_write = 0.0
        self.close: Close | None = None
        self.close_services: Collection[str] = ()
        self.closed: Counter[str] = Counter()
        self._carried: Counter[Any] = Counter()

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def close_connections(self, how: Close | None, services: Collection[str] = ()) -> None:
        """From now on, end each connection to these services after :data:`CLOSE_AFTER` requests."""
        self.close, self.close_services = how, services
        limit = CLOSE_AFTER["kinesis"] if how is Close.GOAWAY else sys.maxsize
        self._config.keep_alive_max_requests = limit

    def _run(self) -> None:
        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.errorlog = config.accesslog = None
        config.graceful_timeout = 0.2
        config.keep_alive_max_requests = sys.maxsize  # connections end when `close` says so
        self._config = config
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)
        self._loop.run_until_complete(
            serve(self._app, config, shutdown_trigger=self._stop.wait)  # type: ignore[arg-type]
        )

    async def _app(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        query = scope["query_string"].decode()
        request = Request(
            scope["method"],
            scope["raw_path"].decode() + (f"?{query}" if query else ""),
            {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]},
            body,
        )
        ending = self._ending(scope["client"], request)
        if ending is Close.DURING and self.closed.total() % 2:
            _Connection.open[scope["client"]].transport.abort()
            return
        reply = await self._loop.run_in_executor(self._threads, self._answer, request)
        if ending is Close.DURING:
            _Connection.open[scope["client"]].transport.abort()
            return
        length = len(reply.body) + (1000 if reply.cut else 0)
        headers = [(k.encode(), v.encode("latin-1")) for k, v in reply.headers.items()]
        if scope["method"] != "HEAD":
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": reply.cut})
        if reply.cut:
            raise ConnectionAbortedError  # the server ends the connection without the rest
        if ending is Close.BETWEEN:
            _Connection.open[scope["client"]].close()

    def _ending(self, client: Any, request: Request) -> Close | None:
        """Whether the connection ends with this request, and how. ``closed`` counts by service."""
        service = request.call().service
        if self.close is None or service not in self.close_services:
            return None
        self._carried[client] += 1
        left = CLOSE_AFTER.get(service, 20) - self._carried[client]
        if left > 0:
            return None
        if self.close is not Close.GOAWAY or left == -1:
            self.closed[service] += 1
        return self.close

    def _answer(self, request: Request) -> Reply:
        call = request.call()
        self.on_call(call)
        rule = self.plan.decide(call, time.monotonic())
        if call.operation in ("BatchExecuteStatement", "PutObject"):
            self.last_write = time.monotonic()
        if rule is None:
            return self._forward(request, call)
        return self._spoil(rule, request, call)

    def _forward(self, request: Request, call: Call) -> Reply:
        headers = {k: v for k, v in request.headers.items() if k not in _HOP and k[0] != ":"}
        try:
            answer = self._http.request(
                request.method, self._upstream + request.target, body=request.body or None,
                headers=headers, decode_content=False, redirect=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:  # the emulator is away
            return Reply(200, cut=True)
        kept = {k.lower(): v for k, v in answer.headers.items() if k.lower() not in _HOP}
        if request.method == "HEAD" and "content-length" in answer.headers:
            kept["content-length"] = answer.headers["content-length"]
        reply = Reply(answer.status, kept, answer.data)
        if call.operation == "BatchGetItem" and reply.status == 200:
            self._remember(json.loads(reply.body))
        return reply

    def _spoil(self, rule: Rule, request: Request, call: Call) -> Reply:
        """Do to the call what the rule says."""
        fault = rule.fault
        if fault is Fault.DELAY:
            time.sleep(rule.seconds)
            return self._forward(request, call)
        if fault is Fault.RESET:
            return Reply(200, cut=True)
        if fault is Fault.REPLY_LOST:
            reply = self._forward(request, call)
            return Reply(reply.status, reply.headers, reply.body[: len(reply.body) // 2], cut=True)
        if fault in (Fault.PARTIAL, Fault.CONFLICT):
            return self._in_part(fault, request, call)
        if fault is Fault.STALE:
            return self._stale(self._forward(request, call))
        if fault is Fault.DONE_412:
            self._forward(request, call)
        status, code = {
            Fault.ERROR: (500, "InternalServerError"),
            Fault.UNAVAILABLE: (503, "ServiceUnavailable"),
            Fault.THROTTLE: _THROTTLE[call.service],
            Fault.CONFLICT_409: (409, "ConditionalRequestConflict"),
            Fault.DONE_412: (412, "PreconditionFailed"),
        }[fault]
        return _error(call, status, code)

    def _in_part(self, fault: Fault, request: Request, call: Call) -> Reply:
        """Let part of a batch through, and answer that the rest failed."""
        document = json.loads(request.body)
        if call.operation == "BatchGetItem":
            return self._read_in_part(document, request, call)
        inside = {"BatchExecuteStatement": "Statements", "PutRecords": "Records"}[call.operation]
        parts = document[inside]
        failed = self.plan.picks(len(parts))
        document[inside] = [p for p, bad in zip(parts, failed, strict=True) if not bad]
        answer: dict[str, Any] = {}
        results: list[Any] = []
        reply = Reply(200, {"content-type": request.headers.get("content-type", "")})
        if document[inside]:
            reply = self._forward(_with_body(request, call, document), call)
            if reply.status != 200:
                return reply
            answer = json.loads(reply.body)
            results = answer.get("Responses" if inside == "Statements" else "Records", [])
        done = iter(results)
        if inside == "Records":
            bad_one = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "-"}
            answer["Records"] = [bad_one if bad else next(done) for bad in failed]
            answer["FailedRecordCount"] = sum(failed)
        else:
            code = "ThrottlingError" if fault is Fault.PARTIAL else "ConditionalCheckFailed"
            answer["Responses"] = [
                {"Error": {"Code": code, "Message": "-"}} if bad else next(done) for bad in failed
            ]
        return _with_checksum(reply, json.dumps(answer).encode())

    def _read_in_part(self, document: Any, request: Request, call: Call) -> Reply:
        unprocessed: dict[str, Any] = {}
        asked = {}
        for table, wanted in document["RequestItems"].items():
            failed = self.plan.picks(len(wanted["Keys"]))
            keys = list(zip(wanted["Keys"], failed, strict=True))
            unprocessed[table] = {**wanted, "Keys": [key for key, bad in keys if bad]}
            if rest := [key for key, bad in keys if not bad]:
                asked[table] = {**wanted, "Keys": rest}
        answer: dict[str, Any] = {"Responses": {}}
        reply = Reply(200, {"content-type": "application/x-amz-json-1.0"})
        if asked:
            reply = self._forward(
                _with_body(request, call, {**document, "RequestItems": asked}), call
            )
            if reply.status != 200:
                return reply
            answer = json.loads(reply.body)
        answer["UnprocessedKeys"] = unprocessed
        return _with_checksum(reply, json.dumps(answer).encode())

    def _remember(self, answer: Any) -> None:
        for table, items in answer.get("Responses", {}).items():
            for item in items:
                self._seen.setdefault(_name(table, item), item)

    def _stale(self, reply: Reply) -> Reply:
        """What the first read of each item gave; nothing for those that were new then."""
        answer = json.loads(reply.body)
        for table, items in answer.get("Responses", {}).items():
            answer["Responses"][table] = [
                self._seen[_name(table, item)] for item in items if _name(table, item) in self._seen
            ]
        return _with_checksum(reply, json.dumps(answer).encode())


def _name(table: str, item: Mapping[str, Any]) -> str:
    keys = [item.get(key) for key in ("device", "window")]
    return json.dumps([table, *keys])


def _with_body(request: Request, call: Call, document: Any) -> Request:
    """The request with another body, signed anew, by the account's root."""
    body = json.dumps(document).encode()
    kept = ("host", "content-type", "x-amz-target")
    headers = {name: request.headers[name] for name in kept if name in request.headers}
    signed = AWSRequest("POST", f"http://{headers['host']}{request.target}", headers, body)
    region = _REGION.search(request.headers["authorization"])
    assert region is not None
    SigV4Auth(_ROOT, call.service, region[1]).add_auth(signed)
    return Request(request.method, request.target, dict(signed.headers.items()), body)


def _with_checksum(reply: Reply, body: bytes) -> Reply:
    """The reply with another body; its checksum header would no longer be true."""
    headers = {k: v for k, v in reply.headers.items() if k != "x-amz-crc32"}
    return Reply(reply.status, headers, body)


def _error(call: Call, status: int, code: str) -> Reply:
    if call.service == "s3":
        body = f"<Error><Code>{code}</Code><Message>as planned</Message></Error>"
        return Reply(status, {"content-type": "application/xml"}, body.encode())
    document = {"__type": code, "message": "as planned"}
    kind = "1.1" if call.service == "kinesis" else "1.0"
    return Reply(
        status, {"content-type": f"application/x-amz-json-{kind}"}, json.dumps(document).encode()
    )
