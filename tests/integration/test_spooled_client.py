"""A device with its spool, against a broker that comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from devices.batch import BatchLimits, Outgoing
from devices.events import Event
from devices.identity import Identity
from devices.spool.client import SpooledClient
from devices.spool.send_queue import Order
from devices.spool.spool import Spool, SpoolLimits
from tests.integration.conftest import STACK, Broker, eventually
from tests.integration.test_telemetry_client import _arrived, _device, _run

pytestmark = STACK

FAST = SpoolLimits(sync=False)
EACH = BatchLimits(readings=2, age_s=0.05)


def _spool(device: Identity) -> Spool:
    return Spool(device.folder, now=lambda: 1, limits=FAST)


def warnings_to(notices: list[str]) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if event.level >= logging.WARNING:
            notices.append(str(event))

    return on_event


async def _until(happened: Callable[[], object]) -> None:
    while not happened():  # noqa: ASYNC110 - nothing to wait for tells
        await asyncio.sleep(0.001)


class Sent:
    """An observer that keeps the numbers that were handed over, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def sending(self, device_id: str, message: Outgoing) -> None:
        self.numbers += range(message.seq, message.seq + message.readings)

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        """Not of interest."""


def test_readings_taken_without_a_broker_arrive_when_another_process_finds_one(
    broker: Broker,
) -> None:
    device = _device(broker.target, "spooled-away")
    notices: list[str] = []
    broker.stop()

    async def away() -> int:
        with _spool(device) as spool:
            client = SpooledClient(device, spool, limits=EACH, on_event=warnings_to(notices))
            client.start()
            for i in range(5):
                client.add(i, {"v": i})
            await _until(lambda: notices)
            return await client.close()

    assert _run(away()) == 5
    assert "wait in the spool" in notices[0]
    broker.start()

    async def back() -> int:
        with _spool(device) as spool, _nothing_left(spool):
            client = SpooledClient(device, spool, limits=EACH)
            client.start()
            client.add(9, {"v": 9})
            await client.drained()
            return await client.close()

    assert _run(back()) == 0
    assert eventually(lambda: _arrived(broker.target, "spooled-away") == set(range(6)))


class _nothing_left:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_: object) -> None:
        assert len(self._spool) == 0


def test_a_lone_reading_is_sent_when_it_is_old_enough(broker: Broker) -> None:
    device = _device(broker.target, "spooled-age")

    async def scenario() -> None:
        with _spool(device) as spool:
            limits = BatchLimits(readings=100, age_s=0.05)
            async with SpooledClient(device, spool, limits=limits) as client:
                await _until(lambda: client.connections)
                client.add(1, {"a": 1.0})
                arrived = asyncio.to_thread(
                    eventually, lambda: _arrived(broker.target, "spooled-age") == {0}
                )
                assert await arrived

    _run(scenario())


def test_a_broker_that_restarts_costs_a_spooled_device_nothing(broker: Broker) -> None:
    device = _device(broker.target, "spooled-restart")

    async def scenario() -> int:
        with _spool(device) as spool:
            client = SpooledClient(device, spool, limits=EACH)
            client.start()
            for i in range(20):
                client.add(i, {"v": i})
            await client.drained()
            broker.stop()
            for i in range(20, 40):
                client.add(i, {"v": i})
            broker.start()
            await client.drained()
            return await client.close()

    assert _run(scenario()) == 0
    assert eventually(lambda: _arrived(broker.target, "spooled-restart") == set(range(40)))


@pytest.mark.parametrize("order", ["oldest_first", "live_first"])
def test_what_waited_goes_first_or_last_as_asked(broker: Broker, order: Order) -> None:
    device = _device(broker.target, f"spooled-{order.replace('_', '-')}")
    with _spool(device) as spool:
        for i in range(100):
            spool.add(i, {"v": i})
    sent = Sent()

    async def scenario() -> None:
        with _spool(device) as spool:
            client = SpooledClient(device, spool, limits=EACH, window=1, observer=sent, order=order)
            client.start()
            await _until(lambda: sent.numbers)
            for i in range(100, 110):
                client.add(i, {"v": i})
            await client.drained()
            await client.close()

    _run(scenario())
    assert sorted(sent.numbers) == list(range(110))
    place = sent.numbers.index(100)
    assert (place == 100) == (order == "oldest_first")
    assert place < 60 or order == "oldest_first"


def test_only_what_was_told_to_be_durable_leaves_the_spool(broker: Broker) -> None:
    device = _device(broker.target, "spooled-durable")

    async def scenario() -> tuple[list[int], int]:
        with _spool(device) as spool:
            client = SpooledClient(device, spool, limits=EACH, durable=True, durable_s=0.2)
            client.start()
            for i in range(6):
                client.add(i, {"v": i})
            await _until(lambda: client.republished >= 2)
            client.on_durable(spool.boot, [(0, 1), (4, 5)])
            left = []
            place = 0
            while batch := spool.read(place, spool.end, 1, 9_999):
                left.append(batch.seq)
                place = batch.last + 1
            client.on_durable(spool.boot, [(2, 3)])
            await client.drained()
            return left, await client.close()

    assert _run(scenario()) == ([2, 3], 0)
    assert _arrived(broker.target, "spooled-durable") == set(range(6))


def test_a_lost_certificate_is_said_and_nothing_is_lost(broker: Broker) -> None:
    device = _device(broker.target, "spooled-torn")
    kept = device.certificate_path.read_bytes()
    device.certificate_path.unlink()
    notices: list[str] = []

    async def scenario() -> int:
        with _spool(device) as spool:
            client = SpooledClient(device, spool, limits=EACH, on_event=warnings_to(notices))
            client.start()
            client.add(1, {"v": 1})
            await _until(lambda: notices)
            device.certificate_path.write_bytes(kept)
            await client.drained()
            return await client.close()

    assert _run(scenario()) == 0
    assert "cannot be used" in notices[0]
