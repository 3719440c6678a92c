"""``penstock rejects``: messages that did not reach the windows.

The subcommands that read the archive are imported when they are called: they need the packages of a
worker, which ``redrive-rule-errors`` does not.
"""

from __future__ import annotations

import importlib
from typing import Final

import rich_click as click
from botocore.exceptions import ClientError

from infra.aws.redrive import Counts, DeleteError, redrive
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target
from ingest.stream import PutError

_OF_THE_ARCHIVE: Final = {
    "list": ("infra.commands.rejects_found", "list_rejects"),
    "show": ("infra.commands.rejects_found", "show_reject"),
    "redrive": ("infra.commands.rejects_redrive", "redrive_rejects"),
}
"""Subcommand to its module and its name there."""


class RejectsGroup(click.RichGroup):
    """A group with subcommands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, without importing anything."""
        return [*_OF_THE_ARCHIVE, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand's module, if it is one of the archive."""
        if cmd_name not in _OF_THE_ARCHIVE:
            return super().get_command(ctx, cmd_name)
        module, name = _OF_THE_ARCHIVE[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=RejectsGroup)
def rejects() -> None:
    """Find, show and redrive what did not reach the windows."""


@rejects.command("redrive-rule-errors")
@json_option
@aws_option
def redrive_rule_errors(as_json: bool, aws: bool) -> None:
    """Put messages into the stream that the topic rule failed to put.

    The rule's error action keeps them in the queue <stack>-rule-errors, for 14 days. Each is put
    as the rule would have put it, and leaves the queue only when the stream has it, so the command
    can be stopped, repeated, and run several times at once: a reading counts once. What is in the
    queue and is no telemetry stays there, and the exit code is 1.
    """
    target = find_write_target("put messages into the stream", aws=aws)
    counts = _redrive(target)
    if as_json:
        print_json(
            {"redriven": counts.redriven, "left": [entry._asdict() for entry in counts.left]}
        )
    else:
        STDOUT.print(f"{counts.redriven} messages redriven", markup=False)
    for entry in counts.left[:10]:
        say(f"message {entry.message_id} stays in the queue: {entry.reason}")
    if counts.left:
        raise UserError(
            f"{len(counts.left)} messages in {target.settings.error_queue} are no telemetry: look "
            "at them there, and delete them if nobody needs them"
        )


def _redrive(target: Target) -> Counts:
    settings = target.settings
    sqs, done = target.client("sqs", "redrive"), 0

    def progress(count: int) -> None:
        nonlocal done
        done = count

    try:
        url = sqs.get_queue_url(QueueName=settings.error_queue)["QueueUrl"]
        with live(lambda: f"  … {done} messages redriven"):
            return redrive(
                sqs, url, target.client("kinesis", "redrive"), settings.stream, progress=progress
            )
    except (PutError, DeleteError) as error:
        raise UserError(f"{error} ({done} messages were redriven before)") from None
    except ClientError as error:
        raise UserError(f"AWS refuses after {done} messages: {error}") from None
