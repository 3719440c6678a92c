"""How far a device's clock is from AWS IoT's. Pure: times come in as arguments.

Every answer of the device shadow service has a ``timestamp``: when AWS IoT made it, in whole
seconds since 1970 (https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-document.html).
The device requests its shadow after each connection anyway, so the comparison costs no message.
"""

from __future__ import annotations

from typing import Final

WARN_MS: Final = 5_000
"""Differences up to this are not reported."""


def difference_ms(timestamp_s: int, requested_ms: int, received_ms: int) -> int:
    """How far the device's clock is ahead of AWS IoT's (ms; negative: behind), at least.

    AWS IoT's clock was between ``timestamp_s`` and a second later at some moment between the
    request and the answer, by the device's clock. 0 when these intervals overlap.
    """
    earliest, latest = timestamp_s * 1000, (timestamp_s + 1) * 1000
    if requested_ms > latest:
        return requested_ms - latest
    if received_ms < earliest:
        return received_ms - earliest
    return 0
