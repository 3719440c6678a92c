"""The log of acts of a deployment, as the command line and the dashboard write it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from infra.console import UserError
from infra.target import Target
from ingest.acts.log import ActLog


def act_log(target: Target) -> ActLog:
    """The log of a deployment's acts, in its archive's bucket, written as the operator."""
    return ActLog(target.client("s3", "operator"), target.settings.bucket(target.account))


@contextmanager
def recorded(target: Target, what: str, details: Mapping[str, str]) -> Iterator[None]:
    """Record what a command does for the person who runs it.

    :raises UserError: when it cannot be recorded: nothing is done then. What the block raises goes
        on.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    log = act_log(target)
    try:
        key = log.begin(
            what, by=getpass.getuser(), verified=_caller(target), via="command line",
            details=details,
        )  # fmt: skip
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            "nothing was changed, because the act cannot be recorded in the bucket "
            f"{target.settings.bucket(target.account)}: {error}"
        ) from None
    with log.ending(key):
        yield


def _caller(target: Target) -> str:
    """Whom AWS knows the caller as; a local stack has one account and no people."""
    if target.local:
        return "local stack"
    return str(target.client("sts").get_caller_identity()["Arn"])
