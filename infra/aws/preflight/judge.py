"""What AWS's answers say about whether a stack can be deployed and used. Pure: values in, checks
out. ``None`` stands for what could not be asked, with the reason in its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

CLOCK_S: Final = 240.0
"""AWS refuses a request whose time is five minutes off ("Elements of an AWS API request signature",
https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html); a minute is kept."""
UNRESERVED: Final = 100
"""Executions that Lambda keeps for functions without a reservation ("Configuring reserved
concurrency", https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html)."""
SERVICES: Final = (
    "cloudformation", "cloudwatch", "dynamodb", "iot", "iot-data", "kinesis", "lambda", "logs",
    "s3", "sqs", "sts",
)  # fmt: skip
SERVICES_OF_PARTS: Final = {
    "service": ("application-autoscaling", "ec2", "ecr", "ecs"),
    "lake": ("athena", "ecs", "glue", "scheduler"),
    "operations": ("events", "sns"),
    "api": ("apigatewayv2", "cognito-idp"),  # CloudFront is in no Region
}
_SHOWN: Final = 5


class Check(NamedTuple):
    """One finding; ``advice`` says how to correct it when it is not ``ok``, which is ``None`` where
    it could not be checked."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""


class Unknown(NamedTuple):
    """What could not be asked, and why: one sentence."""

    why: str


class Denied(NamedTuple):
    """A right that the caller lacks."""

    action: str
    resource: str


class Wanted(NamedTuple):
    """What a deployment asks of an account. ``hook_concurrency`` is what is not reserved yet;
    ``shards`` is 0 on demand; ``vcpus`` are those of all tasks at once, two versions side by
    side."""

    parts: Collection[str]
    hook_concurrency: int
    shards: int
    write_units: int
    vcpus: float


class Quotas(NamedTuple):
    """What the account has in the Region."""

    unreserved_executions: int | Unknown
    shards_left: int | Unknown
    table_write_units: int | Unknown
    connects_per_s: int | Unknown
    vcpus: float | Unknown


def identity(arn: str) -> Check:
    """Who calls. The root user of an account can be no principal of a role that others share."""
    is_root = arn.endswith(":root")
    return Check(
        "identity", not is_root, arn,
        "this is the account's root user: use a user or a role of its own",
    )  # fmt: skip


def rights(denied: Sequence[Denied] | Unknown, simulated: int) -> Check:
    """Whether the caller has the rights of ``penstock deploy --policy``."""
    name = "rights to deploy"
    if isinstance(denied, Unknown):
        return Check(name, None, f"not checked: {denied.why}",
                     "compare them with `penstock deploy --policy`")  # fmt: skip
    if not denied:
        return Check(name, True, f"all {simulated}, as IAM simulates them (without SCPs)")
    some = ", ".join(f"{one.action} on {one.resource}" for one in denied[:_SHOWN])
    more = f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else ""
    return Check(
        name, False, f"{len(denied)} of {simulated} are missing: {some}{more}",
        "attach what `penstock deploy --policy` prints",
    )  # fmt: skip


def services(
    region: str, available: Mapping[str, Collection[str]], parts: Collection[str]
) -> Check:
    """Whether the Region has every service; ``available`` are the Regions of each."""
    needed = [*SERVICES, *(one for part in sorted(parts) for one in SERVICES_OF_PARTS[part])]
    missing = sorted(one for one in needed if region not in available.get(one, ()))
    return Check(
        f"services in {region}", not missing,
        f"no {', '.join(missing)}" if missing else f"all {len(needed)}",
        "choose another Region with --region; a newer botocore may know this one",
    )  # fmt: skip


def clock(skew_s: float | Unknown) -> Check:
    """How far this machine's clock is ahead of AWS's (s)."""
    name = "clock"
    if isinstance(skew_s, Unknown):
        return Check(name, None, f"not checked: {skew_s.why}", "try again")
    found = f"{abs(skew_s):.0f} s {'ahead of' if skew_s >= 0 else 'behind'} AWS's"
    return Check(
        name, abs(skew_s) <= CLOCK_S, found,
        "set it by NTP: AWS refuses requests from five minutes off",
    )  # fmt: skip


def package(runtime: str, known: Collection[str], installer: str | None) -> Check:
    """Whether this machine can make the API's package: for its own Python, from wheels that uv or
    pip gets."""
    name = "package of the API"
    if runtime not in known:
        return Check(
            name, False, f"Lambda has no {runtime}",
            f"deploy with {min(known)} to {max(known)}",
        )  # fmt: skip
    found = f"for {runtime}, by {installer}" if installer else "neither uv nor pip is there"
    return Check(name, installer is not None, found, "install uv, as `pip install uv` does")


def quotas(wanted: Wanted, has: Quotas) -> Iterator[Check]:
    """Each quota that a deployment can meet."""
    yield _enough(
        "Lambda concurrency", wanted.hook_concurrency + UNRESERVED, has.unreserved_executions,
        f"{wanted.hook_concurrency} reserved for the provisioning hook, and {UNRESERVED} that "
        "Lambda keeps",
        "raise Lambda's quota \"Concurrent executions\", or deploy with --hook-concurrency 0",
        needed=wanted.hook_concurrency > 0,
    )  # fmt: skip
    yield _enough(
        "Kinesis shards", wanted.shards, has.shards_left, "of a new stream",
        'raise the quota "Shards per Region" of Kinesis Data Streams', needed=wanted.shards > 0,
    )  # fmt: skip
    yield _enough(
        "DynamoDB write units a table", wanted.write_units, has.table_write_units,
        "of the windows table", 'raise the quota "Table-level write throughput limit" of DynamoDB',
    )  # fmt: skip
    if "service" in wanted.parts:
        yield _enough(
            "Fargate vCPUs", wanted.vcpus, has.vcpus, "of all tasks, in two versions",
            'raise the quota "Fargate On-Demand vCPU resource count"',
        )  # fmt: skip
    yield _connects(has.connects_per_s)


def _enough(
    name: str, want: float, has: float | Unknown, what: str, advice: str, *, needed: bool = True
) -> Check:
    if not needed:
        return Check(name, True, "none is asked for")
    if isinstance(has, Unknown):
        return Check(name, None, f"not checked: {has.why}", f"look it up; {want:g} {what}")
    return Check(name, has >= want, f"{has:g} left, {want:g} wanted: {what}", advice)


def _connects(rate: int | Unknown) -> Check:
    """How fast a fleet comes back. No fleet is known here, so every rate is good enough."""
    name = "AWS IoT connects a second"
    if isinstance(rate, Unknown):
        return Check(name, None, f"not checked: {rate.why}", "look it up before a large fleet")
    return Check(name, True, f"{rate}: a fleet of 100,000 comes back within {100_000 / rate:.0f} s")
