"""Queries in Athena, as a program makes them: start one, wait, read its rows."""

from __future__ import annotations

import time
from typing import Any


class QueryFailedError(Exception):
    """Athena could not answer; the text is its reason."""


def answer(athena: Any, sql: str, *, database: str, workgroup: str) -> list[dict[str, str | None]]:
    """The rows of a query's first page, by column; every value is a text, as Athena gives it."""
    query = athena.start_query_execution(
        QueryString=sql, WorkGroup=workgroup, QueryExecutionContext={"Database": database}
    )["QueryExecutionId"]
    deadline = time.monotonic() + 60
    while True:
        status = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
        if status["State"] not in ("QUEUED", "RUNNING"):
            break
        assert time.monotonic() < deadline, "the query does not end"
        time.sleep(0.05)
    if status["State"] != "SUCCEEDED":
        raise QueryFailedError(status.get("StateChangeReason", status["State"]))
    rows = athena.get_query_results(QueryExecutionId=query)["ResultSet"]["Rows"]
    names, *values = ([one.get("VarCharValue") for one in row["Data"]] for row in rows)
    return [dict(zip(names, row, strict=True)) for row in values]
