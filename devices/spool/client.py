"""A device's client that loses nothing: readings go to the spool first, and from there out.

A reading is stored when :meth:`SpooledClient.add` returns, with or without a network. It leaves the
spool when the broker has acknowledged it or, with ``durable``, when the worker has. What was
published and not acknowledged when the process died is published again by the next one with the
same identity, and changes nothing downstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, Protocol

from devices.batch import BatchLimits, Outgoing
from devices.errors import ConnectError, PublishRefusedError
from devices.events import Acknowledged, OnEvent, log_event
from devices.identity import Identity
from devices.mqtt.client import WINDOW, Observer, TelemetryClient
from devices.mqtt.traces import Publish, PublishTraces
from devices.spool.batch import Batch
from devices.spool.delivery import DeliveryMonitor
from devices.spool.send_queue import Order, SendQueue
from devices.spool.spool import Spool
from ingest.message import Content
from ingest.traces.context import with_trace

RETRY_S: Final = (1.0, 60.0)
CONNECT_S: Final = 20.0
DURABLE_S: Final = 120.0
RENEWED_S: Final = 2.0
"""How often (s) the certificate's file is checked for a new certificate."""


class ClientFactory(Protocol):
    """Makes a client that is not connected."""

    def __call__(
        self,
        identity: Identity,
        *,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
    ) -> TelemetryClient:
        """As :class:`~devices.mqtt.client.TelemetryClient`."""


