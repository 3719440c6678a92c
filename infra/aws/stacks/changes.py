"""What a change set would do, resource by resource, and what of it destroys something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

_OF_ANOTHER: Final = ("ResourceAttribute", "ResourceReference")
"""Sources of a change that follows from another resource's."""


class Change(NamedTuple):
    """One resource's change, in CloudFormation's words.

    ``action`` is ``Add``, ``Modify``, ``Remove``, ``Import`` or ``Dynamic``; ``replacement`` is
    ``True``, ``False`` or ``Conditional`` for a modification, else empty. ``destroys`` says whether
    what exists is, or may be, removed or replaced by a new one.
    """

    action: str
    resource: str
    type: str
    replacement: str
    destroys: bool

    def __str__(self) -> str:
        what = "remove" if self.action == "Remove" else "replace"
        return f"{what} {self.resource} ({self.type})"


def changes_of(described: Iterable[Mapping[str, Any]]) -> Sequence[Change]:
    """The changes of ``DescribeChangeSet``'s answer, those that destroy something first.

    CloudFormation marks as ``Conditional`` what refers to an attribute of any changed resource: its
    name may be another one afterwards. It is another one only where that resource is itself
    replaced ("ResourceChangeDetail",
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChangeDetail.html).
    """
    resources = [one for change in described if (one := change.get("ResourceChange"))]
    destroyed: set[str] = set()
    while True:
        more = {one["LogicalResourceId"] for one in resources if _destroys(one, destroyed)}
        if more == destroyed:
            break
        destroyed = more
    found = [
        Change(
            one["Action"],
            one["LogicalResourceId"],
            one["ResourceType"],
            one.get("Replacement", "") if one["Action"] == "Modify" else "",
            one["LogicalResourceId"] in destroyed,
        )
        for one in resources
    ]
    return sorted(found, key=lambda one: (not one.destroys, one.action, one.resource))


def _destroys(change: Mapping[str, Any], destroyed: set[str]) -> bool:
    """Whether a change destroys its resource, when these others are destroyed."""
    if change["Action"] != "Modify":
        return change["Action"] in ("Remove", "Dynamic")
    if change.get("Replacement") not in ("True", "Conditional"):
        return False
    causes = [
        detail
        for detail in change.get("Details", [])
        if detail.get("Target", {}).get("RequiresRecreation", "Never") != "Never"
    ]
    return not causes or any(_is_real(cause, destroyed) for cause in causes)


def _is_real(cause: Mapping[str, Any], destroyed: set[str]) -> bool:
    if cause.get("ChangeSource") not in _OF_ANOTHER:
        return True
    return str(cause.get("CausingEntity", "")).partition(".")[0] in destroyed
