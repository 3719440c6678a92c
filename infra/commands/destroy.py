"""``penstock destroy``: take a deployment out of an account, in an order that loses nothing."""

from __future__ import annotations

import rich_click as click
from botocore.exceptions import BotoCoreError, ClientError

from infra.aws.removal.destruction import AGAIN, delete_data_of, destroy_deployment
from infra.aws.removal.fleet import Fleet, find_fleet
from infra.aws.stacks.following import DeployError
from infra.commands.stack_events import print_event
from infra.console import UserError, say
from infra.target import Target, find_target


@click.command()
@click.option(
    "--delete-data",
    is_flag=True,
    help="Delete the tables, the archive and the logs too. They stay otherwise.",
)
@click.option(
    "--discard",
    is_flag=True,
    help="Lose records that are not archived, and messages whose rule failed.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")  # fmt: skip
def destroy(delete_data: bool, discard: bool, yes: bool) -> None:
    """Delete the stack on AWS. Its tables, archive and logs stay, unless asked for.

    First every certificate is made inactive, so that no device sends into nothing; then a running
    worker archives what is unread; then devices, claims and stack are deleted. AWS IoT keeps a
    thing type for five minutes after its deprecation, and this waits for them. It may be
    interrupted at any point: the next run goes on.
    """
    target = find_target(aws=True)
    try:
        fleet = find_fleet(target.client("iot"), target.settings)
        _confirm(target, fleet, delete_data, yes)
        destroy_deployment(target, fleet, discard=discard, on_event=print_event)
        if delete_data:
            delete_data_of(target)
    except DeployError as error:
        raise UserError(str(error)) from None
    except (ClientError, BotoCoreError) as error:
        raise UserError(
            f"AWS refuses to delete {target.settings.stack}: {error}; {AGAIN}"
        ) from None
    except KeyboardInterrupt:
        raise UserError(f"interrupted: {AGAIN}") from None


def _confirm(target: Target, fleet: Fleet, delete_data: bool, yes: bool) -> None:
    where = f"account {target.account}, Region {target.settings.region}"
    whose = f" with {fleet}" if fleet else ""
    data = " AND ALL ITS DATA" if delete_data else ""
    what = f"stack {target.settings.stack}{whose}{data} ({where})"
    if yes:
        say(f"deleting {what}")
    elif not click.confirm(f"Delete {what}?"):
        raise UserError("nothing was deleted")
