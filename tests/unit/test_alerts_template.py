"""The alerts' template: the schema that it registers is that of the events."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

import msgspec
from cfnlint.decode import decode

from consumers.alerts.delivery import SOURCE
from infra.aws.stacks.template import TEMPLATE
from ingest.tables.alarms import Kind, Transition

RESOURCES: Final[dict[str, Any]] = decode(TEMPLATE.parent / "alerts.yaml")[0]["Resources"]
REGISTERED: Final[dict[str, Any]] = json.loads(
    RESOURCES["TransitionSchema"]["Properties"]["Content"]
)
DETAIL: Final[dict[str, Any]] = REGISTERED["properties"]["detail"]


def test_the_registered_schema_has_every_field_of_a_transition_with_its_type() -> None:
    fields = msgspec.json.schema(Transition)["$defs"]["Transition"]["properties"]
    assert {name: _types(one) for name, one in DETAIL["properties"].items()} == {
        name: _types(one) for name, one in fields.items()
    }
    assert DETAIL["required"] == list(Transition.__struct_fields__)  # none is left out of an event


def test_the_registered_schema_has_every_kind_and_the_source_of_an_event() -> None:
    kinds = set(get_args(Kind))
    assert set(DETAIL["properties"]["kind"]["enum"]) == kinds
    assert (
        REGISTERED["properties"]["detail-type"]["pattern"] == f"^Alarm ({'|'.join(sorted(kinds))})$"
    )
    assert REGISTERED["properties"]["source"]["enum"] == [SOURCE]


def _types(field: dict[str, Any]) -> set[str]:
    """The JSON types that a field may have."""
    if "anyOf" in field:
        return {one["type"] for one in field["anyOf"]}
    kind = field.get("type", "string")  # what has values is a text
    return set(kind) if isinstance(kind, list) else {kind}
