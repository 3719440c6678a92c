"""From verified claims, or a token's scope, to who asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.principal import (
    ROLES,
    SCOPE_CLAIMS,
    ClaimNames,
    Principal,
    Role,
    principal_of,
    scope_claims,
)


@pytest.mark.parametrize(
    ("claims", "groups", "role"),
    [
        ({}, frozenset(), "viewer"),
        ({"custom:groups": "hall-1"}, {"hall-1"}, "viewer"),
        ({"custom:groups": " hall-1  hall-2 "}, {"hall-1", "hall-2"}, "viewer"),
        ({"custom:groups": ["hall-1", "hall-2"]}, {"hall-1", "hall-2"}, "viewer"),
        ({"custom:groups": "[hall-1 hall-2]"}, {"hall-1", "hall-2"}, "viewer"),
        ({"custom:groups": "[[x]]"}, {"[x]"}, "viewer"),
        ({"custom:groups": "hall-1,hall-2"}, {"hall-1,hall-2"}, "viewer"),
        ({"custom:groups": "*"}, None, "viewer"),
        ({"custom:groups": "hall-1", "cognito:groups": ["operator"]}, {"hall-1"}, "operator"),
        ({"cognito:groups": "[viewer operator]"}, frozenset(), "operator"),
        ({"cognito:groups": ["admin"]}, frozenset(), "admin"),  # as an access token has it
        ({"custom:groups": "*", "cognito:groups": ["admin"]}, None, "admin"),
        ({"custom:groups": "hall-1", "cognito:groups": "admin"}, {"hall-1"}, "admin"),
        ({"cognito:groups": ["Admin", "administrator", "root"]}, frozenset(), "viewer"),
        ({"custom:groups": 7, "cognito:groups": {"admin": True}}, frozenset(), "viewer"),
        ({"custom:groups": [7, None, "hall-1"]}, {"hall-1"}, "viewer"),
        ({"custom:groups": "", "cognito:groups": "operator"}, frozenset(), "operator"),
    ],
)
def test_claims_give_groups_and_a_role_and_missing_ones_give_nothing(
    claims: dict[str, Any], groups: set[str] | None, role: Role
) -> None:
    found = principal_of(claims)
    assert (found.groups, found.role) == (groups, role)


_word = st.sampled_from(["hall-1", "hall-2", "admin", "operator", "*", "", " ", "[", "]", "[*]"])
_claim = st.one_of(
    st.none(), st.booleans(), st.integers(), _word,
    st.lists(st.one_of(_word, st.integers(), st.none(), st.lists(_word, max_size=2)), max_size=4),
    st.dictionaries(_word, _word, max_size=2),
)  # fmt: skip


@given(_claim, _claim)
def test_claims_of_any_shape_give_no_more_than_they_name(groups: object, roles: object) -> None:
    found = principal_of({"custom:groups": groups, "cognito:groups": roles})
    if found.groups is None:
        assert "*" in str(groups)
    else:
        assert all(one in str(groups) for one in found.groups)
    assert found.role == "viewer" or found.role in str(roles)


def test_a_group_that_nobody_named_and_a_device_without_one_are_seen_by_who_sees_all() -> None:
    some = Principal(groups=frozenset({"hall-1", ""}))
    assert [some.sees(one) for one in ("hall-1", "hall-2", "")] == [True, False, False]
    assert all(Principal().sees(one) for one in ("hall-1", ""))


def test_a_role_may_what_those_before_it_may() -> None:
    may = {role: [one for one in ROLES if Principal(role=role).may(one)] for role in ROLES}
    assert may == {
        "viewer": ["viewer"],
        "operator": ["viewer", "operator"],
        "admin": ["viewer", "operator", "admin"],
    }


def test_the_name_is_a_verified_address_else_the_one_that_nobody_chooses() -> None:
    claims = {"sub": "123", "email": "kim@hall.example", "cognito:username": "kim"}
    assert principal_of(claims).name == "kim@hall.example"
    assert principal_of({**claims, "email_verified": True}).name == "kim@hall.example"
    for unverified in (False, "false"):
        assert principal_of({**claims, "email_verified": unverified}).name == "kim"
    assert principal_of({"sub": "1\n2\x00" + "x" * 200}).name == "12" + "x" * 126


def test_the_names_of_the_claims_can_be_others() -> None:
    names = ClaimNames("tenant", "https://hall.example/role", ("upn",))
    claims = {"tenant": ["a"], "https://hall.example/role": "operator", "upn": "kim", "sub": "1"}
    found = principal_of(claims, names)
    assert found == Principal("kim", frozenset({"a"}), "operator")


def test_a_scope_gives_what_it_says_and_nothing_else_is_one() -> None:
    found = principal_of(scope_claims("operator:hall-1 hall-2"), SCOPE_CLAIMS)
    assert found == Principal("", frozenset({"hall-1", "hall-2"}), "operator")
    assert principal_of(scope_claims("viewer:*"), SCOPE_CLAIMS) == Principal("", None, "viewer")
    for wrong in ("", "viewer", "viewer:", "viewer: ", "root:*", "hall-1", ":hall-1"):
        with pytest.raises(ValueError, match="is no scope"):
            scope_claims(wrong)


@pytest.mark.parametrize(("exp", "until"), [(5, 5.0), ("5", 5.0), (None, None), ("x", None)])
def test_a_token_s_end_is_known_as_a_number_or_as_api_gateway_writes_it(
    exp: Any, until: float | None
) -> None:
    assert principal_of({"exp": exp}).until_s == until
