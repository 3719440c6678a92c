"""P9: what the simulator itself costs: messages a second and core, devices a GB.

Over the Device SDK against the embedded broker, in CPU time of the simulator's process alone, so
that the broker's own limit does not matter; and straight into a stream that takes everything,
which leaves what the simulator does for a record. The baseline is the bare SDK, and bare
``put_records`` of records made beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress, Result, Samples, check, result
from benchmarks.path.p4_full_path import local_stack
from devices.identity import Identity
from devices.mqtt.connection import Connection
from infra.simulation.drive import new_ledger
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from infra.target import Target
from ingest.message import VERSION, Message, Reading, encode
from ingest.topic import basic_ingest_topic
from simulator.load.fleet import FleetRunner, run_fleet
from simulator.load.transport import KinesisTransport, MqttTransport
from simulator.scenario import Fleet, steady_fleet
from simulator.signals import reader
from simulator.verification.ledger import Ledger

DEVICES: Final = 100
MESSAGES: Final = 20
RUNS: Final = 5
STREAM_MESSAGES: Final = 20_000


def run(progress: Progress) -> Result:
    """Both ways, each beside its baseline, in turn."""
    with local_stack(progress) as stack:
        progress(f"{DEVICES} certificates")
        fleet = provision_fleet(
            stack.target, fleet_names(stack.target.settings.stack, DEVICES), group="bench"
        )
        ours, bare, memory = [], [], []
        for number in range(RUNS):
            progress(f"over MQTT, run {number + 1} of {RUNS} …")
            cpu, grown = _over_mqtt(stack.target, fleet)
            ours.append(cpu)
            memory.append(grown)
            bare.append(_bare_sdk(fleet))
        streamed = [_into_a_stream(stack.target) for _ in range(RUNS)]
    count = DEVICES * MESSAGES
    devices_per_gb = DEVICES / max(Samples(memory).median, 1e-6)
    streamed_rate = Samples(streamed).rate(STREAM_MESSAGES)
    checks = [
        check(
            "messages a second and core over the Device SDK, against the bare SDK",
            Samples(ours), Samples(bare), unit="/s", scale=lambda seconds: count / seconds,
        ),
        check(
            "messages a second and core straight into Kinesis, against over the SDK",
            Samples(streamed), Samples([s * STREAM_MESSAGES / count for s in ours]),
            unit="/s", scale=lambda seconds: STREAM_MESSAGES / seconds,
        ),
    ]  # fmt: skip
    return result(
        "what the simulator costs",
        checks,
        devices_per_gb=round(devices_per_gb),
        points=[
            {"via": "mqtt", "messages_per_s_core": round(Samples(ours).rate(count)),
             "devices_per_gb": round(devices_per_gb)},
            {"via": "kinesis", "messages_per_s_core": round(streamed_rate)},
        ],
    )  # fmt: skip


def _over_mqtt(target: Target, fleet: Sequence[Identity]) -> tuple[float, float]:
    """CPU seconds of a fleet's load, its connections included, and GB that it added."""
    load = steady_fleet(len(fleet), rate=MESSAGES / 4, seconds=4.0)
    with _ledger(target) as ledger:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, memory = _cpu(), _rss_gb()
        asyncio.run(_drive(fleet, load, ledger))
        return _cpu() - before, max(0.0, _rss_peak_gb() - memory)


@contextlib.contextmanager
def _ledger(target: Target) -> Iterator[Ledger]:
    with (
        tempfile.TemporaryDirectory() as folder,
        new_ledger(target, Path(folder) / "ledger.sqlite", 1) as ledger,
    ):
        yield ledger


async def _drive(identities: Sequence[Identity], load: Fleet, ledger: Ledger) -> None:
    names = [one.device_id for one in identities]
    transport = MqttTransport({one.device_id: one for one in identities})
    status = await run_fleet(FleetRunner(load, names, seed=1, ledger=ledger, transport=transport))
    assert not status.failed, status.failed[0]


def _bare_sdk(fleet: Sequence[Identity]) -> float:
    """CPU seconds of the same connections and messages, with payloads made beforehand and no
    ledger, no signals and no timing."""

    async def device(identity: Identity, slots: asyncio.Semaphore) -> None:
        read = reader(1, identity.device_id, identity.config.type)
        messages = [
            encode(Message(VERSION, "bench000", seq, [Reading(seq, read(seq))]))
            for seq in range(MESSAGES)
        ]
        connection = Connection(identity)
        async with slots:
            await connection.open(60.0)
        topic = basic_ingest_topic(identity.config.stack, identity.device_id)
        await asyncio.gather(*(connection.publish(topic, payload) for payload in messages))
        await connection.stop()

    async def all_of_them() -> None:
        slots = asyncio.Semaphore(8)
        await asyncio.gather(*(device(identity, slots) for identity in fleet))

    before = _cpu()
    asyncio.run(all_of_them())
    return _cpu() - before


class _Sink:
    """A stream that takes everything."""

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:
        return {"Records": [{} for _ in Records]}


def _into_a_stream(target: Target) -> float:
    """CPU seconds of a load straight into a stream, Kinesis's own client apart."""
    names = [f"dev-{i:05d}" for i in range(1000)]
    load = steady_fleet(1000, rate=STREAM_MESSAGES / 1000 * 4, seconds=0.25)

    async def put(ledger: Ledger) -> None:
        transport = KinesisTransport(_Sink(), "sink", "penstock")
        await run_fleet(FleetRunner(load, names, seed=1, ledger=ledger, transport=transport))

    with _ledger(target) as ledger:
        before = _cpu()
        asyncio.run(put(ledger))
        assert ledger.acked == STREAM_MESSAGES
        return _cpu() - before


def _cpu() -> float:
    return time.process_time()


def _rss_gb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def _rss_peak_gb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
