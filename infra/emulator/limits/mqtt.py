"""What IoT Core takes from one MQTT connection, and how messages are metered.

Sources: AWS General Reference, "AWS IoT Core endpoints and quotas", message broker: a payload
has at most 128 KB; 100 publishes a second and connection, those beyond it are discarded; 512 KB
a second and connection, what exceeds it is delayed. That a discarded publish of QoS 1 gets no
PUBACK and that the connection stays: "tsnote-behavior-of-mqtt-messages-when-throttling-occurs-
in-aws-iot-core" (Classmethod). IoT Core pricing: messages, rules and actions in steps of 5 KB.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from infra.emulator.limits.bucket import TokenBucket

PAYLOAD_BYTES: Final = 128 * 1024
PUBLISHES: Final = 100
BYTES: Final = 512 * 1024
STEP: Final = 5 * 1024


class Fate(Enum):
    """What becomes of a publish."""

    TAKEN = "taken"
    DISCARDED = "discarded: no acknowledgement"
    TOO_LARGE = "too large: the connection ends"


class Connection:
    """The publishes of one connection."""

    def __init__(self, now: float) -> None:
        self._publishes = TokenBucket(PUBLISHES, PUBLISHES, now)
        self._level, self._at = 0.0, now

    def publish(self, payload: int, now: float) -> Fate:
        """A publish with a payload of so many bytes arrives."""
        if payload > PAYLOAD_BYTES:
            return Fate.TOO_LARGE
        return Fate.TAKEN if self._publishes.take(1, now) else Fate.DISCARDED

    def delay(self, size: int, now: float) -> float:
        """Seconds that ``size`` received bytes wait before they are processed: none as long as
        a second's bytes are not used up."""
        self._level = max(0.0, self._level - (now - self._at) * BYTES) + size
        self._at = now
        return max(0.0, self._level - BYTES) / BYTES


def payload_bytes(body: bytes, *, acknowledged: bool, properties: bool) -> int:
    """The payload's size in a PUBLISH packet without its fixed header. ``acknowledged`` is a QoS
    above 0, ``properties`` is MQTT 5. A packet that is cut short has none."""
    position = 2 + int.from_bytes(body[:2], "big") + (2 if acknowledged else 0)
    if properties:
        length, shift = 0, 0
        while position < len(body):
            byte = body[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        position += length
    return max(0, len(body) - position)


def steps(size: int) -> int:
    """What a message of ``size`` bytes is metered as: 5 KiB steps, at least one."""
    return max(1, -(-size // STEP))
