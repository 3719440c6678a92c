"""What happens to a device while it runs, as typed events.

``str(event)`` is a sentence for a person and ``event.level`` a level of :mod:`logging`. A program
receives them with ``Device.open(folder, on_event=…)``; by default they go to the logger
``devices``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from devices.reporting import Rejected, Reporting
from ingest.commands.command import Status

_LOGGER: Final = logging.getLogger("devices")


@dataclass(frozen=True, slots=True)
class Event:
    """Base class."""

    level: ClassVar[int] = logging.INFO


OnEvent = Callable[[Event], object]
"""Called on the device's own thread. It must not block; it may call the device's methods."""


def log_event(event: Event) -> None:
    """Log an event with the logger ``devices``."""
    _LOGGER.log(event.level, "%s", event)


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The broker accepted the device; ``count`` is 1 for the first connection of this run."""

    count: int

    def __str__(self) -> str:
        return "connected to the broker"


@dataclass(frozen=True, slots=True)
class Offline(Event):
    """Readings cannot be delivered. Repeated every 30 s while that lasts.

    ``seconds`` is how long nothing was delivered, ``waiting`` how many readings are in the spool.
    """

    level: ClassVar[int] = logging.WARNING

    reason: str
    seconds: float
    waiting: int

    def __str__(self) -> str:
        since = f" for {self.seconds:.0f} s" if self.seconds >= 1 else ""
        return f"offline{since}: {self.reason}; {self.waiting} readings wait in the spool"


@dataclass(frozen=True, slots=True)
class Acknowledged(Event):
    """The broker has these readings: ``seq`` to ``seq + readings - 1`` of ``boot``."""

    level: ClassVar[int] = logging.DEBUG

    boot: str
    seq: int
    readings: int

    def __str__(self) -> str:
        return f"the broker has {self.readings} readings from number {self.seq} on"


@dataclass(frozen=True, slots=True)
class Durable(Event):
    """The worker has these readings in the hot store and in the archive. ``ranges`` are sorted,
    disjoint, inclusive ranges of sequence numbers of ``boot``."""

    level: ClassVar[int] = logging.DEBUG

    boot: str
    ranges: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return "durable: " + ", ".join(f"{first}-{last}" for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class ReportingChanged(Event):
    """Remote configuration changed how this device reports."""

    reporting: Reporting

    def __str__(self) -> str:
        new = self.reporting
        return (
            f"remote configuration: interval {new.interval_s:g} s, batch {new.batch}, "
            f"age {new.age_s:g} s"
        )


@dataclass(frozen=True, slots=True)
class SettingRejected(Event):
    """Remote configuration desires a value that cannot be applied."""

    level: ClassVar[int] = logging.WARNING

    rejected: Rejected

    def __str__(self) -> str:
        one = self.rejected
        return f"desired {one.setting} = {one.value} is not applied: {one.reason}"


@dataclass(frozen=True, slots=True)
class ShadowRefused(Event):
    """The device shadow service refused a request; remote configuration does not work."""

    level: ClassVar[int] = logging.WARNING

    code: int
    message: str

    def __str__(self) -> str:
        return f"the shadow refuses ({self.code}): {self.message}"


@dataclass(frozen=True, slots=True)
class CommandEnded(Event):
    """A command that this run took up has ended; its answer is sent."""

    id: str
    name: str
    status: Status
    detail: str

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"command {self.name} ({self.id}) has {self.status}{detail}"


@dataclass(frozen=True, slots=True)
class ClockWrong(Event):
    """The device's clock differs from AWS IoT's by ``ahead_ms`` (negative: behind) or more.
    Readings that are too far ahead or too late are archived and not in any window."""

    level: ClassVar[int] = logging.WARNING

    ahead_ms: int

    def __str__(self) -> str:
        seconds = abs(self.ahead_ms) / 1000
        direction = "ahead of" if self.ahead_ms > 0 else "behind"
        return (
            f"this device's clock is {seconds:.0f} s {direction} AWS IoT's: readings may be "
            "rejected as too early or too late; set the clock"
        )


@dataclass(frozen=True, slots=True)
class CertificateExpiring(Event):
    """The device's certificate ends within 30 days, or has ended. Repeated daily."""

    level: ClassVar[int] = logging.WARNING

    device_id: str
    expires_at: datetime
    days: int
    """Whole days left; negative when it has ended."""

    def __str__(self) -> str:
        when = f"expires in {self.days} days" if self.days >= 0 else "has expired"
        return (
            f"the certificate of {self.device_id} {when} ({self.expires_at:%Y-%m-%d}): "
            f"`penstock device rotate {self.device_id}`"
        )


@dataclass(frozen=True, slots=True)
class SpoolReset(Event):
    """The spool was found damaged, copied or restored: new readings get a new ``boot``. Readings
    that were in a copied or restored spool keep their identity and are sent."""

    level: ClassVar[int] = logging.WARNING

    path: str
    reason: str

    def __str__(self) -> str:
        return f"the spool {self.path} {self.reason}"


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """Something that is retried or does without, such as a refused subscription."""

    level: ClassVar[int] = logging.ERROR

    error: BaseException

    def __str__(self) -> str:
        return str(self.error) or type(self.error).__name__
