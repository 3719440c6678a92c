"""What of a change set destroys something."""

from __future__ import annotations

from typing import Any

import pytest

from infra.aws.stacks.changes import changes_of


def modify(name: str, replacement: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {
        "ResourceChange": {
            "Action": "Modify",
            "LogicalResourceId": name,
            "ResourceType": "AWS::X::Y",
            "Replacement": replacement,
            "Details": list(details),
        }
    }


def detail(recreation: str, source: str = "DirectModification", cause: str = "") -> dict[str, Any]:
    target = {"Attribute": "Properties", "Name": "P", "RequiresRecreation": recreation}
    return {"Target": target, "ChangeSource": source, "CausingEntity": cause}


def destroyed(*changes: dict[str, Any]) -> set[str]:
    return {one.resource for one in changes_of(changes) if one.destroys}


TABLE = modify("Table", "False", detail("Never"))
NEW_ROLE = modify("Role", "True", detail("Always"))
HOOK = modify("Hook", "Conditional", detail("Always", "ResourceAttribute", "Table.Arn"))


def test_what_names_a_resource_that_is_only_modified_is_not_replaced() -> None:
    assert destroyed(TABLE, HOOK) == set()


def test_a_replacement_goes_on_through_what_names_it() -> None:
    user = modify("User", "Conditional", detail("Always", "ResourceAttribute", "Role.Arn"))
    users_user = modify("UsersUser", "Conditional", detail("Always", "ResourceReference", "User"))
    assert destroyed(users_user, TABLE, HOOK, user, NEW_ROLE) == {"Role", "User", "UsersUser"}


@pytest.mark.parametrize("recreation", ["Always", "Conditionally"])
def test_a_property_of_its_own_may_replace_a_resource(recreation: str) -> None:
    assert destroyed(modify("X", "Conditional", detail(recreation))) == {"X"}
    assert destroyed(modify("X", "Conditional")) == {"X"}


@pytest.mark.parametrize(
    ("action", "destroys"), [("Remove", True), ("Dynamic", True), ("Add", False), ("Import", False)]
)
def test_what_is_added_or_taken_over_destroys_nothing(action: str, destroys: bool) -> None:
    one = {"Action": action, "LogicalResourceId": "X", "ResourceType": "AWS::X::Y"}
    assert bool(destroyed({"ResourceChange": one})) is destroys
