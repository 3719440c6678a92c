"""Asks AWS what :mod:`infra.aws.preflight.judge` needs to know. What cannot be asked is
:class:`~infra.aws.preflight.judge.Unknown`, with one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from infra.aws.deployer.policy import Document
from infra.aws.preflight.judge import Denied, Quotas, Unknown
from infra.target import Target

CONNECTS: Final = "Connect requests per second per account"
FARGATE_VCPUS: Final = "L-3032A538"
T = TypeVar("T")


class Caller(NamedTuple):
    """Who AWS says that this is, and how far this machine's clock is ahead (s)."""

    arn: str | Unknown
    account: str
    skew_s: float | Unknown


def ask_caller(sts: Any, now_s: Callable[[], float] = time.time) -> Caller:
    """STS answers everybody whose signature is good, and tells its time even when it is not."""
    sent = now_s()
    try:
        answer = sts.get_caller_identity()
    except ClientError as error:
        why = f"AWS refuses the signature ({error.response['Error']['Code']})"
        return Caller(Unknown(why), "", _skew(error.response, sent))
    except BotoCoreError as error:
        return Caller(Unknown(str(error)), "", Unknown("AWS was not reached"))
    return Caller(answer["Arn"], answer["Account"], _skew(answer, sent))


def _skew(answer: Mapping[str, Any], sent_s: float) -> float | Unknown:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date is None:
        return Unknown("the answer has no Date")
    return sent_s - parsedate_to_datetime(date).timestamp()


def ask_denied(iam: Any, arn: str, documents: Iterable[Document]) -> list[Denied] | Unknown:
    """Which rights of some policies a caller lacks, as ``iam:SimulatePrincipalPolicy`` says
    (https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html). It knows
    no service control policies of an organization."""
    try:
        principal = _principal(iam, arn)
        return [
            denied
            for document in documents
            for statement in document["Statement"]
            for denied in _denied(iam, principal, statement)
        ]
    except ClientError as error:
        return Unknown(f"{error.operation_name}: {error.response['Error']['Code']}")


def _principal(iam: Any, arn: str) -> str:
    """The role of a session: it alone can be simulated, and the session's ARN lacks its path."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    if kind != "assumed-role":
        return arn
    found: str = iam.get_role(RoleName=rest.partition("/")[0])["Role"]["Arn"]
    return found


def _denied(iam: Any, principal: str, statement: Mapping[str, Any]) -> Iterator[Denied]:
    resources = [one if one == "*" else one.replace("*", "x") for one in statement["Resource"]]
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal,
        ActionNames=statement["Action"],
        ResourceArns=resources,
        ContextEntries=list(_context(statement.get("Condition", {}))),
    )
    for page in pages:
        for one in page["EvaluationResults"]:
            if one["EvalDecision"] != "allowed":
                yield Denied(one["EvalActionName"], one.get("EvalResourceName", "*"))


def _context(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A context that meets a condition: its first value for each key."""
    for operator, tests in condition.items():
        kind = "stringList" if operator.startswith("ForAnyValue:") else "string"
        for key, wanted in tests.items():
            value = wanted[0] if isinstance(wanted, list) else wanted
            yield {
                "ContextKeyName": key,
                "ContextKeyValues": [value.replace("*", "x")],
                "ContextKeyType": kind,
            }


def count(documents: Iterable[Document]) -> int:
    """How many rights there are: actions times resources."""
    return sum(
        len(one["Action"]) * len(one["Resource"]) for doc in documents for one in doc["Statement"]
    )


def ask_quotas(target: Target) -> Quotas:
    """Each quota, from the service itself where it tells its use."""
    return Quotas(
        _known(lambda: _unreserved(target.client("lambda"))),
        _known(lambda: _shards_left(target.client("kinesis"))),
        _known(lambda: _table_write_units(target.client("dynamodb"))),
        _known(lambda: _connects(target.client("service-quotas"))),
        _known(lambda: _vcpus(target.client("service-quotas"))),
    )


def _known(ask: Callable[[], T]) -> T | Unknown:
    try:
        return ask()
    except ClientError as error:
        return Unknown(f"{error.operation_name}: {error.response['Error']['Code']}")
    except BotoCoreError as error:
        return Unknown(str(error))


def _unreserved(functions: Any) -> int:
    return int(functions.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"])


def _shards_left(kinesis: Any) -> int:
    limits = kinesis.describe_limits()
    return int(limits["ShardLimit"]) - int(limits["OpenShardCount"])


def _table_write_units(dynamodb: Any) -> int:
    return int(dynamodb.describe_limits()["TableMaxWriteCapacityUnits"])


def _connects(quotas: Any) -> int:
    for page in quotas.get_paginator("list_service_quotas").paginate(ServiceCode="iotcore"):
        for one in page["Quotas"]:
            if one["QuotaName"] == CONNECTS:
                return int(one["Value"])
    raise QuotaUnknownError(name=CONNECTS)


class QuotaUnknownError(BotoCoreError):
    """Service Quotas has no quota of a name."""

    fmt = 'Service Quotas has no "{name}" here'


def _vcpus(quotas: Any) -> float:
    answer = quotas.get_service_quota(ServiceCode="fargate", QuotaCode=FARGATE_VCPUS)
    return float(answer["Quota"]["Value"])


def ask_reserved(functions: Any, name: str) -> int:
    """Executions that are reserved for a function already; 0 when there is none, or none known."""
    try:
        answer = functions.get_function_concurrency(FunctionName=name)
    except ClientError:
        return 0
    return int(answer.get("ReservedConcurrentExecutions", 0))


def ask_regions(target: Target, names: Iterable[str]) -> dict[str, list[str]]:
    """The Regions of each service, by botocore's endpoint data; nothing is called."""
    session = target.session()
    try:
        partition = session.get_partition_for_region(target.settings.region)
    except BotoCoreError:  # a Region that it does not know
        return {}
    return {name: session.get_available_regions(name, partition) for name in names}
