"""Global secondary indexes take their time to be created.

Source: DynamoDB developer guide, "Managing Global Secondary Indexes": an index is ``CREATING``
while it is allocated and backfilled; only one can be created at a time. With KCL 3.1 on a small
lease table that took 5 to 20 minutes (awslabs/amazon-kinesis-client issue 1786).
"""

from __future__ import annotations

from typing import Any, Final

from infra.emulator.world import World

_READY_AT: Final = "_ready_at"  # of an index: seconds of the world's clock
_ONE_AT_A_TIME: Final = (
    "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per "
    "table"
)


def create_indexes_slowly(world: World, dynamodb: Any) -> None:
    """An index that ``UpdateTable`` adds is ``CREATING`` for the profile's ``index_s``."""
    update, describe = dynamodb._update_table, dynamodb._table_description

    def creating(table: Any) -> list[Any]:
        now = world.clock()
        indexes = table.get("GlobalSecondaryIndexes") or []
        for index in indexes:
            if index.get("IndexStatus") == "CREATING" and index.get(_READY_AT, 0.0) <= now:
                index["IndexStatus"] = "ACTIVE"
                index.pop(_READY_AT, None)
        return [index for index in indexes if index.get("IndexStatus") == "CREATING"]

    def update_table(data: dict[str, Any]) -> Any:
        wanted = {
            change["Create"].get("IndexName")
            for change in data.get("GlobalSecondaryIndexUpdates") or ()
            if "Create" in change
        }
        table = dynamodb._tables.get(dynamodb._normalize_table_name(data.get("TableName") or ""))
        if not wanted or not table or not world.profile.index_s:
            return update(data)
        if creating(table) or len(wanted) > 1:
            return dynamodb.error_response_json("LimitExceededException", _ONE_AT_A_TIME, 400)
        before = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes") or ()}
        answer = update(data)
        if answer[0] >= 400:
            return answer
        for index in table["GlobalSecondaryIndexes"]:
            if index["IndexName"] in wanted - before:
                index["IndexStatus"] = "CREATING"
                index[_READY_AT] = world.clock() + world.profile.index_s
        return dynamodb.json_response({"TableDescription": table_description(data["TableName"])})

    def table_description(name: str) -> Any:
        table = dynamodb._tables[dynamodb._normalize_table_name(name)]
        waiting = creating(table)
        description = describe(dynamodb._normalize_table_name(name))
        if waiting:
            description["TableStatus"] = "UPDATING"
            description["GlobalSecondaryIndexes"] = [
                {key: value for key, value in index.items() if key != _READY_AT}
                | ({"Backfilling": True} if index.get("IndexStatus") == "CREATING" else {})
                for index in description["GlobalSecondaryIndexes"]
            ]
        return description

    dynamodb._update_table = update_table
    dynamodb._table_description = table_description
