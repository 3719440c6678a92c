"""Past the broker: what a device publishes is put into Kinesis as the topic rule would put it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

from devices.identity import Identity
from ingest.record import encode_record
from ingest.stream import Record, put_all
from simulator.load.faulty_device import ChaoticClient, Misbehaviour

EVERY_S: Final = 0.05


class StreamTarget(msgspec.Struct, frozen=True):
    """Where the stream is; keys are temporary or the embedded AWS's, and never written down."""

    stream: str
    region: str
    rule: str
    endpoint_url: str | None
    keys: dict[str, str]


class StreamSink:
    """Puts what a whole fleet publishes within a moment in one call."""

    def __init__(self, target: StreamTarget) -> None:
        import boto3

        keys: dict[str, Any] = dict(target.keys)
        self._client: Any = boto3.client(
            "kinesis", region_name=target.region, endpoint_url=target.endpoint_url, **keys
        )
        self._stream = target.stream
        self._open: list[tuple[Record, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, device: str, payload: bytes) -> None:
        """Return when the stream has it.

        :raises PutError: when the stream refuses it for good.
        """
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[None] = loop.create_future()
        now = time.time_ns() // 1_000_000
        self._open.append((Record(encode_record(payload, device, now), device), taken))
        if self._task is None:
            self._task = loop.create_task(self._flush())
        await taken

    async def _flush(self) -> None:
        while self._open:
            await asyncio.sleep(EVERY_S)
            batch, self._open = self._open, []
            try:
                await asyncio.to_thread(
                    put_all, self._client, self._stream, [record for record, _ in batch]
                )
            except Exception as error:  # noqa: BLE001 - each publisher hears of it
                for _, taken in batch:
                    if not taken.done():
                        taken.set_exception(error)
            else:
                for _, taken in batch:
                    if not taken.done():
                        taken.set_result(None)
        self._task = None


class _NoBroker:
    """In a connection's place."""

    count = 1

    def __init__(self, sink: StreamSink, device: str) -> None:
        self._sink = sink
        self._device = device

    async def open(self, timeout_s: float) -> None:
        """There is nothing to open."""

    async def publish(self, topic: str, payload: bytes) -> int:  # noqa: ARG002
        """Put it, and acknowledge."""
        await self._sink.put(self._device, payload)
        return 0

    async def stop(self) -> None:
        """There is nothing to stop."""


class StreamClient(ChaoticClient):
    """A device's client without a broker."""

    def __init__(
        self,
        identity: Identity,
        *,
        sink: StreamSink,
        misbehaviour: Misbehaviour,
        slots: asyncio.Semaphore,
        **more: Any,
    ) -> None:
        super().__init__(
            identity,
            misbehaviour=misbehaviour,
            slots=slots,
            connection=_NoBroker(sink, identity.device_id),
            **more,
        )
