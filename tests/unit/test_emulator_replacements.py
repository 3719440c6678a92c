"""What replaces a resource, in the embedded AWS and in the schemas of its type."""

from __future__ import annotations

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from ministack.services.cloudformation.provisioners import _REPLACING_PROPERTIES

from infra.emulator.cloudformation import CREATE_ONLY
from tests.harness.template import resources

TYPES = {body["Type"] for body in resources("penstock", "us-east-1", "1" * 12).values()}


def test_every_type_of_the_template_is_known() -> None:
    assert CREATE_ONLY.keys() | _REPLACING_PROPERTIES.keys() >= TYPES


@pytest.mark.parametrize("kind", sorted(CREATE_ONLY))
def test_a_change_replaces_what_the_schema_of_its_type_says(kind: str) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    create_only = {path.split("/")[2] for path in schema.get("createOnlyProperties", [])}
    assert set(CREATE_ONLY[kind]) == create_only
