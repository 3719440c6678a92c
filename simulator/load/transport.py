"""What carries a fleet's messages: MQTT through the broker, or puts straight into Kinesis.

A transport knows the devices' identities and makes their clients. Everything else of a virtual
device, its faults and its entries in the ledger included, is the same with both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from devices import identity
from devices.batch import Outgoing
from devices.errors import PublishRefusedError
from devices.identity import DeviceConfig, Identity
from devices.mqtt.client import TelemetryClient
from devices.mqtt.client_factory import ConnectionSetup
from devices.mqtt.connection import UnsendableError
from ingest.record import encode_record
from ingest.stream import KinesisPuts, PutError, Record, put_all
from simulator.load.faulty_device import FaultyClient, Misbehaviour
from simulator.verification.ledger import Ledger

CONNECTS_AT_ONCE: Final = 8
FLUSH_S: Final = 0.05
MAX_OPEN: Final = 10_000


class Transport(Protocol):
    """Identities and clients of a fleet's devices."""

    spoofs: bool
    """Whether a device can try to publish as another one."""

    def identity(self, name: str) -> Identity:
        """The identity of a device.

        :raises IdentityError: when it is not on this machine.
        """

    def client(
        self, misbehaviour: Misbehaviour, setup: ConnectionSetup | None = None
    ) -> Callable[..., TelemetryClient]:
        """Makes clients of a device that misbehaves like this; takes what
        :class:`~devices.mqtt.client.TelemetryClient` does. ``setup`` adds subscriptions to each
        connection, where there is one."""


class MqttTransport:
    """Over MQTT, each device with its own certificate. Few connect at the same time, as a fleet
    does that must not storm its broker. Made on the event loop that it is used on."""

    spoofs = True

    def __init__(self, devices: Path | Mapping[str, Identity]) -> None:
        """``devices`` are the identities, or the folder that they are in."""
        self._devices = devices
        self._slots = asyncio.Semaphore(CONNECTS_AT_ONCE)

    def identity(self, name: str) -> Identity:
        """From the folder, or the one that was given."""
        if isinstance(self._devices, Path):
            return identity.load(self._devices, name)
        return self._devices[name]

    def client(
        self, misbehaviour: Misbehaviour, setup: ConnectionSetup | None = None
    ) -> Callable[..., TelemetryClient]:
        """Clients that wait for their turn to connect."""
        return partial(FaultyClient, misbehaviour=misbehaviour, slots=self._slots, setup=setup)


class StreamTarget(msgspec.Struct, frozen=True):
    """Where a stream is, and keys to put records; they are not written to disk."""

    stream: str
    region: str
    stack: str
    endpoint_url: str | None
    keys: dict[str, str]


class KinesisTransport:
    """Past the broker: records exactly as the stack's topic rule writes them. A message counts
    as acknowledged when the stream has it. Made on the event loop that it is used on."""

    spoofs = False

    def __init__(self, client: KinesisPuts, stream: str, stack: str) -> None:
        self._batch = _OpenBatch(client, stream)
        self._stack = stack
        self._slots = asyncio.Semaphore(CONNECTS_AT_ONCE)

    @classmethod
    def to(cls, target: StreamTarget) -> KinesisTransport:
        """With a client of its own."""
        import boto3

        keys: dict[str, Any] = dict(target.keys)
        client: Any = boto3.client(
            "kinesis", region_name=target.region, endpoint_url=target.endpoint_url, **keys
        )
        return cls(client, target.stream, target.stack)

    def identity(self, name: str) -> Identity:
        """A name without a certificate."""
        return Identity(DeviceConfig(name, "", 0, self._stack, None, "", "", ""), Path())

    def client(
        self,
        misbehaviour: Misbehaviour,
        setup: ConnectionSetup | None = None,  # noqa: ARG002 - there is no connection
    ) -> Callable[..., TelemetryClient]:
        """Clients that have nothing to connect to."""
        self._batch.ledger = misbehaviour.ledger
        return partial(
            _StreamClient, misbehaviour=misbehaviour, slots=self._slots, batch=self._batch
        )


class _Put(NamedTuple):
    """A record that waits; ``message`` is what its client writes down before and after, or
    ``None`` where the client does so itself."""

    record: Record
    client: _StreamClient | None
    message: Outgoing | None
    done: asyncio.Future[None]


