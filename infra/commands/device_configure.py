"""``penstock device configure``: how often and how a device reports, through its shadow."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import rich_click as click
from rich.table import Table

from devices.errors import DeviceError
from devices.provisioning.things import own_thing_exists
from devices.reporting import BOUNDS, VALUE_CHARACTERS
from infra.commands.options import aws_option, json_option
from infra.commands.write_target import find_operator_target
from infra.console import STDOUT, UserError, live, print_json, say
from infra.target import Target, find_target
from ingest.commands.document import KEY
from ingest.message import MAX_READINGS
from ingest.topic import SHADOW, check_device_id

_LOOK_S: Final = 0.2


@click.command("configure")
@click.argument("name")
@click.option(
    "--interval-s",
    type=click.FloatRange(*BOUNDS["interval_s"]),
    help="Minimum seconds between two readings; 0 for no minimum.",
)
@click.option("--batch", type=click.IntRange(1, MAX_READINGS), help="Maximum readings a message.")
@click.option(
    "--age-s",
    type=click.FloatRange(*BOUNDS["age_s"]),
    help="Maximum seconds that a reading waits for its message to fill.",
)
@click.option(
    "--wait",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds to wait for the device to report the desired values.",
)
@json_option
@aws_option
def configure_(
    name: str,
    interval_s: float | None,
    batch: int | None,
    age_s: float | None,
    wait: float,
    as_json: bool,
    aws: bool,
) -> None:
    """Set how the device NAME reports, and show the desired and the reported settings.

    The values are written to its shadow `penstock`. A connected device applies them at once,
    another one when it connects. Without values, only shows both sides.
    """
    try:
        check_device_id(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    values = {"interval_s": interval_s, "batch": batch, "age_s": age_s}
    desired = {setting: value for setting, value in values.items() if value is not None}
    action = f"configure device {name}"
    target = find_operator_target(action, aws=aws) if desired else find_target(aws=aws)
    shadows = target.client("iot-data", "operator")
    check_exists(target, name)
    if desired:
        document = json.dumps({"state": {"desired": desired}}).encode()
        shadows.update_thing_shadow(thingName=name, shadowName=SHADOW, payload=document)
    with live(lambda: f"  … waiting for {name} to report"):
        state = _settled(shadows, name, time.monotonic() + (wait if desired else 0))
    if as_json:
        print_json({"device": name, **state})
        return
    _show(name, state)


def check_exists(target: Target, name: str) -> None:
    """A shadow can be written for a thing that does not exist, and for one of another stack.

    :raises UserError: when there is no such device.
    """
    try:
        exists = own_thing_exists(target.client("iot", "operator"), target.settings, name)
    except DeviceError as error:
        raise UserError(str(error)) from None
    if not exists:
        raise UserError(f"there is no device {name}: `penstock device list` shows those that are")


def _settled(shadows: Any, name: str, deadline: float) -> dict[str, Any]:
    """The shadow's state, once the device has answered to all that is desired or it is time."""
    while True:
        state = _state(shadows, name)
        if _answered(state) or time.monotonic() > deadline:
            return state
        time.sleep(_LOOK_S)


def _answered(state: dict[str, Any]) -> bool:
    desired, reported = state["desired"], state["reported"]
    rejected = {one["setting"]: one["value"] for one in reported.get("rejected", ())}
    return all(
        reported.get(setting) == value
        or rejected.get(setting) == json.dumps(value)[:VALUE_CHARACTERS]
        for setting, value in desired.items()
    )


def _state(shadows: Any, name: str) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    try:
        answer = shadows.get_thing_shadow(thingName=name, shadowName=SHADOW)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return {"desired": {}, "reported": {}}
        raise
    state = json.loads(answer["payload"].read())["state"]
    return {side: _settings(state.get(side, {})) for side in ("desired", "reported")}


def _settings(half: dict[str, Any]) -> dict[str, Any]:
    """One half without the commands that are in the same shadow."""
    return {name: value for name, value in half.items() if name != KEY}


def _show(name: str, state: dict[str, Any]) -> None:
    table = Table("setting", "desired", "reported")
    for setting in BOUNDS:
        sides = (state[side].get(setting) for side in ("desired", "reported"))
        table.add_row(setting, *("" if value is None else f"{value:g}" for value in sides))
    STDOUT.print(table)
    for one in state["reported"].get("rejected", ()):
        say(f"{name} does not take {one['setting']} = {one['value']}: {one['reason']}")
    if not state["reported"]:
        say(f"{name} has not reported yet: is it running?")
    elif not _answered(state):
        say(f"{name} has not reported what is desired yet: is it connected?")
