"""The lake as a part of a deployment: what it takes from others, and how its tasks are ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.aws.removal.catalog import database_exists, delete_database
from infra.aws.removal.lake_tasks import stop_lake_tasks
from infra.aws.stacks.templates import PARTS, Part, parameters
from infra.emulator.iam.catalog import glue_resource, levels

LAKE = next(part for part in PARTS if part.name == "lake")
OF_SERVICE: Mapping[str, str] = {
    output: f"the service's {output}" for output in LAKE.shares.values()
}


def test_the_lake_runs_in_the_network_of_the_service_when_there_is_one() -> None:
    found = parameters(LAKE, "plant-7", OF_SERVICE, {})
    assert found["Cluster"] == "the service's ClusterName"
    assert found["SubnetIds"] == "the service's SubnetIds"
    assert found["Image"] == "the service's Image"
    assert parameters(LAKE, "plant-7", {}, {}) == {"Pipeline": "plant-7"}


def test_what_the_user_gives_comes_before_what_follows_from_the_service() -> None:
    found = parameters(LAKE, "plant-7", OF_SERVICE, {"Cluster": "other"})
    assert found["Cluster"] == "other"


def test_what_a_part_must_take_from_the_pipeline_cannot_be_given() -> None:
    part = Part("service", {"WorkerRoleArn": "WorkerRoleArn"})
    found = parameters(part, "plant-7", {"WorkerRoleArn": "arn"}, {"WorkerRoleArn": "mine"})
    assert found["WorkerRoleArn"] == "arn"


class Cluster:
    """ECS with tasks of some families; ``stopped`` are the tasks that were stopped."""

    def __init__(self, tasks: Mapping[str, list[str]]) -> None:
        self._tasks = tasks
        self.stopped: list[str] = []
        self.awaited: list[str] = []

    def list_tasks(self, *, cluster: str, family: str) -> Any:
        assert cluster == "plant-7"
        return {"taskArns": self._tasks.get(family, [])}

    def stop_task(self, *, cluster: str, task: str, reason: str) -> None:
        assert (cluster, reason) == ("plant-7", "penstock destroy")
        self.stopped.append(task)

    def get_waiter(self, name: str, /) -> Any:
        assert name == "tasks_stopped"
        return self

    def wait(self, *, tasks: list[str], **_: Any) -> None:
        self.awaited = tasks


def test_runs_of_the_lake_are_stopped_and_awaited_and_those_of_others_are_not() -> None:
    cluster = Cluster({"plant-7-lake-sync": ["a"], "plant-7-lake-compact": ["b"], "other": ["c"]})
    assert stop_lake_tasks(cluster, "plant-7") == 2
    assert cluster.stopped == cluster.awaited == ["a", "b"]


def test_without_runs_nothing_is_awaited() -> None:
    cluster = Cluster({})
    assert stop_lake_tasks(cluster, "plant-7") == 0
    assert cluster.awaited == []


class Refusing:
    """A service that answers every call with one error."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": self._code}}, name)

        return call


def test_a_cluster_or_a_database_that_is_not_there_has_nothing_to_end() -> None:
    ecs: Any = Refusing("ClusterNotFoundException")
    glue: Any = Refusing("EntityNotFoundException")
    assert stop_lake_tasks(ecs, "plant-7") == 0
    assert not database_exists(glue, "plant_7_lake")
    assert not delete_database(glue, "plant_7_lake")


def test_another_refusal_is_passed_on() -> None:
    denied: Any = Refusing("AccessDeniedException")
    for call in (database_exists, delete_database, stop_lake_tasks):
        with pytest.raises(ClientError):
            call(denied, "plant-7")


@pytest.mark.parametrize(
    ("operation", "request_", "resource"),
    [
        ("GetTable", {"DatabaseName": "d", "Name": "t"}, "table/d/t"),
        ("CreateTable", {"DatabaseName": "d", "TableInput": {"Name": "t"}}, "table/d/t"),
        ("GetPartitions", {"DatabaseName": "d", "TableName": "t"}, "table/d/t"),
        ("GetTables", {"DatabaseName": "d"}, "table/d/*"),
        ("GetDatabase", {"Name": "d"}, "database/d"),
        ("CreateDatabase", {"DatabaseInput": {"Name": "d"}}, "database/d"),
        ("GetDatabases", {}, "catalog"),
    ],
)
def test_a_call_of_glue_is_about_its_table_or_its_database(
    operation: str, request_: dict[str, Any], resource: str
) -> None:
    found = glue_resource(operation, request_, "eu-west-1", "1")
    assert found == f"arn:aws:glue:eu-west-1:1:{resource}"


def test_glue_asks_for_the_right_on_every_level() -> None:
    prefix = "arn:aws:glue:eu-west-1:1:"
    asked = set(levels("glue:DeleteDatabase", f"{prefix}database/d"))
    assert asked == {
        f"{prefix}{one}"
        for one in ("database/d", "table/d/*", "userDefinedFunction/d/*", "catalog")
    }
    assert set(levels("s3:GetObject", "arn:aws:s3:::b/k")) == {"arn:aws:s3:::b/k"}