class _OpenBatch:
    """Collects what all devices of a fleet put within a moment, and puts it in one go. What is
    written into the ledger before and after is one transaction each."""

    def __init__(self, client: KinesisPuts, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._open: list[_Put] = []
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.ledger: Ledger | None = None

    def put(
        self,
        device: str,
        payload: bytes,
        client: _StreamClient | None = None,
        message: Outgoing | None = None,
    ) -> asyncio.Future[None]:
        """Done when the stream has the record; raises :class:`PublishRefusedError` when the
        stream refuses it for good."""
        done: asyncio.Future[None] = self._loop.create_future()
        record = Record(encode_record(payload, device, time.time_ns() // 1_000_000), device)
        self._open.append(_Put(record, client, message, done))
        if self._task is None:
            self._task = self._loop.create_task(self._flush())
        return done

    @property
    def full(self) -> bool:
        """Whether so many records are open that a device should wait before it puts another."""
        return len(self._open) >= MAX_OPEN

    async def room(self) -> None:
        """Return when few enough records are open."""
        while self.full:
            await asyncio.wait([self._open[0].done])

    async def _flush(self) -> None:
        while self._open:
            await asyncio.sleep(FLUSH_S)
            batch, self._open = self._open, []
            try:
                noted = [(c, m) for _, c, m, _ in batch if c is not None and m is not None]
                with self._transaction():
                    for client, message in noted:
                        client.note(message)
                records = [one.record for one in batch]
                await asyncio.to_thread(put_all, self._client, self._stream, records)
                with self._transaction():
                    for client, message in noted:
                        client.acknowledge(message)
            except Exception as error:  # noqa: BLE001 - raised where each message is awaited
                refused = isinstance(error, PutError)
                _fail(batch, PublishRefusedError(str(error), None) if refused else error)
            else:
                for one in batch:
                    if not one.done.done():
                        one.done.set_result(None)
        self._task = None

    def _transaction(self) -> AbstractContextManager[None]:
        return self.ledger.transaction() if self.ledger else nullcontext()


def _fail(batch: list[_Put], error: Exception) -> None:
    for one in batch:
        if not one.done.done():
            one.done.set_exception(error)
            one.done.exception()  # a device that has ended does not look at it


class _NoBroker:
    """Stands in for a connection; puts what is published."""

    count = 1

    def __init__(self, batch: _OpenBatch, device: str) -> None:
        self._batch = batch
        self._device = device

    async def open(self, timeout_s: float) -> None:
        """There is nothing to open."""

    async def publish(self, topic: str, payload: bytes) -> int:  # noqa: ARG002
        """Put it, and acknowledge."""
        try:
            await self._batch.put(self._device, payload)
        except PublishRefusedError as error:
            raise UnsendableError(str(error)) from None
        return 0

    async def stop(self) -> None:
        """There is nothing to stop."""


class _StreamClient(FaultyClient):
    """A device's client without a broker."""

    def __init__(
        self,
        identity: Identity,
        *,
        batch: _OpenBatch,
        misbehaviour: Misbehaviour,
        slots: asyncio.Semaphore,
        **more: Any,
    ) -> None:
        super().__init__(
            identity,
            misbehaviour=misbehaviour,
            slots=slots,
            connection=_NoBroker(batch, identity.device_id),
            **more,
        )
        self._batch = batch
        self._last_put: asyncio.Future[None] | None = None

    async def send(  # type: ignore[override]  # a future does for every caller
        self, message: Outgoing, *, topic: str | None = None
    ) -> asyncio.Future[None]:
        """As the base class, but without a task for each message of a device that does nothing
        wrong: a task is half of what a message costs."""
        if self._misbehaviour.possible:
            return await super().send(message, topic=topic)
        if (last := self._last_put) is not None and last.done() and (e := last.exception()):
            raise e
        self._taken += 1
        self._last_put = self._batch.put(self.identity.device_id, message.payload, self, message)
        if self._batch.full:
            await self._batch.room()
        return self._last_put

    async def close(self) -> int:
        """Wait for the puts, too: they end in their order."""
        if self._last_put is not None:
            await asyncio.wait([self._last_put], timeout=self._close_s)
        return await super().close()

    def note(self, message: Outgoing) -> None:
        """Write a message into the ledger: it is about to be put."""
        self._before_sending(message)

    def acknowledge(self, message: Outgoing) -> None:
        """The stream has the message."""
        self._acknowledged += 1
        if self._observer is not None:
            self._observer.acknowledged(self.identity.device_id, message)
