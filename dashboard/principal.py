"""Who asks: a name, the device groups that it may see, and a role. Pure.

A principal is made of verified claims: those of a JSON Web Token, or those that the scope of a
shared token stands for (:func:`scope_claims`). Claims that are missing give nothing: no group,
and the role of least rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Role = Literal["viewer", "operator", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may do what those before it may, and more: a viewer reads; an operator acts on alerts; an
admin does what concerns no single group."""

ALL_GROUPS: Final = "*"
"""In place of groups: every device. No device's group can be called so."""


@dataclass(frozen=True)
class Principal:
    """Who asks. ``groups`` is ``None`` when every device is seen; ``name`` is empty when nobody
    says it; ``until_s`` (s since the Unix epoch) is when what says so expires, if ever."""

    name: str = ""
    groups: frozenset[str] | None = None
    role: Role = "admin"
    until_s: float | None = None

    def sees(self, group: str) -> bool:
        """Whether devices of a group exist for it. Devices without a group are seen by those only
        who see everything."""
        return self.groups is None or (group != "" and group in self.groups)

    def may(self, role: Role) -> bool:
        """Whether it may do what needs this role."""
        return ROLES.index(self.role) >= ROLES.index(role)


EVERYTHING: Final = Principal()
"""Who sees and does everything."""


@dataclass(frozen=True)
class ClaimNames:
    """The names of the claims. The name is the first of ``names`` that is there; an address that
    the issuer says is not verified is no name."""

    groups: str = "custom:groups"
    roles: str = "cognito:groups"
    names: tuple[str, ...] = ("email", "cognito:username", "sub")


COGNITO: Final = ClaimNames()
"""The claims of an Amazon Cognito user pool's id tokens."""

SCOPE_CLAIMS: Final = ClaimNames("groups", "role", ("name",))
"""The claims that :func:`scope_claims` writes, and that a file of tokens has."""


def principal_of(claims: Mapping[str, Any], names: ClaimNames = COGNITO) -> Principal:
    """The principal of verified claims.

    Groups are a list, or a text with blanks between; ``*`` is all of them. A text in brackets is a
    list as API Gateway writes one. Who has no such claim sees nothing, an admin too: an access
    token has the roles of its person and may lack the groups that the id token names. Of several
    roles the one with most rights counts.

    >>> principal_of({"email": "kim@hall.example", "custom:groups": "hall-1 hall-2",
    ...               "cognito:groups": ["operator"]}).may("operator")
    True
    >>> principal_of({"sub": "someone"}).sees("hall-1")
    False
    """
    given = _words(claims.get(names.roles))
    role = max((one for one in ROLES if one in given), key=ROLES.index, default=ROLES[0])
    groups = frozenset(_words(claims.get(names.groups)))
    return Principal(
        name=_name(claims, names.names),
        groups=None if ALL_GROUPS in groups else groups,
        role=role,
        until_s=_time(claims.get("exp")),
    )


def scope_claims(text: str) -> dict[str, str]:
    """The claims of a shared token's scope, ``<role>:<groups with blanks between>``.

    :raises ValueError: with a sentence for the user, when it is none.

    >>> scope_claims("viewer:hall-1 hall-2")
    {'role': 'viewer', 'groups': 'hall-1 hall-2'}
    """
    role, colon, groups = text.partition(":")
    if role not in ROLES or not colon or not groups.strip():
        raise ValueError(
            f"{text!r} is no scope: write a role ({', '.join(ROLES)}), a colon and the groups with "
            f"blanks between, or {ALL_GROUPS} for all, as viewer:hall-1"
        )
    return {"role": role, "groups": groups.strip()}


def _words(claim: Any) -> list[str]:
    if isinstance(claim, str):
        text = claim.strip()
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        return text.split()
    if isinstance(claim, Iterable) and not isinstance(claim, Mapping | bytes):
        return [one for one in claim if isinstance(one, str)]
    return []


def _name(claims: Mapping[str, Any], names: Iterable[str]) -> str:
    for name in names:
        if name == "email" and str(claims.get("email_verified", "true")).lower() == "false":
            continue
        text = claims.get(name)
        if isinstance(text, str) and text:
            return "".join(one for one in text if one.isprintable())[:128]
    return ""


def _time(claim: Any) -> float | None:
    """``exp`` is a number; API Gateway hands it on as a text."""
    try:
        return float(claim)
    except (TypeError, ValueError):
        return None
