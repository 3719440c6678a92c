"""Who may use the services of the lake: Glue asks for a right on each level of its catalog, Athena
for one on the workgroup of a query, ECS knows the cluster of a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.emulator.process import Emulator
from infra.target import Target
from tests.integration.conftest import STACK, target_of

pytestmark = STACK
PREFIX = "arn:aws:glue:us-east-1:000000000000:"
Allow = Callable[..., Any]


@pytest.fixture
def target(emulator: Emulator) -> Iterator[Target]:
    found = target_of(emulator, "catalog")
    glue = found.client("glue")
    glue.create_database(DatabaseInput={"Name": "leveled"})
    glue.create_table(DatabaseName="leveled", TableInput={"Name": "t"})
    iam = found.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{found.account}:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = iam.create_role(RoleName="leveled", AssumeRolePolicyDocument=json.dumps(trust))
    found.roles["leveled"] = role["Role"]["Arn"]
    yield found
    iam.delete_role_policy(RoleName="leveled", PolicyName="p")
    iam.delete_role(RoleName="leveled")
    glue.delete_database(Name="leveled")


@pytest.fixture
def allow(target: Target) -> Allow:
    """Let the role do one thing on some resources, and nothing else."""

    def allow(action: str, resources: list[str], **condition: Any) -> Any:
        statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resources}
        if condition:
            statement["Condition"] = condition
        document = {"Version": "2012-10-17", "Statement": [statement]}
        target.client("iam").put_role_policy(
            RoleName="leveled", PolicyName="p", PolicyDocument=json.dumps(document)
        )
        return target.client(action.partition(":")[0], "leveled")

    return allow


def test_a_table_is_read_with_the_right_on_catalog_database_and_table_alike(allow: Allow) -> None:
    levels = [f"{PREFIX}{one}" for one in ("catalog", "database/leveled", "table/leveled/*")]
    wanted = {"DatabaseName": "leveled", "Name": "t"}
    assert allow("glue:GetTable", levels).get_table(**wanted)["Table"]["Name"] == "t"
    for missing in levels:
        glue = allow("glue:GetTable", [one for one in levels if one != missing])
        with pytest.raises(ClientError, match="AccessDenied"):
            glue.get_table(**wanted)


def test_a_query_is_looked_at_with_the_right_on_its_workgroup(target: Target, allow: Allow) -> None:
    athena = target.client("athena")
    started = athena.start_query_execution(
        QueryString="SELECT 1", WorkGroup="primary",
        ResultConfiguration={"OutputLocation": "s3://nowhere/"},
    )  # fmt: skip
    query = {"QueryExecutionId": started["QueryExecutionId"]}
    workgroup = "arn:aws:athena:us-east-1:000000000000:workgroup/"
    mine = allow("athena:GetQueryExecution", [f"{workgroup}primary"])
    assert mine.get_query_execution(**query)["QueryExecution"]["WorkGroup"] == "primary"
    other = allow("athena:GetQueryExecution", [f"{workgroup}other"])
    with pytest.raises(ClientError, match="AccessDenied"):
        other.get_query_execution(**query)


def test_tasks_are_listed_with_the_right_on_their_cluster(target: Target, allow: Allow) -> None:
    ecs = target.client("ecs")
    for name in ("mine", "other"):
        ecs.create_cluster(clusterName=name)
    cluster = {"ecs:cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/mine"}
    limited = allow("ecs:ListTasks", ["*"], ArnEquals=cluster)
    assert limited.list_tasks(cluster="mine", family="f")["taskArns"] == []
    with pytest.raises(ClientError, match="AccessDenied"):
        limited.list_tasks(cluster="other", family="f")
    for name in ("mine", "other"):
        ecs.delete_cluster(cluster=name)
