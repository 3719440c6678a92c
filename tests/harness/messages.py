"""Messages of a device without a spool."""

from __future__ import annotations

from devices.batch import Outgoing
from ingest.message import VERSION, Message, Reading, encode

BOOT = "test-boot"


def outgoing(seq: int, readings: int = 1) -> Outgoing:
    """A message of ``readings`` readings; reading *i* has the number and time ``seq + i``."""
    numbers = range(seq, seq + readings)
    found = [Reading(number, {"a": float(number)}) for number in numbers]
    return Outgoing(BOOT, seq, readings, encode(Message(VERSION, BOOT, seq, found)))
