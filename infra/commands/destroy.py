"""``penstock destroy``: delete the stack on AWS."""

from __future__ import annotations

import rich_click as click
from botocore.exceptions import BotoCoreError, ClientError

from infra.aws import cloudformation as stacks
from infra.aws import erase, templates
from infra.aws.following import DeployError
from infra.commands.stack_events import print_event
from infra.console import UserError, say
from infra.target import Target, find_target


@click.command()
@click.option(
    "--delete-data",
    is_flag=True,
    help="Delete the tables and the archive too. They stay otherwise.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")  # fmt: skip
def destroy(delete_data: bool, yes: bool) -> None:
    """Delete the stack on AWS. Its tables and its archive stay, unless asked for."""
    target = find_target(aws=True)
    stack = target.settings.stack
    where = f"account {target.account}, Region {target.settings.region}"
    what = f"stack {stack}{' AND ALL ITS DATA' if delete_data else ''} ({where})"
    if yes:
        say(f"deleting {what}")
    elif not click.confirm(f"Delete {what}?"):
        raise UserError("nothing was deleted")
    try:
        cfn = target.client("cloudformation")
        for part in templates.destroy_parts(cfn, stack, on_event=print_event):
            say(f"deleted stack {part}")
        found = stacks.destroy(cfn, stack, on_event=print_event)
        gone = list(_delete_data(target)) if delete_data else []
    except DeployError as error:
        raise UserError(str(error)) from None
    except (ClientError, BotoCoreError) as error:
        raise UserError(f"AWS refuses to delete {stack}: {error}") from None
    for thing in gone:
        say(f"deleted {thing}")
    say(f"deleted stack {stack}" if found else f"there is no stack {stack}")


def _delete_data(target: Target) -> list[str]:
    settings = target.settings
    return list(
        erase.delete_data(
            target.client("dynamodb"),
            target.client("s3"),
            tables=[settings.windows_table, settings.devices_table],
            prefix=settings.application,
            bucket=settings.bucket(target.account),
        )
    )
