"""What ``penstock doctor --aws`` makes of AWS's answers, and what it asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.decode import decode

from infra.aws import api_package
from infra.aws.deployer.policy import Place, deployer_policies
from infra.aws.preflight import judge
from infra.aws.preflight.ask import ask_caller, ask_denied, count
from infra.aws.preflight.judge import Denied, Quotas, Unknown, Wanted
from infra.aws.stacks.template import TEMPLATE

ROLE = "arn:aws:iam::123456789012:role/teams/deployer"
SESSION = "arn:aws:sts::123456789012:assumed-role/deployer/me"
WANTED = Wanted(("service",), 10, 4, 4_000, 10.0)
ENOUGH = Quotas(1_000, 200, 40_000, 500, 100.0)
NOBODY = Unknown("ListServiceQuotas: AccessDeniedException")


@pytest.mark.parametrize(
    ("skew", "ok"), [(0.0, True), (240.0, True), (241.0, False), (-241.0, False)]
)
def test_a_clock_is_wrong_before_aws_refuses_its_signatures(skew: float, ok: bool) -> None:
    assert judge.clock(skew).ok is ok


def test_what_could_not_be_asked_is_neither_good_nor_bad_and_says_why() -> None:
    unknown = Quotas(NOBODY, NOBODY, NOBODY, NOBODY, NOBODY)
    checks = [
        judge.clock(NOBODY), judge.rights(NOBODY, 3), *judge.quotas(WANTED, unknown),
    ]  # fmt: skip
    assert {check.ok for check in checks} == {None}
    assert all(NOBODY.why in check.found for check in checks)


def test_enough_of_each_quota_is_good_and_too_little_of_one_is_named() -> None:
    assert all(check.ok for check in judge.quotas(WANTED, ENOUGH))

    def bad(**changes: Any) -> list[str]:
        return [c.name for c in judge.quotas(WANTED, ENOUGH._replace(**changes)) if not c.ok]

    assert bad(unreserved_executions=109) == ["Lambda concurrency"]
    assert bad(unreserved_executions=110) == []
    assert bad(shards_left=3) == ["Kinesis shards"]
    assert bad(table_write_units=3_999) == ["DynamoDB write units a table"]
    assert bad(vcpus=6.0) == ["Fargate vCPUs"]


def test_a_quota_of_nothing_that_is_wanted_does_not_matter() -> None:
    little = ENOUGH._replace(unreserved_executions=10, shards_left=0, vcpus=0.0)
    wanted = Wanted((), 0, 0, 4_000, 10.0)
    assert all(check.ok for check in judge.quotas(wanted, little))


def test_a_region_without_a_service_is_told_which() -> None:
    there = {name: ["eu-west-1"] for name in judge.SERVICES}
    assert judge.services("eu-west-1", there, ()).ok
    assert "no iot-data" in judge.services("eu-west-1", {**there, "iot-data": []}, ()).found
    assert "ecs" in judge.services("eu-west-1", there, ("service",)).found
    assert not judge.services("xx-none-1", {}, ()).ok


def test_the_accounts_root_is_no_identity_to_work_with() -> None:
    assert judge.identity(ROLE).ok
    assert not judge.identity("arn:aws:iam::123456789012:root").ok


class Iam:
    """Simulates a principal that lacks some rights; remembers what it was asked."""

    def __init__(self, *lacks: str, refuses: bool = False) -> None:
        self.lacks, self.refuses = lacks, refuses
        self.asked: list[dict[str, Any]] = []

    def get_role(self, *, RoleName: str) -> Any:
        assert RoleName == "deployer"
        return {"Role": {"Arn": ROLE}}

    def get_paginator(self, name: str) -> Iam:
        assert name == "simulate_principal_policy"
        return self

    def paginate(self, **asked: Any) -> Iterator[Any]:
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "SimulatePrincipalPolicy")
        self.asked.append(asked)
        for action in asked["ActionNames"]:
            decision = "implicitDeny" if action in self.lacks else "allowed"
            results = [
                {"EvalActionName": action, "EvalResourceName": arn, "EvalDecision": decision}
                for arn in asked["ResourceArns"]
            ]
            yield {"EvaluationResults": results}


DOCUMENTS = list(deployer_policies(Place("plant-7", "eu-west-1", "123456789012")).values())


def test_every_right_of_the_policies_is_simulated_for_the_role_of_a_session() -> None:
    iam = Iam()
    assert ask_denied(iam, SESSION, DOCUMENTS) == []
    assert {one["PolicySourceArn"] for one in iam.asked} == {ROLE}
    asked = sum(len(one["ActionNames"]) * len(one["ResourceArns"]) for one in iam.asked)
    assert asked == count(DOCUMENTS)
    assert judge.rights([], asked).ok


def test_a_right_under_a_condition_is_simulated_where_the_condition_is_met() -> None:
    iam = Iam()
    ask_denied(iam, ROLE, DOCUMENTS)
    (passing,) = [one for one in iam.asked if one["ActionNames"] == ["iam:PassRole"]]
    (entry,) = passing["ContextEntries"]
    assert entry["ContextKeyName"] == "iam:PassedToService"
    assert entry["ContextKeyValues"] == ["iot.amazonaws.com"]
    via = [
        entry["ContextKeyType"]
        for one in iam.asked
        for entry in one["ContextEntries"]
        if entry["ContextKeyName"] == "aws:CalledVia"
    ]
    assert via
    assert set(via) == {"stringList"}


def test_a_right_that_is_missing_is_named_with_its_resource() -> None:
    denied = ask_denied(Iam("kinesis:CreateStream"), SESSION, DOCUMENTS)
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/plant-7-telemetry"
    assert denied == [Denied("kinesis:CreateStream", arn)]
    assert f"kinesis:CreateStream on {arn}" in judge.rights(denied, 9).found


def test_who_may_not_simulate_is_told_so_and_what_to_compare() -> None:
    denied = ask_denied(Iam(refuses=True), SESSION, DOCUMENTS)
    check = judge.rights(denied, 9)
    assert check.ok is None
    assert "SimulatePrincipalPolicy: AccessDenied" in check.found
    assert "deploy --policy" in check.advice


class Sts:
    """Answers at a time of its own, or refuses."""

    def __init__(self, date: str, code: str = "") -> None:
        self.metadata = {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}
        self.code = code

    def get_caller_identity(self) -> Any:
        if self.code:
            refusal: Any = {"Error": {"Code": self.code}, **self.metadata}
            raise ClientError(refusal, "GetCallerIdentity")
        return {"Arn": ROLE, "Account": "123456789012", **self.metadata}


def test_the_clock_is_judged_even_when_aws_refuses_the_signature_for_it() -> None:
    epoch = "Thu, 01 Jan 1970 00:10:00 GMT"
    good = ask_caller(Sts(epoch), lambda: 601.0)
    assert (good.arn, good.skew_s) == (ROLE, 1.0)
    late = ask_caller(Sts(epoch, "SignatureDoesNotMatch"), lambda: 0.0)
    assert isinstance(late.arn, Unknown)
    assert not isinstance(late.skew_s, Unknown)
    assert judge.clock(late.skew_s).ok is False
    assert late.skew_s == -600.0


def test_the_package_of_the_api_is_for_a_python_that_lambda_has_and_gets_wheels() -> None:
    known = api_package.RUNTIMES
    declared = decode(TEMPLATE.parent / "api.yaml")[0]["Parameters"]["Runtime"]["AllowedValues"]
    assert list(known) == declared
    assert judge.package("python3.12", known, "uv").ok
    assert not judge.package("python3.12", known, None).ok
    old = judge.package("python3.9", known, "uv")
    assert not old.ok
    assert "python3.11 to python3.14" in old.advice


def test_the_api_wants_its_services() -> None:
    there = {name: ["eu-west-1"] for name in (*judge.SERVICES, "apigatewayv2")}
    assert "cognito-idp" in judge.services("eu-west-1", there, ["api"]).found
