"""``penstock rejects``: messages that did not reach the windows."""

from __future__ import annotations

import rich_click as click
from botocore.exceptions import ClientError

from infra.aws.redrive import Counts, DeleteError, redrive
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_write_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target
from ingest.stream import PutError


@click.group()
def rejects() -> None:
    """Handle messages that did not reach the windows."""


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
