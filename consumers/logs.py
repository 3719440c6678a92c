"""Log lines as JSON: one object a line, with the date, the level, the worker and the shard.

A shard's child logs to its stderr as :class:`consumers.shard.report.LogLine`; its supervisor logs
each of them again through the logger :data:`SHARDS`, so that one place decides where lines go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Final

import msgspec

ROOT: Final = "consumers"
"""The logger above all loggers of a worker."""
SHARDS: Final = "consumers.shard"
"""The logger of what children logged; ``shard`` is an attribute of its records."""

_encode: Final = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """``{"at": "2026-11-24T21:00:00.123Z", "level": "warning", "worker": …, "shard": …,
    "message": …}``; with ``error``, a traceback, where an exception was logged."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": iso_time(record.created),
            "level": record.levelname.lower(),
            "worker": getattr(record, "worker", ""),
            "shard": getattr(record, "shard", ""),
            "message": record.getMessage(),
        }
        if error := getattr(record, "error", ""):
            line["error"] = error
        elif record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _encode(line).decode()


class CallbackHandler(logging.Handler):
    """Passes each record to a function."""

    def __init__(self, on_record: Callable[[logging.LogRecord], object], level: int) -> None:
        super().__init__(level)
        self._on_record = on_record

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._on_record(record)
        except Exception:  # noqa: BLE001  # as every handler of logging does
            self.handleError(record)


def iso_time(seconds: float) -> str:
    """A time since the epoch (s) as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def logging_to(
    file: IO[bytes] | None = None, on_message: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Write the worker's log lines (level *info* and above) to a file as JSON, and pass those an
    operator must see (*warning* and above) to ``on_message`` as text, while the context lasts."""
    logger = logging.getLogger(ROOT)
    handlers: list[logging.Handler] = []
    if file is not None:
        formatter = JsonFormatter()

        def write(record: logging.LogRecord) -> None:
            file.write(formatter.format(record).encode() + b"\n")
            file.flush()

        handlers.append(CallbackHandler(write, logging.INFO))
    if on_message is not None:
        show = on_message
        handlers.append(CallbackHandler(lambda record: show(_text(record)), logging.WARNING))
    before = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        logger.setLevel(before)


def _text(record: logging.LogRecord) -> str:
    shard = getattr(record, "shard", "")
    return f"{shard}: {record.getMessage()}" if shard else record.getMessage()
