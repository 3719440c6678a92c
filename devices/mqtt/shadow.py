"""Remote configuration: how a device reports, from its device shadow ``penstock``.

``desired`` holds any of ``interval_s``, ``batch`` and ``age_s``. The device applies what is within
bounds, and reports all three with the values that it did not apply under ``rejected``. It requests
the shadow after each connection and receives each change in between. It publishes a report only
when the report changed, so a value that stays rejected causes no loop.

Commands to the device are in the same shadow, beside these settings
(:mod:`ingest.commands.document`), and are handed on.

The answers to its requests also have AWS IoT's time: see :mod:`devices.mqtt.clock`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from devices.events import ClockWrong, OnEvent, ReportingChanged, SettingRejected, ShadowRefused
from devices.mqtt.clock import WARN_MS, difference_ms
from devices.reporting import Rejected, Reporting, apply, report
from ingest.commands.document import KEY, commands_of
from ingest.topic import shadow_topic


class _States(Struct):
    desired: dict[str, Any] | None = None
    reported: dict[str, Any] | None = None


class _Document(Struct):
    state: _States
    version: int = 0
    timestamp: int = 0


class _Delta(Struct):
    state: dict[str, Any]
    version: int = 0
    timestamp: int = 0


class _Error(Struct):
    code: int
    message: str = ""
    timestamp: int = 0


class ShadowConnection(Protocol):
    """What is needed of a :class:`~devices.mqtt.connection.Connection`."""

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Call ``handler`` with each message to a topic."""

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run ``callback`` after each connection."""

    def publish_nowait(self, topic: str, payload: bytes) -> None:
        """Publish without waiting."""


class Commands(Protocol):
    """What takes the commands: a :class:`~devices.commands.runner.CommandRunner`."""

    def on_document(
        self, waiting: Mapping[str, Any], reported: Mapping[str, Any], broker_ms: int
    ) -> None:
        """The shadow as a whole."""

    def on_delta(self, waiting: Mapping[str, Any], broker_ms: int) -> None:
        """Commands that wait, some of them new."""


class RemoteConfiguration:
    """Applies what a device's shadow desires and reports the result. Not thread-safe: every
    method runs on the event loop."""

    def __init__(
        self, device_id: str, reporting: Reporting, *, on_event: OnEvent, now_ms: Callable[[], int]
    ) -> None:
        """``on_event`` receives :class:`ReportingChanged`, :class:`SettingRejected`,
        :class:`ShadowRefused` and :class:`ClockWrong`. ``now_ms`` is the device's clock."""
        self.reporting = reporting
        self.commands: Commands | None = None
        """Takes the commands in the shadow; without it they are passed over."""
        self.rejected: Mapping[str, Rejected] = {}
        self._device_id = device_id
        self._publish: Callable[[str, bytes], None]
        self._on_event = on_event
        self._now_ms = now_ms
        self._requested_ms: int | None = None
        self._version = 0
        self._created = False
        self._reported: dict[str, Any] | None = None

    def attach(self, connection: ShadowConnection) -> None:
        """Use this connection from now on, and request the shadow each time that it opens."""
        self._publish = connection.publish_nowait
        for call, handler in (
            ("get/accepted", self.on_document),
            ("get/rejected", self.on_error),
            ("update/delta", self.on_delta),
            ("update/rejected", self.on_error),
        ):
            connection.subscribe(shadow_topic(self._device_id, call), handler)

        async def on_connect() -> None:
            self.request()

        connection.on_connect(on_connect)

    def request(self) -> None:
        """Request the whole shadow."""
        self._requested_ms = self._now_ms()
        self._publish(shadow_topic(self._device_id, "get"), b"")

    def publish(self, state: Mapping[str, Any]) -> None:
        """Publish a change of the shadow's state."""
        document = json.dumps({"state": state}).encode()
        self._publish(shadow_topic(self._device_id, "update"), document)

    def on_document(self, payload: bytes) -> None:
        """The whole shadow; its desired values replace all that were received before.

        :raises msgspec.MsgspecError: when this is no shadow document.
        """
        document = msgspec.json.decode(payload, type=_Document)
        self._compare_clocks(document.timestamp)
        self._version = document.version
        desired, reported = document.state.desired or {}, document.state.reported
        waiting, answered = commands_of(desired), commands_of(reported)
        self._reported = None if reported is None else _settings(reported)
        self._apply(_settings(desired), {})
        if self.commands is not None:
            self.commands.on_document(waiting, answered, document.timestamp * 1000)

    def on_delta(self, payload: bytes) -> None:
        """Desired values that differ from the reported ones. A delta that is older than the
        newest document or delta is ignored.

        :raises msgspec.MsgspecError: when this is no delta.
        """
        delta = msgspec.json.decode(payload, type=_Delta)
        if delta.version >= self._version:
            self._version = delta.version
            settings, waiting = _settings(delta.state), commands_of(delta.state)
            kept = {name: r for name, r in self.rejected.items() if name not in settings}
            self._apply(settings, kept)
            if waiting and self.commands is not None:
                self.commands.on_delta(waiting, delta.timestamp * 1000)

    def on_error(self, payload: bytes) -> None:
        """A request was rejected. 404 means that there is no shadow yet: the first report
        creates it.

        :raises msgspec.MsgspecError: when this is no error of the shadow service.
        """
        error = msgspec.json.decode(payload, type=_Error)
        if error.code == 404:
            again = self._requested_ms is not None and not error.timestamp and not self._created
            self._compare_clocks(error.timestamp)
            self._created = True
            self._apply({}, {})
            if self.commands is not None:
                self.commands.on_document({}, {}, error.timestamp * 1000)
            if again:  # an error need not have a timestamp; the new shadow has one
                self.request()
        else:
            self._on_event(ShadowRefused(error.code, error.message))

    def _compare_clocks(self, timestamp_s: int) -> None:
        requested_ms, self._requested_ms = self._requested_ms, None
        if not timestamp_s or requested_ms is None:
            return
        ahead_ms = difference_ms(timestamp_s, requested_ms, self._now_ms())
        if abs(ahead_ms) > WARN_MS:
            self._on_event(ClockWrong(ahead_ms))

    def _apply(self, desired: Mapping[str, Any], rejected: Mapping[str, Rejected]) -> None:
        reporting, faults = apply(self.reporting, desired)
        for one in faults.values():
            if self.rejected.get(one.setting) != one:
                self._on_event(SettingRejected(one))
        self.rejected = {**rejected, **faults}
        if reporting != self.reporting:
            self.reporting = reporting
            self._on_event(ReportingChanged(reporting))
        state = report(reporting, self.rejected)
        if state != self._reported:
            self._reported = state
            self.publish({"reported": state})


def _settings(half: Mapping[str, Any]) -> dict[str, Any]:
    """One half of a shadow without its commands."""
    return {name: value for name, value in half.items() if name != KEY}
