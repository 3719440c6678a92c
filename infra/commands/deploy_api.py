"""What ``penstock deploy --api`` adds to the API's stack: the settings that the function needs, and
its package; then the page, when the stack is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import orjson

from infra.aws import api_package
from infra.aws.page import files, sign_in
from infra.aws.stacks.change_sets import previous_parameters
from infra.aws.stacks.following import stack_status
from infra.aws.stacks.stack_states import Step, next_step
from infra.target import Target


def api_parameters(target: Target, given: Mapping[str, str], *, upload: bool) -> dict[str, str]:
    """The parameters of ``api.yaml``; those that were given come first.

    :param upload: put the package into the archive's bucket, where CloudFormation gets it.
    :raises PackageError: when the package cannot be made.
    :raises SignInError: when a given issuer does not say where users sign in.
    """
    settings = target.settings
    bucket = settings.bucket(target.account)
    package = api_package.build("x86_64" if _architecture(target, given) == "x86_64" else "arm64")
    if upload:
        api_package.upload(target.client("s3"), bucket, package)
    return {
        "Tiers": orjson.dumps([dataclasses.asdict(tier) for tier in settings.tiers]).decode(),
        "Units": orjson.dumps(settings.units).decode(),
        "Alerts": str(settings.alerts).lower(),
        "CodeBucket": bucket,
        "CodeKey": package.key,
        "Runtime": package.runtime,
        **_origin(target, given),
        **given,
    }


def deploy_page(target: Target, outputs: Mapping[str, str]) -> files.Change:
    """Put the page where CloudFront gets it, with where its users sign in; what that changed.

    :param outputs: of the API's stack.
    :raises SignInError: when the issuer does not say that.
    """
    config = sign_in.config(_issuer(target, outputs), outputs)
    return files.upload(target.client("s3"), outputs["PageBucket"], files.page_files(config))


def _issuer(target: Target, outputs: Mapping[str, str]) -> sign_in.Document:
    if "ApiUserPool" in outputs:
        return sign_in.of_pool(target.settings.endpoint_url or outputs["ApiSignIn"])
    return sign_in.discover(outputs["ApiIssuer"])


def _origin(target: Target, given: Mapping[str, str]) -> dict[str, str]:
    """Where the page gets its tokens, when that is not the domain of a user pool on AWS."""
    if issuer := given.get("Issuer"):
        return {"SignInOrigin": sign_in.origin(sign_in.discover(issuer))}
    return {"SignInOrigin": url} if (url := target.settings.endpoint_url) else {}


def _architecture(target: Target, given: Mapping[str, str]) -> str:
    """As given now, or else at the last deployment."""
    cfn, stack = target.client("cloudformation"), f"{target.settings.stack}-api"
    if "Architecture" in given or next_step(stack_status(cfn, stack)) is not Step.UPDATE:
        return given.get("Architecture", "arm64")
    return previous_parameters(cfn, stack).get("Architecture", "arm64")
