"""What a worker logs: JSON lines with date, level, worker and shard."""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime
from pathlib import Path

from consumers.logs import logging_to
from consumers.shard.report import LogHandler, LogLine, parse
from consumers.worker.supervisor import Worker
from ingest.settings import Settings


def worker() -> Worker:
    made = Worker(
        Settings(), "000000000000", directory=Path(), environment={}, output=io.BytesIO(),
        release=lambda _: None,
    )  # fmt: skip
    made.worker_id = "w-1"
    return made


def test_a_line_of_a_child_becomes_a_json_line_with_date_level_worker_and_shard() -> None:
    file, shown = io.BytesIO(), list[str]()
    sent: list[bytes] = []
    child = LogHandler(sent.append)
    child.shard = "s-0"
    try:
        raise KeyError("nope")
    except KeyError as error:
        exc = (type(error), error, error.__traceback__)
    child.emit(logging.LogRecord("x", logging.ERROR, "", 0, "a %s failed", ("fold",), exc))
    with logging_to(file, shown.append):
        worker()._read(io.BytesIO(sent[0]))
    (line,) = [json.loads(one) for one in file.getvalue().splitlines()]
    assert datetime.fromisoformat(line.pop("at")).tzinfo is not None
    assert "Traceback" in line.pop("error")
    assert line == {
        "level": "error",
        "worker": "w-1",
        "shard": "s-0",
        "message": "a fold failed: KeyError('nope')",
    }
    assert shown == ["s-0: a fold failed: KeyError('nope')"]


def test_output_that_is_no_log_line_reaches_the_worker_s_output_as_it_is() -> None:
    made = worker()
    made._read(io.BytesIO(b"java says something\n"))
    assert made._output.getvalue() == b"java says something\n"  # type: ignore[attr-defined]


def test_nothing_is_logged_to_a_file_after_the_context_has_ended() -> None:
    file = io.BytesIO()
    with logging_to(file):
        logging.getLogger("consumers.worker.supervisor").info("inside")
    logging.getLogger("consumers.worker.supervisor").info("outside")
    assert b"inside" in file.getvalue()
    assert b"outside" not in file.getvalue()


def test_a_line_without_an_error_has_no_field_for_it() -> None:
    sent: list[bytes] = []
    LogHandler(sent.append).emit(logging.LogRecord("x", 20, "", 0, "hello", (), None))
    assert parse(sent[0].strip()) == LogLine("info", "", "hello")
