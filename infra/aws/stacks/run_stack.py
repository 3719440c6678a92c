"""The stack of a bounded run: deployed without protection, its leases prepared, its roles known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumers.kcl.first_leases import prepare_leases
from consumers.kcl.leases import release
from infra.aws.stacks.cloudformation import deploy, ensure_ttl
from infra.aws.stacks.templates import PARTS, deploy_part
from infra.target import Target

ROLES: Final = ("worker", "dashboard", "reader", "operator", "simulator", "redrive")


def deploy_for_run(
    target: Target, shards: int, *, interval: float = 2.0, **parameters: str
) -> dict[str, str]:
    """Deploy the pipeline, and alerts if they are on, so that it can be removed at once; the
    pipeline's outputs. ``parameters`` of its template win over those of a run.

    :raises DeployError: as :func:`infra.aws.stacks.cloudformation.deploy`.
    """
    settings = target.settings
    outputs = deploy(
        target.client("cloudformation"),
        settings.stack,
        {
            "ShardCount": str(shards),
            "DeletionProtection": "false",
            "WithSimulator": "true",
            "Acknowledge": str(settings.acknowledge).lower(),
            **parameters,
        },
        on_event=lambda _: None,
        interval=interval,
    )
    if settings.alerts:
        alerts = next(part for part in PARTS if part.name == "alerts")
        deploy_part(
            target.client("cloudformation"), alerts, settings.stack, outputs, {},
            on_event=lambda _: None, interval=interval,
        )  # fmt: skip
    dynamodb = target.client("dynamodb")
    for table in (settings.windows_table, settings.status_table):
        ensure_ttl(dynamodb, table)
    return outputs


def roles_in(outputs: Mapping[str, str]) -> dict[str, str]:
    """The ARNs of the roles that a stack has."""
    return {role: outputs[f"{role.capitalize()}RoleArn"] for role in ROLES}


def lease_shards(target: Target) -> None:
    """Give the stack's only worker its first leases, or back those that an earlier one holds: it
    may have been killed."""
    settings, dynamodb = target.settings, target.client("dynamodb")
    created = prepare_leases(
        dynamodb,
        target.client("kinesis"),
        stream=settings.stream,
        application=settings.application,
        position=settings.initial_position,
    )
    if not created:
        release(dynamodb, settings.application)
