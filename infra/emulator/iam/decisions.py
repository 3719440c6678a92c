"""Records which role called what, and whether it was allowed.

Switched on by the environment (``Emulator.start(record_decisions=True)``) and read at
``/_penstock/decisions``: a test compares the roles of the template with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

DECISIONS_VARIABLE: Final = "PENSTOCK_EMULATOR_DECISIONS"
DECISIONS_PATH: Final = "/_penstock/decisions"


class Decision(NamedTuple):
    """One kind of call: a role's name, an IAM action, the ARN of its resource or ``*``."""

    role: str
    action: str
    resource: str
    allowed: bool


class Decisions:
    """What was decided since the start, each kind of call once."""

    def __init__(self) -> None:
        self._seen: set[Decision] = set()

    def add(self, principal: str, action: str, resource: str, *, allowed: bool) -> None:
        """Record one. ``principal`` is the ARN of a role's session; others are left out.

        >>> decisions = Decisions()
        >>> arn = "arn:aws:sts::1:assumed-role/penstock-worker/it"
        >>> decisions.add(arn, "kinesis:GetRecords", "*", allowed=True)
        >>> decisions.document()
        [['penstock-worker', 'kinesis:GetRecords', '*', True]]
        """
        kind, _, rest = principal.rpartition(":")[2].partition("/")
        if kind == "assumed-role":
            self._seen.add(Decision(rest.partition("/")[0], action, resource, allowed))

    def document(self) -> list[list[Any]]:
        """All of them, sorted, for JSON."""
        return [list(decision) for decision in sorted(self._seen)]


def read_decisions(document: Iterable[list[Any]]) -> list[Decision]:
    """What :meth:`Decisions.document` made."""
    return [Decision(*fields) for fields in document]


def record_decisions(decisions: Decisions) -> None:
    """Record every decision of MiniStack's IAM about a role: on calls of its API, and on what a
    provisioning template's role does."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import get_account_id
    from ministack.services import iot

    enforce, provisioning = iam_evaluator.enforce, iot._provisioning_role_allows
    resolve, failure = iam_evaluator.resolve_principal, iam_evaluator.AuthError

    def recorded(
        access_key: str, action: str, service: str, region: str, resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        denied = enforce(access_key, action, service, region, resource_arn, service_context)
        principal = resolve(access_key or "", get_account_id())
        if not isinstance(principal, failure) and not isinstance(denied, failure):
            decisions.add(principal.arn, action, resource_arn, allowed=denied is None)
        return denied

    def provisioning_role_allows(role_arn: str, requests: list[tuple[str, str]]) -> bool:
        allowed = bool(provisioning(role_arn, requests))
        session = role_arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/IoT"
        for action, resource in requests:
            decisions.add(session, action, resource, allowed=allowed)
        return allowed

    iam_evaluator.enforce = recorded
    iot._provisioning_role_allows = provisioning_role_allows
