"""What a person did to a deployment, and what came of it: the records of the log of acts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

PREFIX: Final = "acts/v1"

Via = Literal["command line", "dashboard"]


class Act(Struct, omit_defaults=True):
    """What somebody is about to do. ``by`` is who says so, ``verified`` by whom it was verified:
    a caller's ARN, or a principal of the dashboard with its role."""

    at: str
    by: str
    verified: str
    via: Via
    what: str
    details: dict[str, str] = {}


class Outcome(Struct, omit_defaults=True):
    """What came of an act."""

    at: str
    done: bool
    why: str = ""


def act_key(at_ms: int, token: str) -> str:
    """The beginning of an act's keys; they sort by time.

    >>> act_key(1795420800123, "9f2c61d0")
    'acts/v1/dt=2026-11-23/080000.123-9f2c61d0'
    """
    at = _utc(at_ms)
    return f"{PREFIX}/dt={at:%Y-%m-%d}/{at:%H%M%S}.{at_ms % 1000:03d}-{token}"


def time_of_act(at_ms: int) -> str:
    """A time as a record has it.

    >>> time_of_act(1795420800123)
    '2026-11-23T08:00:00.123Z'
    """
    return f"{_utc(at_ms):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
