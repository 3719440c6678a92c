"""``penstock alert ack``, ``mute`` and ``unmute``: what a person does to an alarm. Each is a
transition too, recorded and delivered as the others are."""

from __future__ import annotations

import getpass

import rich_click as click

from infra.alarms import act_on_alarms
from infra.commands.options import Time, aws_option
from infra.commands.write_target import find_operator_target
from infra.console import UserError, say
from ingest.tables.alarms import DeviceAlarms, Kind, wall_ms
from ingest.times import show_time

HOUR_MS = 3_600_000

rule_argument = click.argument("rule")
device_argument = click.argument("device")
by_option = click.option("--by", default=None, help="Who does it.  [default: your user name]")


@click.command()
@rule_argument
@device_argument
@by_option
@aws_option
def ack_(rule: str, device: str, by: str | None, aws: bool) -> None:
    """Acknowledge the open alarm of a RULE and DEVICE: somebody takes care of it."""
    who = by or getpass.getuser()
    _act(rule, device, "acknowledged", who, 0, aws=aws)
    say(f"acknowledged by {who}: {rule} on {device}")


@click.command()
@rule_argument
@device_argument
@click.option(
    "--until",
    type=Time(),
    metavar="TIME",
    help="End of the last window of which nobody hears (ISO 8601).  [default: in an hour]",
)
@by_option
@aws_option
def mute_(rule: str, device: str, until: int | None, by: str | None, aws: bool) -> None:
    """Mute a RULE for a DEVICE: transitions are recorded, and nobody is notified."""
    end = until or wall_ms() + HOUR_MS
    _act(rule, device, "muted", by or getpass.getuser(), end, aws=aws)
    say(f"muted until {show_time(end)}: {rule} on {device}")


@click.command()
@rule_argument
@device_argument
@by_option
@aws_option
def unmute_(rule: str, device: str, by: str | None, aws: bool) -> None:
    """End the muting of a RULE for a DEVICE."""
    _act(rule, device, "unmuted", by or getpass.getuser(), 0, aws=aws)
    say(f"no longer muted: {rule} on {device}")


def _act(rule: str, device: str, kind: Kind, by: str, until: int, *, aws: bool) -> None:
    target = find_operator_target(f"change the alarm {rule} of {device}", aws=aws)

    now_ms = wall_ms()

    def act(alarms: DeviceAlarms) -> None:
        alarms.act(rule, kind, by, until, now_ms=now_ms)

    try:
        act_on_alarms(target, device, act)
    except LookupError as error:
        raise UserError(str(error)) from None
