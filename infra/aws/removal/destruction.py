"""Takes a whole deployment out of an account, in an order that loses nothing, telling each step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from devices import identity
from infra.aws import api_package
from infra.aws.page.files import bucket_name
from infra.aws.removal import erase, thing_type
from infra.aws.removal.backlog import Backlog, living_workers, rule_errors, unread
from infra.aws.removal.catalog import delete_database
from infra.aws.removal.draining import await_archived, await_stopped
from infra.aws.removal.fleet import Fleet, cut_off, delete_fleet
from infra.aws.removal.lake_tasks import stop_lake_tasks
from infra.aws.removal.orphans import delete_orphans
from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks import templates
from infra.aws.stacks.following import OnEvent, stack_status
from infra.console import UserError, live, say
from infra.target import Target
from lake.catalog.config import namespace_of

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

AGAIN: Final = "run `penstock destroy` again, it goes on where it was"


def destroy_deployment(target: Target, fleet: Fleet, *, discard: bool, on_event: OnEvent) -> None:
    """Take a deployment away, in the order of ``penstock destroy``, telling each step; its tables
    and its archive stay. It may be repeated at any time, and goes on where it was.

    :raises DeployError: when something must be done first, or CloudFormation cannot delete it.
    :raises UserError: when messages of failed rules would be lost, and ``discard`` is not set.
    """
    settings = target.settings
    cfn, iot = target.client("cloudformation"), target.client("iot")
    exists = stack_status(cfn, settings.stack) not in (None, "DELETE_COMPLETE")
    if exists and not discard:
        _refuse_rule_errors(target)
    _cut_off(target, fleet)
    deprecated = thing_type.deprecate(iot, settings.thing_type)
    if exists and not discard:
        _drain(target)
        _refuse_rule_errors(target)
    _empty_page(target)
    for part in templates.destroy_parts(cfn, settings.stack, on_event=on_event):
        say(f"deleted stack {part.stack(settings.stack)}")  # with the service its workers stop
        if part.name == "api":
            erase.empty_bucket(
                target.client("s3"), settings.bucket(target.account), api_package.PREFIX
            )
        if part.name == "lake" and (ended := stop_lake_tasks(target.client("ecs"), settings.stack)):
            say(f"  {ended} runs of the lake are stopped")
    if exists:
        _await_stopped(target)
    _delete_fleet(target, fleet)
    if deprecated:
        _delete_thing_type(target)
    _deregister_consumers(target.client("kinesis"), settings.stream)
    found = stacks.destroy(cfn, settings.stack, on_event=on_event)
    say(f"deleted stack {settings.stack}" if found else f"there is no stack {settings.stack}")


def _empty_page(target: Target) -> None:
    """CloudFormation deletes no bucket that has something in it."""
    settings = target.settings
    if "api" in templates.deployed(target.client("cloudformation"), settings.stack):
        bucket = bucket_name(settings.stack, target.account, settings.region)
        erase.empty_bucket(target.client("s3"), bucket)


def _refuse_rule_errors(target: Target) -> None:
    """:raises UserError: when messages are in the queue of rule errors and nowhere else."""
    if count := rule_errors(target.client("sqs"), target.settings):
        raise UserError(
            f"{count} messages in the queue {target.settings.error_queue} are in no archive: "
            "`penstock rejects redrive-rule-errors --aws` puts them into the stream; or add "
            "--discard to lose them"
        )


def _cut_off(target: Target, fleet: Fleet) -> None:
    with _counted("certificates are inactive", len(fleet.claims) + len(fleet.devices)) as count:
        shared = cut_off(target.client("iot"), target.settings, fleet, count)
    for arn in shared:
        say(f"  {arn} has other policies too: it lost those of this stack, and stays")


def _drain(target: Target) -> None:
    settings = target.settings
    kinesis, dynamodb = target.client("kinesis"), target.client("dynamodb")
    told: list[Backlog] = []

    def line() -> str:
        return f"  … {told[-1]} are not archived yet" if told else "  … looking for unread records"

    with live(line):
        await_archived(
            lambda: unread(kinesis, dynamodb, settings),
            lambda: living_workers(dynamodb, settings),
            patience_s=settings.segment_age_s + 60,
            tell=told.append,
        )
    say("  every record is archived")


def _await_stopped(target: Target) -> None:
    dynamodb = target.client("dynamodb")
    told: list[Sequence[str]] = []

    def tell(running: Sequence[str]) -> None:
        if not told:
            say(f"  stop the worker now: {', '.join(running)}")
        told.append(running)

    with live(lambda: f"  … waiting for {', '.join(told[-1])} to stop" if told else "  …"):
        await_stopped(lambda: living_workers(dynamodb, target.settings), tell=tell)


def _delete_fleet(target: Target, fleet: Fleet) -> None:
    iot, shadows = target.client("iot"), target.client("iot-data")
    with _counted("devices are deleted", len(fleet.things)) as count:
        delete_fleet(iot, shadows, target.settings, fleet, count)
    if orphans := delete_orphans(iot, target.settings):
        say(f"  {orphans} certificates that were never used are deleted")
    kept = [name for name in fleet.things if identity.forget(target.settings.devices_dir / name)]
    if kept:
        say(
            f"  the folders of {len(kept)} devices stay in {target.settings.devices_dir}, with "
            "what they have not sent; `penstock device create NAME` uses one again"
        )


def _delete_thing_type(target: Target) -> None:
    name = target.settings.thing_type
    seconds = 0.0

    def left(about: float) -> None:
        nonlocal seconds
        seconds = about

    say(f"  AWS IoT deletes thing type {name} five minutes after its deprecation")
    with live(lambda: f"  … {seconds:.0f} s left; it may be interrupted, {AGAIN}"):
        thing_type.delete_when_due(target.client("iot"), name, left)


def _deregister_consumers(kinesis: KinesisClient, stream: str) -> None:
    """A stream with a consumer of enhanced fan-out is not deleted unless that is enforced."""
    try:
        arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"][
            "StreamARN"
        ]
    except kinesis.exceptions.ResourceNotFoundException:
        return
    for page in kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=arn):
        for consumer in page["Consumers"]:
            kinesis.deregister_stream_consumer(ConsumerARN=consumer["ConsumerARN"])


def delete_data_of(target: Target) -> None:
    """Delete what a destroyed deployment leaves: tables, archive, the lake's catalog, logs; telling
    each.

    :raises DeployError: when objects of the archive cannot be deleted.
    """
    settings = target.settings
    database = namespace_of(settings.stack)
    if delete_database(target.client("glue"), database):  # first: nobody writes tables then
        say(f"deleted database {database}")
    gone = erase.delete_data(
        target.client("dynamodb"),
        target.client("s3"),
        target.client("logs"),
        tables=[settings.windows_table, settings.devices_table, settings.status_table],
        prefix=settings.application,
        bucket=settings.bucket(target.account),
        log_groups=[settings.hook_log_group],
    )
    for thing in gone:
        say(f"deleted {thing}")


@contextlib.contextmanager
def _counted(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A live count of what is done, and a line when all of it is."""
    done = 0
    lock = threading.Lock()

    def count() -> None:
        nonlocal done
        with lock:
            done += 1

    with live(lambda: f"  … {done} of {total} {what}"):
        yield count
    if total:
        say(f"  {total} {what}")