class SpooledClient:
    """One device's client over its spool, for one event loop. An async context manager."""

    def __init__(
        self,
        identity: Identity,
        spool: Spool,
        *,
        limits: BatchLimits | None = None,
        window: int = WINDOW,
        observer: Observer | None = None,
        order: Order = "oldest_first",
        durable: bool = False,
        durable_s: float = DURABLE_S,
        on_event: OnEvent = log_event,
        client: ClientFactory = TelemetryClient,
        content: Content = "json",
        traces: PublishTraces | None = None,
    ) -> None:
        """With ``durable``, readings stay until :meth:`on_durable` names them; those that it does
        not name within ``durable_s`` are published again. ``on_event`` receives
        :class:`~devices.events.Connected`, :class:`~devices.events.Offline` and
        :class:`~devices.events.Acknowledged`. ``client`` makes the client of each attempt to
        connect, ``content`` is the encoding of messages, and ``traces`` says which are traced."""
        self.identity = identity
        self.spool = spool
        self._queue = SendQueue(spool, limits or BatchLimits(), order)
        self._window = window
        self._observer = observer
        self._durable = durable
        self._durable_s = durable_s
        self._on_event = on_event
        self._new_client = client
        self._content = content
        self._traces = traces
        self._loop = asyncio.get_running_loop()
        self._monitor = DeliveryMonitor(self._loop.time, spool, on_event)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._earlier = 0
        self._work: asyncio.Task[None] | None = None
        self.client: TelemetryClient | None = None
        self.republished = 0
        """Messages that were published again for lack of a durable acknowledgement."""

    async def __aenter__(self) -> SpooledClient:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connections(self) -> int:
        """How many times it connected."""
        return self._earlier + (self.client.connections if self.client else 0)

    @property
    def offline(self) -> bool:
        """Whether it is paused, or not started yet."""
        return self._work is None

    @property
    def limits(self) -> BatchLimits:
        """When a message is full; may be changed at any time."""
        return self._queue.limits

    @limits.setter
    def limits(self, limits: BatchLimits) -> None:
        self._queue.limits = limits
        self._wake.set()

    def start(self) -> None:
        """Connect and send in the background, unless it does; does not wait for a network."""
        if self._work is not None:
            return
        self._queue.reset()
        self._work = self._loop.create_task(self._run())

    def add(self, ts: int, metrics: Mapping[str, float | bool]) -> None:
        """Store a reading with this event time (ms) in the spool.

        :raises ValueError: when the reading breaks the contract.
        :raises SpoolFullError: when the spool or the disk is full.
        """
        self.spool.add(ts, metrics)
        self._idle.clear()
        if self._queue.on_added(self._loop.time()):
            self._loop.call_later(self.limits.age_s, self._wake.set)
        if self._queue.full:
            self._wake.set()

    def flush(self) -> None:
        """Send what waits for its message to fill."""
        self._queue.flush()
        self._wake.set()

    def on_durable(self, boot: str, ranges: Iterable[tuple[int, int]]) -> None:
        """The worker has these numbers (inclusive ranges) in the hot store and the archive."""
        self.spool.delete_ids(boot, ranges)
        self._wake.set()

    def on_connected(self) -> None:
        """The connection is open, for the first time or again."""
        if self.client is not None:
            self._monitor.on_connected(self.connections)

    def on_connection_lost(self, reason: str) -> None:
        """There is no connection; the transport reconnects by itself."""
        self._monitor.on_failure(reason)

    async def drained(self) -> None:
        """Return when everything stored so far is acknowledged."""
        self.flush()
        while len(self.spool) and self._work is not None and not self._work.done():
            self._idle.clear()
            self._wake.set()
            waiting = asyncio.create_task(self._idle.wait())
            try:
                await asyncio.wait([waiting, self._work], return_when=asyncio.FIRST_COMPLETED)
            finally:  # also when a time-out ends this
                waiting.cancel()
        if self._work is not None and self._work.done():
            self._work.result()

    async def pause(self) -> None:
        """Disconnect, and keep storing readings until :meth:`start`."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def close(self, drain_s: float = 0.0) -> int:
        """Disconnect, after up to ``drain_s`` for what waits; how many readings still wait. They
        stay in the spool, which the caller closes."""
        try:
            if drain_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(drain_s):
                        await self.drained()
        finally:
            await self.pause()
        return len(self.spool)

    # -- sending ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, send, and begin again when that fails, until cancelled."""
        reporting = self._loop.create_task(self._monitor.run())
        try:
            await self._connect_and_send()
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _connect_and_send(self) -> None:
        attempt = 0
        while True:
            client: TelemetryClient | None = None
            try:
                client = self._new_client(
                    self.identity, window=self._window, observer=self._observer, close_s=0.0
                )
                await client.connect(CONNECT_S)
                self.client, attempt = client, 0
                self.on_connected()
                await self._send_until_renewed(client)
                self._queue.reset()
                continue
            except (ConnectError, PublishRefusedError) as error:
                self._monitor.on_failure(str(error))
            finally:
                self._earlier += self.client.connections if self.client else 0
                self.client = None
                if client is not None:
                    await client.close()
            self._queue.reset()
            attempt = min(attempt + 1, 6)
            least, most = RETRY_S
            await asyncio.sleep(least + random.random() * (min(most, least * 2**attempt) - least))

    async def _send_until_renewed(self, client: TelemetryClient) -> None:
        """Send, and return when the identity has another certificate: a new connection uses it."""
        sending = self._loop.create_task(self._send_all(client))
        try:
            before = self._certificate()
            while not sending.done():
                await asyncio.wait([sending], timeout=RENEWED_S)
                if self._certificate() != before:
                    return
            sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _certificate(self) -> tuple[int, int] | None:
        """What changes when the certificate's file is replaced."""
        try:
            found = self.identity.certificate_path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    async def _send_all(self, client: TelemetryClient) -> None:
        connections = client.connections
        while True:
            if client.connections != connections:
                connections = client.connections
                self._queue.on_reconnected()
            now = self._loop.time()
            self.republished += self._queue.requeue_unacknowledged(now, self._durable_s)
            batch = self._queue.next(now)
            if batch is None:
                await self._sleep()
            else:
                await self._send(client, batch)

    async def _send(self, client: TelemetryClient, batch: Batch) -> None:
        payload, readings, traced = batch.payload(self._content), len(batch.readings), None
        if self._traces is not None:
            traced = self._traces.begin(batch.boot, batch.seq, readings)
            payload = with_trace(payload, traced.context) if traced else payload
        self._monitor.on_sent()
        try:
            task = await client.send(Outgoing(batch.boot, batch.seq, readings, payload))
        except BaseException:
            self._monitor.on_done(acknowledged=False)
            if traced is not None:
                traced.end(acknowledged=False)
            raise
        task.add_done_callback(partial(self._on_delivered, batch, traced))

    def _on_delivered(self, batch: Batch, traced: Publish | None, task: asyncio.Task[None]) -> None:
        acknowledged = not task.cancelled() and task.exception() is None
        if traced is not None:
            traced.end(acknowledged=acknowledged)
        self._monitor.on_done(acknowledged=acknowledged)
        if acknowledged:
            if self._durable:
                self._queue.on_published(batch, self._loop.time())
            else:
                self.spool.delete(batch.first, batch.last)
            self._on_event(Acknowledged(batch.boot, batch.seq, len(batch.readings)))
        if not len(self.spool):
            self._idle.set()

    async def _sleep(self) -> None:
        """Wait until there may be something to send."""
        if not len(self.spool):
            self._idle.set()
        timeout = 1.0 if self._durable else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()
