"""A device as an asyncio program uses it; :mod:`devices.device` is the same for any program."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from devices import identity as identities
from devices.batch import BatchLimits
from devices.certificate import expiry_warning
from devices.commands.runner import CommandRunner, Handler
from devices.events import (
    Durable,
    Event,
    Failed,
    OnEvent,
    ReportingChanged,
    ShadowRefused,
    log_event,
)
from devices.identity import Identity
from devices.mqtt.acknowledgements import subscribe_acknowledgements
from devices.mqtt.client_factory import TelemetryClientFactory
from devices.mqtt.connection import Connection
from devices.mqtt.presence import Presence
from devices.mqtt.shadow import RemoteConfiguration
from devices.mqtt.traces import PublishTraces, TraceOptions
from devices.pace import Pace
from devices.reporting import Reporting
from devices.spool.client import ClientFactory, SpooledClient
from devices.spool.send_queue import Order
from devices.spool.spool import Spool, SpoolLimits
from ingest.id_ranges import Range
from ingest.message import Content

_LOGGER: Final = logging.getLogger("devices")
_DAY_S: Final = 86_400.0
_AGAIN_S: Final = (30.0, 90.0)
"""After how long (s) the shadow is requested again when it refused what may have been an answer."""


class ReadingId(NamedTuple):
    """The identity of a reading, with its device's name."""

    boot: str
    seq: int


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """How a device works.

    ``reporting``: interval and batching, until remote configuration changes them. ``spool``: how
    much may wait. ``order``: what is sent first after an outage. ``content``: the encoding of
    messages. ``durable``: keep each reading until it is in the hot store and the archive; the
    deployment needs the setting ``acknowledge``. ``drain_s``: how long (s) closing waits for
    acknowledgements. ``traces``: which messages are traced; none without it.
    """

    reporting: Reporting = field(default_factory=Reporting)
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    order: Order = "oldest_first"
    content: Content = "json"
    durable: bool = False
    drain_s: float = 30.0
    traces: TraceOptions | None = None


class Broker(Protocol):
    """Makes the clients of a device; :class:`devices.testing.FakeBroker` is one for tests."""

    def clients(self, device: Identity) -> ClientFactory:
        """What makes this device's clients."""


