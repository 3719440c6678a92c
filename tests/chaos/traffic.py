"""What is sent to a site: load from a fleet, single messages over MQTT, records into the stream.

Everything that is sent is in a ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from devices.batch import Outgoing
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from devices.provisioning.registry import Clients, create_fleet
from ingest.record import encode_record
from ingest.stream import Record, put_all
from simulator.load.fleet import FleetRunner, run_fleet
from simulator.load.transport import MqttTransport
from simulator.scenario import Fleet, steady_fleet
from simulator.verification.ledger import OK, Entry, Ledger, Meta, read_entries
from tests.chaos.stack import DeployedStack
from tests.harness.waiting import until

GROUP: Final = "chaos"
"""The group of all devices."""

LONGEST_S: Final = 600.0
"""The most that a load lasts, whatever the body does."""

Expected = tuple[str, Outgoing, str]
"""Device, message, and the disposition that it must get."""


class Traffic:
    """Sends to one stack."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack = stack
        self._ledgers: list[Path] = []
        self._names = itertools.count()

    def fleet(self, count: int) -> list[Identity]:
        """New devices with certificates."""
        number = next(self._names)
        clients = Clients(self._stack.target.client("iot"), self._stack.dynamodb)
        stack = self._stack.settings.stack
        names = [(f"{stack}-dev-{number}-{i:03d}", "meter") for i in range(count)]
        return create_fleet(clients, self._stack.settings, names, group=GROUP)

    def new_ledger(self) -> Path:
        """A ledger for whoever sends in another way; what it has counts as sent."""
        with self._ledger() as ledger:
            return ledger.path

    def _ledger(self) -> Ledger:
        path = self._stack.folder / f"ledger-{next(self._names)}.sqlite"
        self._ledgers.append(path)
        settings = self._stack.settings
        meta = Meta(
            "chaos", self._stack.seed, settings.stack, 0, settings.tiers, settings.clock_ahead_s
        )
        return Ledger(path, meta, lambda: time.time_ns() // 1_000_000)

    @contextlib.contextmanager
    def load(
        self, seconds: float, *, devices: int = 8, rate: float = 5.0, **load: Any
    ) -> Iterator[None]:
        """Devices that publish over MQTT while the body runs, and for ``seconds`` at least; ends
        when they are through. (The KCL moves no lease to a worker that joins while nothing flows.)
        """
        fleet = self.fleet(devices)
        ledger_path: list[Ledger] = []
        errors: list[BaseException] = []
        left, ends = threading.Event(), time.monotonic() + seconds
        wanted = steady_fleet(devices, rate=rate, seconds=LONGEST_S, kind="meter", **load)

        def stopping() -> bool:
            return left.is_set() and time.monotonic() >= ends

        def drive() -> None:
            with self._ledger() as ledger:
                ledger_path.append(ledger)
                try:
                    asyncio.run(self._drive(fleet, wanted, ledger, stopping))
                except BaseException as error:  # raised by the thread that waits
                    errors.append(error)

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            until(lambda: ledger_path and ledger_path[0].acked > devices, 40, "the load")
            yield
        finally:
            left.set()
            thread.join()
        if errors:
            raise errors[0]

    async def _drive(
        self,
        identities: Sequence[Identity],
        load: Fleet,
        ledger: Ledger,
        stopping: Callable[[], bool],
    ) -> None:
        names = [one.device_id for one in identities]
        transport = MqttTransport({one.device_id: one for one in identities})
        runner = FleetRunner(load, names, seed=self._stack.seed, ledger=ledger, transport=transport)
        status = await run_fleet(runner, stopping)
        if status.failed:
            raise AssertionError(f"devices failed: {status.failed[:3]}")

    def publish(self, messages: Mapping[Identity, Sequence[tuple[Outgoing, str]]]) -> None:
        """Publish messages over MQTT, each device's in the given order."""
        with self._ledger() as ledger:
            asyncio.run(self._publish(messages, ledger))

    async def _publish(
        self, messages: Mapping[Identity, Sequence[tuple[Outgoing, str]]], ledger: Ledger
    ) -> None:
        async def one(identity: Identity, mine: Sequence[tuple[Outgoing, str]]) -> None:
            recorder = _Recorder(ledger)
            client = TelemetryClient(identity, observer=recorder)
            await client.connect(60.0)
            for message, expect in mine:
                recorder.expect = expect
                await client.send(message)
            left = await client.close()
            assert not left, f"{left} messages of {identity.device_id} were not acknowledged"

        await asyncio.gather(*(one(identity, mine) for identity, mine in messages.items()))

    def put(self, messages: Sequence[Expected], client: Any = None) -> None:
        """Put messages straight into the stream, as the rule would."""
        now = time.time_ns() // 1_000_000
        with self._ledger() as ledger:
            for device, message, expect in messages:
                ledger.sending(device, message, expect)
            records = [Record(encode_record(m.payload, d, now), d) for d, m, _ in messages]
            put_all(client or self._stack.kinesis, self._stack.settings.stream, records)
            for device, message, _ in messages:
                ledger.acknowledged(device, message)

    def entries(self) -> list[Entry]:
        """Everything that was sent."""
        return [entry for path in self._ledgers for entry in read_entries(path)]


class _Recorder:
    """A device's observer: writes each message down with what must become of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.expect = OK

    def sending(self, device_id: str, message: Outgoing) -> None:
        self._ledger.sending(device_id, message, self.expect)

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        self._ledger.acknowledged(device_id, message)
