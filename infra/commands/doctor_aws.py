"""``penstock doctor --aws``: whether a stack can be deployed with the caller's credentials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from infra.aws import api_package
from infra.aws.preflight import judge
from infra.aws.preflight.ask import (
    ask_caller,
    ask_denied,
    ask_quotas,
    ask_regions,
    ask_reserved,
    count,
)
from infra.aws.preflight.judge import Check, Unknown, Wanted
from infra.aws.stacks.names import refuse_names
from infra.commands.deploy_policy import policies_of
from infra.target import unidentified_target

_WRITE_UNITS: Final = 4_000
"""What a new table takes on demand."""
_VCPUS: Final = 10.0
"""The service's defaults: ten tasks at most, half a vCPU each, in two versions."""


def examine_aws(
    parts: Sequence[str], key: str | None, shards: int, hook_concurrency: int
) -> Iterator[Check]:
    """Run every check; nothing is changed. Without an identity only clock and services are."""
    target = unidentified_target()
    settings = target.settings
    if "api" in parts:
        yield judge.package(api_package.RUNTIME, api_package.RUNTIMES, api_package.installer())
    caller = ask_caller(target.client("sts"))
    yield judge.clock(caller.skew_s)
    names = {*judge.SERVICES, *(one for part in parts for one in judge.SERVICES_OF_PARTS[part])}
    yield judge.services(settings.region, ask_regions(target, names), parts)
    if isinstance(caller.arn, Unknown):
        yield Check(
            "identity", False, caller.arn.why, "configure AWS credentials, or name --profile"
        )
        return
    target.account = caller.account
    yield judge.identity(caller.arn)
    why = refuse_names(settings, target.account)
    yield Check("stack name", why is None, why or settings.stack, "choose a shorter one")
    documents = policies_of(target, parts, key).values()
    denied = ask_denied(target.client("iam"), caller.arn, documents)
    yield judge.rights(denied, count(documents))
    hook = f"{settings.stack}-provisioning-hook"
    reserved = ask_reserved(target.client("lambda"), hook)
    wanted = Wanted(parts, max(0, hook_concurrency - reserved), shards, _WRITE_UNITS, _VCPUS)
    yield from judge.quotas(wanted, ask_quotas(target))