class AsyncDevice:
    """A device with its spool, MQTT client, presence, remote configuration and expiry warnings.

    ::

        async with AsyncDevice.open("devices/pump-7") as device:
            device.add({"temperature": 21.5})
            await device.drain()

    An async context manager, used on one event loop. Leaving the block waits up to
    ``options.drain_s`` for acknowledgements; what is not acknowledged stays in the spool.
    """

    def __init__(
        self,
        identity: Identity,
        options: DeviceOptions | None = None,
        *,
        on_event: OnEvent = log_event,
        broker: Broker | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """``broker`` replaces the one that the identity names, ``now_ms`` the device's clock."""
        self.identity = identity
        self.options = options or DeviceOptions()
        self._user_on_event = on_event
        self._broker = broker
        self._now_ms = now_ms or _now_ms
        self._pace = Pace(self.options.reporting.interval_s)
        self._traces: PublishTraces | None = None
        self._remote: RemoteConfiguration
        self._commands: CommandRunner
        self._spool: Spool
        self._resumed = 0
        self._client: SpooledClient
        self._checking: asyncio.Task[None]

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        options: DeviceOptions | None = None,
        *,
        on_event: OnEvent = log_event,
        broker: Broker | None = None,
    ) -> AsyncDevice:
        """The device whose certificate, key and ``device.json`` are in ``folder``.

        :raises IdentityError: when a file is missing or damaged.
        """
        identity = identities.read(Path(folder))
        return cls(identity, options, on_event=on_event, broker=broker)

    async def __aenter__(self) -> AsyncDevice:
        """Open the spool and start to connect; does not wait for a network.

        :raises SpoolBusyError: when another process runs this device.
        :raises SpoolFullError: when the disk has no room to open the spool.
        """
        options = self.options
        self._spool = Spool(
            self.identity.folder, now=self._now_ms, limits=options.spool, on_event=self._on_event
        )
        self._resumed = len(self._spool)
        try:
            if options.traces is not None:
                self._traces = PublishTraces(options.traces, self.identity.device_id)
            self._remote = RemoteConfiguration(
                self.identity.device_id,
                options.reporting,
                on_event=self._on_remote_event,
                now_ms=self._now_ms,
            )
            self._commands = self._remote.commands = CommandRunner(
                self.identity.folder,
                publish=self._remote.publish,
                now_ms=self._now_ms,
                on_event=self._on_event,
            )
            self._client = SpooledClient(
                self.identity,
                self._spool,
                limits=_limits(options.reporting),
                order=options.order,
                durable=options.durable,
                on_event=self._on_event,
                client=self._client_factory(),
                content=options.content,
                traces=self._traces,
            )
        except BaseException:
            self._spool.close()
            raise
        self._client.start()
        self._checking = asyncio.create_task(self._check_daily())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.close(self.options.drain_s if kind is None else 0.0)

    async def close(self, drain_s: float | None = None) -> int:
        """Let a command that is being done come to its end, wait up to ``drain_s`` (by default as
        in the options) for acknowledgements, then disconnect; how many readings wait in the spool
        for the next run."""
        self._checking.cancel()
        await asyncio.gather(self._checking, return_exceptions=True)
        try:
            await self._commands.close()
        finally:
            waiting = await self._close_client(self.options.drain_s if drain_s is None else drain_s)
        return waiting

    async def _close_client(self, drain_s: float) -> int:
        try:
            return await self._client.close(drain_s)
        finally:
            self._spool.close()
            if self._traces is not None:
                await asyncio.to_thread(self._traces.close)

    @property
    def waiting(self) -> int:
        """Readings in the spool: stored, and not acknowledged."""
        return len(self._spool)

    @property
    def resumed(self) -> int:
        """Readings of earlier runs that were in the spool when it was opened."""
        return self._resumed

    @property
    def dropped(self) -> int:
        """Readings that a full spool dropped, with ``when_full="drop_oldest"``."""
        return self._spool.dropped

    @property
    def reporting(self) -> Reporting:
        """How the device reports now."""
        return self._remote.reporting

    def add(self, metrics: Mapping[str, float | bool], *, ts: int | None = None) -> ReadingId:
        """Store a reading; it is on the disk on return, and is sent in the background.

        ``metrics``: 1 to 64 names (``[a-z][a-z0-9_]*``) with finite numbers or booleans. ``ts``:
        event time (ms since 1970); now when it is not given.

        :raises ValueError: when the reading breaks the contract.
        :raises SpoolFullError: when the spool or the disk is full; the reading is not stored.
        """
        self._client.add(self._now_ms() if ts is None else ts, metrics)
        return ReadingId(self._spool.boot, self._spool.seq - 1)

    def flush(self) -> None:
        """Send what waits for its message to fill."""
        self._client.flush()

    async def drain(self, timeout_s: float | None = None) -> int:
        """Wait until everything stored so far is acknowledged, up to ``timeout_s``; how many
        readings still wait."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.drained()
        except TimeoutError:
            pass
        return self.waiting

    def on_command(self, handler: Handler) -> Handler:
        """Do the commands that are sent to this device with ``handler``; returned, so that it can
        decorate a function.

        ::

            @device.on_command
            def obey(command: Command) -> str:
                if command.name != "open-valve":
                    raise CommandRejectedError(f"a pump knows no {command.name}")
                return f"open by {valve.open(command.args['percent'])} %"

        It is called once for each command, one after the other, on a thread (a coroutine function
        on the event loop). What it returns is reported; what it raises makes the command
        ``FAILED``, and :class:`~devices.errors.CommandRejectedError` makes it ``REJECTED``. Until
        there is a handler, commands wait.
        """
        self._commands.on_command(handler)
        return handler

    async def wait_interval(self) -> None:
        """Return when ``reporting.interval_s`` has passed since the last return. A change by
        remote configuration applies at once, also while this waits."""
        await self._pace.turn()

    # -- wiring ----------------------------------------------------------------------------

    def _client_factory(self) -> ClientFactory:
        if self._broker is not None:
            return self._broker.clients(self.identity)
        presence = Presence(self.identity.config)
        factory = TelemetryClientFactory(will=presence.will, on_error=self._on_error)
        factory.add_setup(self._follow_connection)
        factory.add_setup(presence.attach)
        factory.add_setup(self._remote.attach)
        if self.options.durable:
            factory.add_setup(self._follow_acknowledgements)
        return factory

    def _follow_connection(self, connection: Connection) -> None:
        async def on_connect() -> None:
            self._client.on_connected()

        connection.on_connect(on_connect)
        connection.on_lost(self._client.on_connection_lost)

    def _follow_acknowledgements(self, connection: Connection) -> None:
        subscribe_acknowledgements(connection, self.identity.config, self._on_durable)

    def _on_durable(self, boot: str, ranges: Sequence[Range]) -> None:
        self._client.on_durable(boot, ranges)
        self._on_event(Durable(boot, tuple(ranges)))

    def _on_remote_event(self, event: Event) -> None:
        if isinstance(event, ReportingChanged):
            self._pace.interval_s = event.reporting.interval_s
            self._client.limits = _limits(event.reporting)
        if isinstance(event, ShadowRefused) and self._commands.answered:
            again_s = random.uniform(*_AGAIN_S)
            asyncio.get_running_loop().call_later(again_s, self._request_again)
        self._on_event(event)

    def _request_again(self) -> None:
        if self._client.client is not None:
            self._remote.request()

    def _on_event(self, event: Event) -> None:
        """An exception of the program's callback must not stop the delivery."""
        try:
            self._user_on_event(event)
        except Exception:
            _LOGGER.exception("on_event raised for: %s", event)

    def _on_error(self, error: BaseException) -> None:
        self._on_event(Failed(error))

    async def _check_daily(self) -> None:
        """Report a certificate that ends soon, and compare the clock with AWS IoT's, which each
        new connection does too."""
        device_id, path = self.identity.device_id, self.identity.certificate_path
        while True:
            event = await asyncio.to_thread(expiry_warning, device_id, path)
            if event is not None:
                self._on_event(event)
            await asyncio.sleep(_DAY_S)
            if self._client.client is not None and self._broker is None:
                self._remote.request()


def _limits(reporting: Reporting) -> BatchLimits:
    return BatchLimits(reporting.batch, age_s=reporting.age_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
