"""The read API's OpenAPI document, explored by Schemathesis: requests that fit the document and
requests that do not, from a fixed seed. Complements ``api_contract``, which knows what is wrong and
why; this one has no idea of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "openapi.json"
STREAM: Final = "/api/v1/live"
CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip

Send = Callable[[httpx.Request], httpx.Response]


def explore(send: Send, device: str, *, examples: int, reads_only: bool = False) -> Counter[int]:
    """:func:`_explore`, once more where CPython 3.11 loses count of its own recursion: two threads
    that parse Python at once, as libraries do here, make one of them fail with this error (CPython
    issue 106905)."""
    try:
        return _explore(send, device, examples, reads_only=reads_only)
    except SystemError as error:
        if "AST constructor recursion depth mismatch" not in str(error):
            raise
        return _explore(send, device, examples, reads_only=reads_only)


def _explore(send: Send, device: str, examples: int, *, reads_only: bool) -> Counter[int]:
    """Ask for each operation of the document, ``examples`` times as it should be and as often as it
    should not; how often each status came.

    :param device: one that there is; what is asked as it should be is asked of it.
    :param reads_only: leave out what changes something.
    :raises BaseExceptionGroup: when an answer is a 5xx, or none that the document promises.
    """
    counts: Counter[int] = Counter()
    for operation in _operations(reads_only):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)
            if mode is GenerationMode.POSITIVE:
                strategy = strategy.map(partial(_aimed, device))

            @seed(7)
            @settings(
                max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=strategy)
            def ask(case: Any) -> None:
                answer = send(_request(case))
                counts[answer.status_code] += 1
                case.validate_response(answer, checks=CHECKS)

            with suppress(Unsatisfiable):  # every text is a good text: nothing is wrong for it
                ask()
    return counts


def _aimed(device: str, case: Any) -> Any:
    if case.path_parameters:
        case.path_parameters = {"device": device}
    return case


def _operations(reads_only: bool) -> Iterator[Any]:
    schema: Any = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text()))
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path != STREAM and (operation.method == "get" or not reads_only):
            yield operation


def _request(case: Any) -> httpx.Request:
    made = case.as_transport_kwargs(base_url="http://127.0.0.1")
    return httpx.Request(
        made["method"], made["url"], params=made.get("params"), headers=dict(made["headers"]),
        json=made.get("json"), content=made.get("data"),
    )  # fmt: skip
