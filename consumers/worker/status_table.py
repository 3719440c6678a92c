"""Writes the worker's report for dashboards: one item in ``<stack>-status``, every few seconds.

The supervisor writes it, for all of its shards at once. :mod:`ingest.tables.status` has the item.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from consumers.worker.duty import on_duty
from consumers.worker.status import WorkerStatus
from ingest.tables import status as worker_report

log: Final = logging.getLogger(__name__)

REPORT_S: Final = 5.0
_RATES: Final = {"messages_per_s": "records", "readings_per_s": "durable"}


class Puts(Protocol):
    """The one call of DynamoDB that this module needs."""

    def put_item(self, **request: Any) -> Any:
        """As ``boto3``'s."""


def rates(before: dict[str, Any], now: dict[str, Any], seconds: float) -> dict[str, float]:
    """Messages and readings per second between two snapshots of a status, ``seconds`` apart."""
    return {
        name: round(max(0, now[count] - before[count]) / seconds, 1)
        for name, count in _RATES.items()
    }


@contextmanager
def reporting(
    client: Puts,
    table: str,
    status: WorkerStatus,
    every_s: float = REPORT_S,
) -> Iterator[None]:
    """Report while the body runs, and once more at its end."""
    worker = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

    def write_reports(ending: threading.Event) -> None:
        before, at = status.snapshot(), time.monotonic()
        failing = False
        over = False
        while not over:
            over = ending.wait(every_s)
            now, seconds = status.snapshot(), max(time.monotonic() - at, 0.001)
            report = {**now, **rates(before, now, seconds)}
            before, at = now, time.monotonic()
            try:
                client.put_item(
                    TableName=table,
                    Item=worker_report.write(worker, report, time.time_ns() // 1_000_000),
                )
                failing = False
            except (BotoCoreError, ClientError) as error:
                if not failing:
                    log.warning("the worker's status is not written: %s", error)
                failing = True

    with on_duty("reports", write_reports):
        yield
