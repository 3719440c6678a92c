"""Remote configuration: how often and how a device reports, from its shadow ``penstock``.

``desired`` holds any of ``interval_s``, ``batch`` and ``age_s``. The device applies what is within
bounds and reports what it works by, all three, and under ``rejected`` what it did not take and
why, as a list of ``{"setting", "value", "reason"}``. It asks for the shadow after each connection
and hears of each change in between; it says nothing when there is nothing new to say, so a value
that stays rejected makes no endless conversation.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from ingest.message import MAX_READINGS
from ingest.topic import shadow_topic

VALUE_CHARACTERS: Final = 100
"""Of a rejected value that are reported."""


class Reporting(NamedTuple):
    """How a device reports: least seconds between two readings (0: as they come), most readings a
    message, and most seconds that a reading waits for its message to fill."""

    interval_s: float = 0.0
    batch: int = 20
    age_s: float = 1.0


BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "interval_s": (0, 86_400),
    "batch": (1, MAX_READINGS),
    "age_s": (0.01, 3600),
}
"""Least and greatest value of each setting, both included."""


class Rejected(NamedTuple):
    """A desired value that is not taken; ``value`` is its JSON, cut."""

    setting: str
    value: str
    reason: str


def fault(setting: str, value: Any) -> str | None:
    """Why a desired value cannot be taken; ``None`` when it can."""
    if setting not in BOUNDS:
        return f"there is no such setting; there are {', '.join(BOUNDS)}"
    least, most = BOUNDS[setting]
    whole = setting == "batch"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return f"must be {'an integer' if whole else 'a number'}"
    if not least <= value <= most:
        return f"must be {least:g} to {most:g}"
    return None


def apply(
    current: Reporting, desired: Mapping[str, Any]
) -> tuple[Reporting, Mapping[str, Rejected]]:
    """What to work by when these values are desired, and what of them is rejected, by name."""
    taken: dict[str, Any] = {}
    rejected: dict[str, Rejected] = {}
    for setting, value in desired.items():
        if (reason := fault(setting, value)) is None:
            taken[setting] = value
        else:
            text = json.dumps(value)[:VALUE_CHARACTERS]
            rejected[setting] = Rejected(setting, text, reason)
    return current._replace(**taken), rejected


def report(reporting: Reporting, rejected: Mapping[str, Rejected]) -> dict[str, Any]:
    """The shadow's ``reported`` state. A list, because a shadow replaces lists as a whole."""
    return {**reporting._asdict(), "rejected": [one._asdict() for one in rejected.values()]}


class _States(Struct):
    desired: dict[str, Any] | None = None
    reported: dict[str, Any] | None = None


class _Document(Struct):
    state: _States
    version: int = 0


class _Delta(Struct):
    state: dict[str, Any]
    version: int = 0


class _Error(Struct):
    code: int
    message: str = ""


class Subscribes(Protocol):
    """What is needed of a :class:`~devices.mqtt.connection.Connection`."""

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Hear a topic."""

    def after_connecting(self, greeting: Callable[[], Awaitable[None]]) -> None:
        """Be called after each connection."""

    def post(self, topic: str, payload: bytes) -> None:
        """Publish without waiting."""


class RemoteConfiguration:
    """Keeps a device and its shadow in agreement. All calls are the event loop's."""

    def __init__(
        self,
        device_id: str,
        reporting: Reporting,
        *,
        changed: Callable[[Reporting], None],
        complain: Callable[[str], None],
    ) -> None:
        """``changed`` hears what to work by from now on, and ``complain``, in a sentence, what was
        not taken."""
        self.reporting = reporting
        self.rejected: Mapping[str, Rejected] = {}
        self._device_id = device_id
        self._publish: Callable[[str, bytes], None]
        self._changed = changed
        self._complain = complain
        self._version = 0
        self._said: dict[str, Any] | None = None

    def attach(self, connection: Subscribes) -> None:
        """Hear the shadow by this connection instead of an earlier one, and ask for it each time
        that it opens."""
        self._publish = connection.post
        for call, handler in (
            ("get/accepted", self.on_document),
            ("get/rejected", self.on_error),
            ("update/delta", self.on_delta),
            ("update/rejected", self.on_error),
        ):
            connection.subscribe(shadow_topic(self._device_id, call), handler)

        async def ask() -> None:
            self._publish(shadow_topic(self._device_id, "get"), b"")

        connection.after_connecting(ask)

    def on_document(self, payload: bytes) -> None:
        """The whole shadow: its desired values stand for all that were heard before.

        :raises msgspec.MsgspecError: when it is no shadow document.
        """
        document = msgspec.json.decode(payload, type=_Document)
        self._version = document.version
        self._said = document.state.reported
        self._take(document.state.desired or {}, {})

    def on_delta(self, payload: bytes) -> None:
        """What is desired and not reported; an older one than the newest heard is skipped.

        :raises msgspec.MsgspecError: when it is no delta.
        """
        delta = msgspec.json.decode(payload, type=_Delta)
        if delta.version >= self._version:
            self._version = delta.version
            kept = {name: r for name, r in self.rejected.items() if name not in delta.state}
            self._take(delta.state, kept)

    def on_error(self, payload: bytes) -> None:
        """A call was rejected: there is no shadow yet, which the first report makes, or worse.

        :raises msgspec.MsgspecError: when it is no error of the shadow service.
        """
        error = msgspec.json.decode(payload, type=_Error)
        if error.code == 404:
            self._take({}, {})
        else:
            self._complain(f"the shadow refuses ({error.code}): {error.message}")

    def _take(self, desired: Mapping[str, Any], rejected: Mapping[str, Rejected]) -> None:
        reporting, faults = apply(self.reporting, desired)
        for one in faults.values():
            if self.rejected.get(one.setting) != one:
                self._complain(f"desired {one.setting} = {one.value} is not taken: {one.reason}")
        self.rejected = {**rejected, **faults}
        if reporting != self.reporting:
            self.reporting = reporting
            self._changed(reporting)
        state = report(reporting, self.rejected)
        if state != self._said:
            self._said = state
            document = json.dumps({"state": {"reported": state}}).encode()
            self._publish(shadow_topic(self._device_id, "update"), document)
