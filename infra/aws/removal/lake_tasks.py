"""Stops the lake's tasks that still run in the service's cluster when their schedules are gone.

ECS deletes no cluster in which tasks run, and those of a schedule belong to no service
(``DeleteCluster``: ``ClusterContainsTasksException``,
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html). A run that is
stopped loses nothing: see "What is exact, and why" in ``docs/lake.md``.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of

_FAMILIES: Final = ("lake-sync", "lake-compact", "lake-clean")
_WAIT: Final[Any] = {"Delay": 3, "MaxAttempts": 100}


class Tasks(Protocol):
    """The calls of ECS that this module needs."""

    def list_tasks(self, *, cluster: str, family: str) -> Any:
        """As ``boto3``'s."""

    def stop_task(self, *, cluster: str, task: str, reason: str) -> Any:
        """As ``boto3``'s."""

    def get_waiter(self, name: str, /) -> Any:
        """As ``boto3``'s."""


def stop_lake_tasks(ecs: Tasks, stack: str) -> int:
    """Stop the lake's tasks in the service's cluster, which is called after the stack, and wait
    until they have ended; how many there were."""
    try:
        running = [
            arn
            for family in _FAMILIES
            for arn in ecs.list_tasks(cluster=stack, family=f"{stack}-{family}")["taskArns"]
        ]
    except ClientError as error:
        if code_of(error) == "ClusterNotFoundException":
            return 0
        raise
    for arn in running:
        ecs.stop_task(cluster=stack, task=arn, reason="penstock destroy")
    if running:
        ecs.get_waiter("tasks_stopped").wait(cluster=stack, tasks=running, WaiterConfig=_WAIT)
    return len(running)
