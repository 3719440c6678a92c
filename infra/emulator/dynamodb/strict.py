"""DynamoDB's limits, units and capacity, installed in the order in which they wrap each other."""

from __future__ import annotations

from infra.emulator.dynamodb.capacity import Capacities
from infra.emulator.dynamodb.indexes import create_indexes_slowly
from infra.emulator.dynamodb.partiql import limit_statements
from infra.emulator.dynamodb.reads import limit_and_meter_reads
from infra.emulator.dynamodb.replicas import Replicas
from infra.emulator.dynamodb.sizes import ItemSizes
from infra.emulator.dynamodb.writes import limit_and_meter_writes
from infra.emulator.world import World


def be_strict(world: World) -> None:
    """Refuse what DynamoDB refuses, count what it charges, take the time that it takes."""
    from ministack.services import dynamodb

    capacities, replicas = Capacities(world, dynamodb), Replicas(world)
    sizes = ItemSizes(dynamodb._item_size_bytes)
    limit_and_meter_writes(world, dynamodb, capacities, replicas, sizes)
    limit_and_meter_reads(world, dynamodb, capacities, replicas, sizes)
    limit_statements(dynamodb)
    create_indexes_slowly(world, dynamodb)
