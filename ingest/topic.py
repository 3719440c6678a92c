"""Topics, device names and the topic rule: the strings that devices and workers agree on.

``infra/templates/pipeline.yaml`` repeats the rule's SQL and partition key (a template
cannot import Python); a test holds the two together.
"""

from __future__ import annotations

import re
from typing import Final

STACK: Final = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
"""Name of a stack. It is a level of every topic, so that two stacks in one account never hear
each other."""

_RULE: Final = "_telemetry"

PARTITION_KEY: Final = "${topic(3)}"
"""One device, one shard: its readings arrive in order while the shard lives."""

DEVICE_ID: Final = re.compile(r"[A-Za-z0-9:_-]{1,128}", re.ASCII)
_TELEMETRY: Final = re.compile(
    rf"(?:\$aws/rules/[a-zA-Z0-9_]+/)?dt/{STACK.pattern}/(?P<device>{DEVICE_ID.pattern})/telemetry",
    re.ASCII,
)


def is_device_id(text: str) -> bool:
    """Whether this is an IoT thing name that can be a device id."""
    return DEVICE_ID.fullmatch(text) is not None


def check_device_id(text: str) -> str:
    """The same text, when it is a device id.

    :raises ValueError: with a sentence for the user when it is not.
    """
    if not is_device_id(text):
        raise ValueError(
            f"{text!r} is not a device name: use 1 to 128 letters, digits, ':', '_' or '-'"
        )
    return text


def rule_sql(stack: str) -> str:
    """What the rule sends on. The payload stays opaque: any bytes reach the stream, and no
    payload can overwrite the identity beside it or be mistaken for a KPL aggregate."""
    fields = "encode(*, 'base64') AS payload, topic(3) AS device_id, timestamp() AS received_at"
    return f"SELECT {fields} FROM 'dt/{stack}/+/telemetry'"  # noqa: S608 - a topic rule's own


def telemetry_topic(stack: str, device_id: str) -> str:
    """``dt/<stack>/<device_id>/telemetry``: where a device's telemetry belongs."""
    return f"dt/{stack}/{check_device_id(device_id)}/telemetry"


def device_of(topic: str) -> str | None:
    """The device that a telemetry topic of any stack belongs to, as the rule's ``topic(3)``;
    ``None`` when it is no telemetry topic. With or without the beginning that Basic Ingest has."""
    match = _TELEMETRY.fullmatch(topic)
    return match["device"] if match else None


def basic_ingest_topic(stack: str, device_id: str) -> str:
    """The same through Basic Ingest, straight to the stack's rule: no broker charge a message.

    >>> basic_ingest_topic("plant-7", "pump-1")
    '$aws/rules/plant_7_telemetry/dt/plant-7/pump-1/telemetry'
    """
    return f"$aws/rules/{rule_name(stack)}/{telemetry_topic(stack, device_id)}"


def presence_topic(stack: str, device_id: str) -> str:
    """``presence/<stack>/<device_id>``: where a device publishes that it is online, and
    its broker that it no longer is."""
    return f"presence/{stack}/{check_device_id(device_id)}"


def acknowledgement_topic(stack: str, device_id: str) -> str:
    """``ack/<stack>/<device_id>``: where a worker publishes which of the device's readings are
    durable."""
    return f"ack/{stack}/{check_device_id(device_id)}"


SHADOW: Final = "penstock"
"""The name of the device shadow that holds a device's remote configuration."""


def shadow_topic(device_id: str, call: str) -> str:
    """A topic of the device's shadow; ``call`` as ``update`` or ``get/accepted``."""
    return f"$aws/things/{check_device_id(device_id)}/shadow/name/{SHADOW}/{call}"


def rule_name(stack: str) -> str:
    """The stack's topic rule. IoT allows only letters, digits and '_' in it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", stack) + _RULE


def stack_of_rule(rule: str) -> str:
    """The stack whose topic rule this is: no stack's name has a '_'.

    >>> stack_of_rule("plant_7_telemetry")
    'plant-7'
    """
    return rule.removesuffix(_RULE).replace("_", "-")
