"""Who may use the Glue Data Catalog and Athena.

Sources: Glue developer guide, "Specifying AWS Glue resource ARNs" (an operation on a table needs
the right on the catalog, the database and the table; on a database, on the catalog and the
database; to delete a database, on its tables and functions too); service authorization reference,
Athena (a query is used with the right on its workgroup). MiniStack asks for the right on one of
them, or on ``*``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

_DATABASES: Final = frozenset({"GetDatabase", "UpdateDatabase", "DeleteDatabase"})


def name_catalog_resources() -> None:
    """Let roles be limited to a database and its tables, and to a workgroup, as on AWS."""
    from ministack.core import iam_actions, iam_evaluator
    from ministack.services import athena

    original, enforce = iam_actions.extract_resource_arn, iam_evaluator.enforce
    _ = athena._executions.get_scoped

    def extract_resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, query_params: Any,
        region: str, account_id: str,
    ) -> str:  # fmt: skip
        found = original(service, method, path, headers, body, query_params, region, account_id)
        if service == "glue":
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            return glue_resource(operation, _json(body), region, account_id)
        query = _json(body).get("QueryExecutionId") if service == "athena" else None
        execution = query and athena._executions.get_scoped(account_id, region, query)
        if execution:
            return f"arn:aws:athena:{region}:{account_id}:workgroup/{execution['WorkGroup']}"
        return str(found)

    def enforced(
        access_key: str, action: str, service: str, region: str, resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        for resource in levels(action, resource_arn):
            denied = enforce(access_key, action, service, region, resource, service_context)
            if denied is not None:
                break
        return denied

    iam_actions.extract_resource_arn = extract_resource_arn
    iam_evaluator.enforce = enforced


def glue_resource(operation: str, request: dict[str, Any], region: str, account: str) -> str:
    """The ARN of what a call of Glue is about.

    >>> glue_resource("GetTable", {"DatabaseName": "d", "Name": "t"}, "eu-west-1", "1")
    'arn:aws:glue:eu-west-1:1:table/d/t'
    >>> glue_resource("GetDatabase", {"Name": "d"}, "eu-west-1", "1")
    'arn:aws:glue:eu-west-1:1:database/d'
    """
    prefix = f"arn:aws:glue:{region}:{account}:"
    given = request.get("DatabaseInput", {}).get("Name")
    if operation in _DATABASES:
        given = request.get("Name")
    database = request.get("DatabaseName") or given
    table = request.get("TableName") or request.get("TableInput", {}).get("Name")
    table = table or (request.get("Name") if "DatabaseName" in request else None)
    if database and (table or operation == "GetTables"):
        return f"{prefix}table/{database}/{table or '*'}"
    return f"{prefix}database/{database}" if database else f"{prefix}catalog"


def levels(action: str, resource: str) -> Iterator[str]:
    """Every resource on which a call needs its right.

    >>> list(levels("glue:GetTable", "arn:aws:glue:eu-west-1:1:table/d/t"))[1:]
    ['arn:aws:glue:eu-west-1:1:database/d', 'arn:aws:glue:eu-west-1:1:catalog']
    """
    yield resource
    if not action.startswith("glue:"):
        return
    prefix, _, rest = resource.rpartition(":")
    kind, _, name = rest.partition("/")
    if action == "glue:DeleteDatabase":
        yield f"{prefix}:table/{name}/*"
        yield f"{prefix}:userDefinedFunction/{name}/*"
    if kind == "table":
        yield f"{prefix}:database/{name.partition('/')[0]}"
    if kind != "catalog":
        yield f"{prefix}:catalog"


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
