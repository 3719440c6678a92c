"""``penstock env``: what a program of one's own needs to read a deployment."""

from __future__ import annotations

import shlex
import sys
from typing import Any, Final

import rich_click as click
from botocore.exceptions import ClientError

from infra.commands.options import aws_option, json_option
from infra.console import UserError, print_json
from infra.runfile import running_stack
from infra.target import Target, find_target

READER: Final = "reader"
WATCHER: Final = "dashboard"
"""The role that may mark devices as watched too."""


@click.command()
@click.option("--watch", is_flag=True, help="Credentials that may mark devices as watched, too.")
@json_option
@aws_option
def env(watch: bool, as_json: bool, aws: bool) -> None:
    """Print environment variables to read a deployment with: `eval "$(penstock env)"`.

    Endpoint, Region, the names of tables, stream and bucket, the address of the read API when
    a local stack is up, and credentials of a role that may only read, for an hour. AWS tools
    and SDKs find the first ones by themselves; docs/own-programs.md has examples.
    """
    target = find_target(aws=aws)
    variables = environment_of(target, WATCHER if watch else READER)
    if as_json:
        print_json(variables)
        return
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    sys.stdout.write("\n".join(lines) + "\n")


def environment_of(target: Target, role: str = READER) -> dict[str, str]:
    """The variables, with new credentials of a role.

    :raises UserError: when the caller may not work as that role.
    """
    settings = target.settings
    stack = running_stack() if target.local else None
    keys = _credentials(target, role)
    found = {
        "AWS_ENDPOINT_URL": settings.endpoint_url or "",
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        "PENSTOCK_WINDOWS_TABLE": settings.windows_table,
        "PENSTOCK_DEVICES_TABLE": settings.devices_table,
        "PENSTOCK_STATUS_TABLE": settings.status_table,
        "PENSTOCK_STREAM": settings.stream,
        "PENSTOCK_BUCKET": settings.bucket(target.account),
        "PENSTOCK_API": stack.dashboard_url if stack else "",
    }
    return {name: value for name, value in found.items() if value}


def _credentials(target: Target, name: str) -> dict[str, Any]:
    if name not in target.roles:
        partition = "aws-cn" if target.settings.region.startswith("cn-") else "aws"
        role = f"role/{target.settings.role_name(name)}"
        target.roles[name] = f"arn:{partition}:iam::{target.account}:{role}"
    try:
        return target.assume_with_expiry(name)
    except ClientError as error:
        raise UserError(
            f"AWS does not let you work as {target.roles[name]} "
            f"({error.response['Error']['Code']}): deploy the stack again (`penstock deploy`), or "
            "get the right sts:AssumeRole"
        ) from None
