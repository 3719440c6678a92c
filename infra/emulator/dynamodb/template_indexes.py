"""Indexes of tables that CloudFormation makes are described as DynamoDB describes them."""

from __future__ import annotations

from typing import Any


def describe_indexes_of_templates() -> None:
    """Give each index of a table its status and ARN; MiniStack does so only for ``CreateTable``,
    and the KCL takes an index without a status for one that is not there."""
    from ministack.services import dynamodb

    describe = dynamodb._table_description

    def table_description(name: str) -> Any:
        table = dynamodb._tables[name]
        for index in table.get("GlobalSecondaryIndexes") or ():
            index.setdefault("IndexStatus", "ACTIVE")
            index.setdefault("IndexArn", f"{table['TableArn']}/index/{index['IndexName']}")
        return describe(name)

    dynamodb._table_description = table_description
