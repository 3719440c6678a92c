"""A device's client that loses nothing: readings go to the spool first, and from there out.

A reading is taken when :meth:`SpooledClient.add` returns, whether or not there is a network. It
leaves the spool when the broker has acknowledged it, or, with ``durable``, when the worker has.
What was published and not acknowledged when the process died is published again by the next one
with the same identity, and changes nothing downstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Literal, Protocol

from devices.batch import BatchLimits, Outgoing
from devices.identity import Identity
from devices.mqtt.client import (
    WINDOW,
    ConnectError,
    Observer,
    PublishRefusedError,
    TelemetryClient,
)
from devices.spool.spool import Batch, Spool
from ingest.message import Content

RETRY_S: Final = (1.0, 60.0)
CONNECT_S: Final = 20.0
DURABLE_S: Final = 120.0
RENEWED_S: Final = 2.0

Order = Literal["oldest_first", "live_first"]


class ClientFactory(Protocol):
    """Makes a client that is not connected."""

    def __call__(
        self,
        identity: Identity,
        *,
        limits: BatchLimits | None = None,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
    ) -> TelemetryClient:
        """As :class:`~devices.mqtt.client.TelemetryClient`."""


class SpooledClient:
    """One device's client over its spool. Use as an async context manager, on one event loop."""

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
        notice: Callable[[str], None] = lambda _: None,
        client: ClientFactory = TelemetryClient,
        content: Content = "json",
    ) -> None:
        """``order`` says whether what waited goes before or after what is being measured.
        With ``durable`` readings stay until :meth:`is_durable` tells of them; what is not told of
        within ``durable_s`` is published again. ``notice`` hears, in a sentence, why nothing can
        be sent, each reason once; ``client`` makes the client of each attempt, and
        ``content`` is how messages are written."""
        self.identity = identity
        self.spool = spool
        self.limits = limits or BatchLimits()
        self._window = window
        self._observer = observer
        self._order = order
        self._durable = durable
        self._durable_s = durable_s
        self._notice = notice
        self._new_client = client
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._backlog: deque[tuple[int, int]] = deque()
        self._live = 0
        self._due: float | None = None
        self._flushing = False
        self._unacknowledged = self._earlier = 0
        self._published: dict[int, tuple[int, float]] = {}
        self._work: asyncio.Task[None] | None = None
        self.client: TelemetryClient | None = None
        self.republished = 0
        """Messages that were published again because nobody said that they are durable."""

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
        """Whether it was paused, or not started yet."""
        return self._work is None

    def start(self) -> None:
        """Begin to connect and to send, unless it does; does not wait for a network."""
        if self._work is not None:
            return
        self._forget_progress()
        self._work = self._loop.create_task(self._run())

    def add(self, ts: int, metrics: Mapping[str, float | bool]) -> None:
        """Take a reading with this event time (ms). On return it is in the spool.

        :raises ValueError: when the reading breaks the contract.
        :raises SpoolFullError: when there is no room; nothing else is lost.
        """
        self.spool.add(ts, metrics)
        self._idle.clear()
        if self._due is None:
            self._due = self._loop.time() + self.limits.age_s
            self._loop.call_later(self.limits.age_s, self._wake.set)
        if self.spool.end - self._live >= self.limits.readings:
            self._wake.set()

    def flush(self) -> None:
        """Send what waits for its message to become full."""
        self._flushing = True
        self._wake.set()

    def is_durable(self, boot: str, ranges: Iterable[tuple[int, int]]) -> None:
        """The worker has these numbers (inclusive ranges) in hot store and archive."""
        self.spool.delete_ids(boot, ranges)
        self._wake.set()

    async def drained(self) -> None:
        """Return when everything taken so far is sent, and acknowledged."""
        self.flush()
        while len(self.spool) and self._work is not None and not self._work.done():
            self._idle.clear()
            self._wake.set()
            waiting = asyncio.create_task(self._idle.wait())
            await asyncio.wait([waiting, self._work], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if self._work is not None and self._work.done():
            self._work.result()

    async def pause(self) -> None:
        """Lose the network: disconnect, and keep taking readings until :meth:`start`."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def close(self, drain_s: float = 0.0) -> int:
        """Disconnect, after ``drain_s`` at most for what waits; how many readings still do. They
        stay in the spool, which the caller closes."""
        if drain_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self.drained()
        await self.pause()
        return len(self.spool)

    # -- sending ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, send, and begin again when that fails, for ever."""
        attempt = 0
        said = ""
        while True:
            client: TelemetryClient | None = None
            try:
                client = self._new_client(
                    self.identity, limits=self.limits, window=self._window,
                    observer=self._observer, close_s=0.0,
                )  # fmt: skip
                await client.connect(CONNECT_S)
                self.client, attempt, said = client, 0, ""
                await self._send_until_renewed(client)
                self._forget_progress()
                continue
            except (ConnectError, PublishRefusedError) as error:
                if str(error) != said:
                    said = str(error)
                    self._notice(f"{error}; {len(self.spool)} readings wait in the spool")
            finally:
                self._earlier += self.client.connections if self.client else 0
                self.client = None
                if client is not None:
                    await client.close()
            self._forget_progress()
            attempt = min(attempt + 1, 6)
            least, most = RETRY_S
            await asyncio.sleep(least + random.random() * (min(most, least * 2**attempt) - least))

    async def _send_until_renewed(self, client: TelemetryClient) -> None:
        """Send, until the identity has another certificate: connect with that one then."""
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
            if self._order == "live_first" and client.connections != connections:
                connections = client.connections
                self._backlog.append((self._live, self.spool.end))
                self._live = self.spool.end
            self._repeat_what_nobody_told_of()
            batch = self._next()
            if batch is None:
                await self._sleep()
                continue
            message = Outgoing(
                batch.boot, batch.seq, len(batch.readings), batch.payload(self._content)
            )
            self._unacknowledged += 1
            try:
                task = await client.send(message)
            except BaseException:
                self._unacknowledged -= 1
                raise
            task.add_done_callback(partial(self._acknowledged, batch))

    def _next(self) -> Batch | None:
        """The next message to send, if it is time for one."""
        live = None
        full = self.spool.end - self._live >= self.limits.readings
        due = self._due is not None and self._loop.time() >= self._due
        if self._order == "oldest_first":
            batch = self._from_backlog()
            if batch is not None:
                return batch
        if full or due or self._flushing:
            live = self._read(self._live, self.spool.end)
            if live is None:
                self._live = max(self._live, self.spool.end)
                self._due, self._flushing = None, False
            else:
                self._live = live.last + 1
                if self._live >= self.spool.end:
                    self._due, self._flushing = None, False
                return live
        return self._from_backlog()

    def _from_backlog(self) -> Batch | None:
        while self._backlog:
            place, end = self._backlog.popleft()
            batch = self._read(place, end)
            if batch is not None:
                if batch.last + 1 < end:
                    self._backlog.appendleft((batch.last + 1, end))
                return batch
        return None

    def _read(self, place: int, end: int) -> Batch | None:
        limits = self.limits
        return self.spool.read(place, end, limits.readings, limits.bytes - 160)

    def _acknowledged(self, batch: Batch, task: asyncio.Task[None]) -> None:
        self._unacknowledged -= 1
        if not task.cancelled() and task.exception() is None:
            if self._durable:
                self._published[batch.first] = (batch.last, self._loop.time())
            else:
                self.spool.delete(batch.first, batch.last)
        if not len(self.spool):
            self._idle.set()

    def _repeat_what_nobody_told_of(self) -> None:
        now = self._loop.time()
        for first, (last, at) in list(self._published.items()):
            if now - at < self._durable_s:
                break
            del self._published[first]
            if self.spool.read(first, last + 1, 1, 1) is not None:
                self._backlog.append((first, last + 1))
                self.republished += 1

    def _forget_progress(self) -> None:
        """Everything in the spool is to be sent, by a new client."""
        self._backlog.clear()
        self._published.clear()
        self._backlog.append((0, self.spool.end))
        self._live = self.spool.end
        self._due = None

    async def _sleep(self) -> None:
        """Until there may be something to send."""
        if not len(self.spool):
            self._idle.set()
        timeout = 1.0 if self._durable else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()
