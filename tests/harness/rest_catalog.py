"""An Iceberg REST catalog for tests: the calls of the specification that the lake makes, each done
by PyIceberg's SQLite catalog (Apache Iceberg, "REST Catalog Open API specification")."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest, Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_STATUS: Final[dict[type[Exception], int]] = {
    NoSuchNamespaceError: 404,
    NoSuchTableError: 404,
    CommitFailedException: 409,
    NamespaceAlreadyExistsError: 409,
    TableAlreadyExistsError: 409,
}


class RestCatalogServer:
    """The catalog; its answers are those of the specification."""

    def __init__(self, path: Path, properties: dict[str, str]) -> None:
        self._catalog = SqlCatalog("server", uri=f"sqlite:///{path}", **properties)
        self._one = threading.Lock()  # a commit is decided by one at a time

    def app(self) -> Starlette:
        """The routes under ``/v1``."""
        space, table = "/v1/namespaces/{space}", "/v1/namespaces/{space}/tables/{table}"
        routes: list[tuple[str, str, Callable[[Request, bytes], Any]]] = [
            ("/v1/config", "GET", lambda *_: {"defaults": {}, "overrides": {}}),
            ("/v1/namespaces", "POST", self._create_namespace),
            (space, "GET", self._load_namespace),
            (f"{space}/tables", "POST", self._create_table),
            (table, "GET", lambda request, _: _result(self._table(request))),
            (table, "POST", self._commit),
            (table, "DELETE", self._drop),
        ]
        return Starlette(
            routes=[Route(path, self._answering(do), methods=[verb]) for path, verb, do in routes]
        )

    def _answering(self, do: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                with self._one:
                    body = do(request, await request.body())
            except tuple(_STATUS) as error:
                status = _STATUS[type(error)]
                body = {"error": {"message": str(error), "type": type(error).__name__,
                                  "code": status}}  # fmt: skip
                return Response(orjson.dumps(body), status, media_type="application/json")
            if body is None:
                return Response(status_code=204)
            return Response(orjson.dumps(body), media_type="application/json")

        return answer

    def _create_namespace(self, _: Request, body: bytes) -> Any:
        asked = orjson.loads(body)
        self._catalog.create_namespace(tuple(asked["namespace"]))
        return {"namespace": asked["namespace"], "properties": {}}

    def _load_namespace(self, request: Request, _: bytes) -> Any:
        space = request.path_params["space"]
        return {"namespace": [space], "properties": self._catalog.load_namespace_properties(space)}

    def _create_table(self, request: Request, body: bytes) -> Any:
        asked = CreateTableRequest.model_validate_json(body)
        made = self._catalog.create_table(
            (request.path_params["space"], asked.name),
            asked.table_schema,
            location=asked.location,
            partition_spec=asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
            properties=asked.properties,
        )
        return _result(made)

    def _commit(self, request: Request, body: bytes) -> Any:
        asked = CommitTableRequest.model_validate_json(body)
        answer = self._catalog.commit_table(self._table(request), asked.requirements, asked.updates)
        return orjson.loads(answer.model_dump_json(by_alias=True))

    def _drop(self, request: Request, _: bytes) -> Any:
        self._catalog.drop_table(_identifier(request))

    def _table(self, request: Request) -> Table:
        return self._catalog.load_table(_identifier(request))


def _identifier(request: Request) -> tuple[str, str]:
    return request.path_params["space"], request.path_params["table"]


def _result(table: Table) -> Any:
    return {
        "metadata-location": table.metadata_location,
        "metadata": orjson.loads(table.metadata.model_dump_json()),
        "config": {},
    }


@contextmanager
def rest_catalog(path: Path, properties: dict[str, str]) -> Iterator[str]:
    """A catalog that is served on loopback while the context lasts; its URL. ``path`` is the file
    that it keeps its state in, ``properties`` are those of PyIceberg for S3."""
    app = RestCatalogServer(path, properties).app()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the catalog did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
