"""The IAM policies that a deployer needs for one stack, and nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from infra.aws.deployer.rights import ALERTS, API, KEY, LAKE, OPERATIONS, PIPELINE, SERVICE, Grant

Document = dict[str, Any]
Statement = dict[str, Any]

LONGEST: Final = 6_144
"""Characters of a managed policy; white space does not count ("IAM and AWS STS quotas",
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html). Ten of them can be
attached to a user or role."""

_PARTS: Final = {
    "alerts": ALERTS, "api": API, "service": SERVICE, "lake": LAKE, "operations": OPERATIONS,
}  # fmt: skip


class Place(NamedTuple):
    """Where a stack is deployed."""

    stack: str
    region: str
    account: str
    partition: str = "aws"

    @property
    def names(self) -> Mapping[str, str]:
        """What :mod:`infra.aws.deployer.rights` fills in."""
        return {
            "stack": self.stack,
            "rule": self.stack.replace("-", "_"),
            "region": self.region,
            "account": self.account,
            "partition": self.partition,
        }


def deployer_policies(
    place: Place, parts: Iterable[str] = (), key: str | None = None
) -> dict[str, Document]:
    """The documents of managed policies, by name; as few as the limit allows.

    ``parts`` are ``alerts``, ``api``, ``service``, ``lake`` and ``operations``, ``key`` is the ARN
    of a KMS key of the customer's. Rights of :data:`infra.aws.deployer.rights.PIPELINE` are always
    granted.

    >>> list(deployer_policies(Place("plant-7", "eu-west-1", "123456789012")))
    ['plant-7-deployer-1', 'plant-7-deployer-2']
    """
    grants = [*PIPELINE, *(grant for part in sorted(parts) for grant in _PARTS[part])]
    names = {**place.names, "key": key or ""}
    statements = [_statement(grant, names) for grant in [*grants, *([KEY] if key else [])]]
    documents = list(_packed(statements))
    if len(documents) == 1:
        return {f"{place.stack}-deployer": documents[0]}
    return {f"{place.stack}-deployer-{i}": one for i, one in enumerate(documents, start=1)}


def length(document: Document) -> int:
    """Characters of a document, as IAM counts them."""
    return len(json.dumps(document, separators=(",", ":")))


def _statement(grant: Grant, names: Mapping[str, str]) -> Statement:
    statement: Statement = {
        "Sid": grant.sid,
        "Effect": "Allow",
        "Action": [f"{grant.service}:{action}" for action in grant.actions.split()],
        "Resource": [_arn(grant.service, one, names) for one in grant.resources],
    }
    if grant.condition:
        text = json.dumps(grant.condition)
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        statement["Condition"] = json.loads(text)
    return statement


def _arn(service: str, resource: str, names: Mapping[str, str]) -> str:
    if resource == "*" or resource.startswith(("arn:", "{key}")):
        return resource.format_map(names)
    return f"arn:{{partition}}:{service}:{{region}}:{{account}}:{resource}".format_map(names)


def _packed(statements: Sequence[Statement]) -> Iterator[Document]:
    """Fill one document after the other, each statement into the first that has room."""
    documents: list[Document] = []
    for statement in sorted(statements, key=lambda one: -len(json.dumps(one))):
        for document in documents:
            grown = {**document, "Statement": [*document["Statement"], statement]}
            if length(grown) <= LONGEST:
                document["Statement"].append(statement)
                break
        else:
            documents.append({"Version": "2012-10-17", "Statement": [statement]})
    yield from documents
