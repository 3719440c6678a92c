"""``penstock device command``: send a command to a device, list its commands, show one."""

from __future__ import annotations

import getpass
import json
import time
from typing import Any, Final

import rich_click as click
from rich.table import Table

from infra.commands.device_configure import check_exists
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target, find_target, refusals_as
from ingest.commands.command import (
    ENDED,
    LEAST_EXPIRES_S,
    MOST_EXPIRES_S,
    Known,
    Scalar,
    is_id,
    new_id,
)
from ingest.times import show_time
from ingest.topic import check_device_id

_LOOK_S: Final = 0.3


class Argument(click.ParamType[tuple[str, Scalar]]):
    """``NAME=VALUE``: a JSON number, ``true`` or ``false``, or else a text."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Scalar]:
        """:raises click.BadParameter: when there is no ``=``."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals:
            self.fail(f"{value!r} is no argument: write it as NAME=VALUE", param, ctx)
        try:
            found = json.loads(text)
        except ValueError:
            found = text
        return name, found if isinstance(found, bool | int | float) else text


@click.group("command")
def command_() -> None:
    """Send commands to devices, and see what became of them."""


@command_.command("send")
@click.argument("name")
@click.argument("command")
@click.option("--arg", "arguments", multiple=True, type=Argument(), help="An argument; repeatable.")
@click.option(
    "--expires-s",
    default=60.0,
    show_default=True,
    type=click.FloatRange(LEAST_EXPIRES_S, MOST_EXPIRES_S),
    help="Seconds after which the device must not begin it any more.",
)
@click.option(
    "--id",
    "id_",
    help="The command's id: sent again under the same one, it is the same command.  [default: new]",
)
@click.option(
    "--wait",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, MOST_EXPIRES_S),
    help="Seconds to wait for it to end.",
)
@json_option
@aws_option
def send(
    name: str,
    command: str,
    arguments: tuple[tuple[str, Scalar], ...],
    expires_s: float,
    id_: str | None,
    wait: float,
    as_json: bool,
    aws: bool,
) -> int:
    """Send COMMAND to the device NAME, and wait for it to end.

    A connected device does it at once, another one when it connects, unless the command has
    expired by then. The device does it once, however often it gets it. Exit code 1 when it
    ends otherwise than SUCCEEDED.
    """
    from ingest.commands.store import CommandBusyError, send_command

    _check_name(name)
    id_ = id_ or new_id()
    if not is_id(id_):
        raise UserError(f"{id_!r} is no command's id: use 8 to 36 letters, digits or '-'")
    target = find_operator_target(f"send the command {command} ({id_}) to device {name}", aws=aws)
    check_exists(target, name)
    shadows = target.client("iot-data", "operator")
    try:
        with refusals_as(f"AWS refuses the command to {name}"):
            known = send_command(
                shadows, name, id_, command, dict(arguments),
                expires_s=expires_s, by=getpass.getuser(),
            )  # fmt: skip
    except (ValueError, CommandBusyError) as error:
        raise UserError(str(error)) from None
    with live(lambda: f"  … waiting for {name} to do {command}"):
        known = _ended(shadows, name, known, time.monotonic() + wait)
    if as_json:
        print_json({"device": name, **row(known)})
    else:
        _say(name, known)
    return 1 if known.status in ENDED - {"SUCCEEDED"} else 0


@command_.command("list")
@click.argument("name")
@json_option
@aws_option
def list_(name: str, as_json: bool, aws: bool) -> None:
    """List the newest commands to the device NAME: those that wait, and the last that it answered.

    The log of acts has all that were sent.
    """
    rows = [row(one) for one in _known(_target(name, aws=aws), name)]
    if as_json:
        print_json(rows)
    elif rows:
        STDOUT.print(_table(rows))
    else:
        say(f"no command to {name} is known")


@command_.command("show")
@click.argument("name")
@click.argument("id_", metavar="ID")
@json_option
@aws_option
def show(name: str, id_: str, as_json: bool, aws: bool) -> None:
    """Show the command ID of the device NAME; the beginning of the ID is enough."""
    found = [one for one in _known(_target(name, aws=aws), name) if one.id.startswith(id_)]
    if len(found) != 1:
        many = f"{len(found)} commands to {name} begin with {id_}" if found else None
        raise UserError(
            f"{many or f'no command {id_} to {name} is known'}: "
            f"`penstock device command list {name}` shows those that are"
        )
    if as_json:
        print_json({"device": name, **row(found[0])})
        return
    for label, value in row(found[0]).items():
        shown = show_time(value) if label in ("at", "until", "changed") else value
        STDOUT.print(f"{label:8}  {_text(shown)}", markup=False)


def row(known: Known) -> dict[str, Any]:
    """A command as plain values; times in ms."""
    command = known.command
    return {
        "id": known.id, "name": command.name, "args": command.args, "status": known.status,
        "final": known.final, "detail": known.detail, "by": command.by, "at": command.at,
        "until": command.until, "changed": known.changed,
    }  # fmt: skip


def _check_name(name: str) -> None:
    try:
        check_device_id(name)
    except ValueError as error:
        raise UserError(str(error)) from None


def _target(name: str, *, aws: bool) -> Target:
    _check_name(name)
    target = find_target(aws=aws)
    check_exists(target, name)
    return target


def _known(target: Target, name: str) -> list[Known]:
    from ingest.commands.store import read_commands  # boto3 is no part of a device's installation

    with refusals_as(f"AWS refuses to show the commands of {name}"):
        return read_commands(target.client("iot-data", "operator"), name).known(_now_ms())


def _ended(shadows: Any, name: str, known: Known, deadline: float) -> Known:
    """The command once its status is final, or as it is when it is time."""
    from ingest.commands.store import read_commands

    while not known.final and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        known = read_commands(shadows, name).find(known.id, _now_ms()) or known
        if known.status == "TIMED_OUT":
            break
    return known


def _say(name: str, known: Known) -> None:
    detail = f": {known.detail}" if known.detail else ""
    STDOUT.print(f"{known.id}  {known.status}{detail}", markup=False)
    if known.status == "CREATED":
        say(
            f"{name} has not answered yet: is it connected? It may begin until "
            f"{show_time(known.command.until)}; `penstock device command show {name} {known.id}`"
        )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("id", "command", "status", "sent (UTC)", "by", "detail",
                  box=None, pad_edge=False)  # fmt: skip
    for one in rows:
        args = " ".join(f"{name}={_text(value)}" for name, value in one["args"].items())
        table.add_row(
            one["id"], f"{one['name']} {args}".strip(), one["status"], show_time(one["at"]),
            one["by"], one["detail"],
        )  # fmt: skip
    return table


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
