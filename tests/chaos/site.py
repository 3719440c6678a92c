"""A pipeline under attack: one deployed stack with its workers, its load and its invariants.

The workers reach AWS through a :class:`~tests.chaos.proxy.Proxy`; devices, and whoever looks at
the results, do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from consumers.failpoints import VARIABLE, Point
from consumers.kcl.first_leases import prepare_leases
from consumers.kcl.position import position
from consumers.logs import logging_to
from devices.batch import Outgoing
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from devices.provisioning.registry import Clients, create_fleet
from infra.aws.cloudformation import deploy, ensure_ttl
from infra.emulator.process import Emulator
from infra.local.stack import LOCAL_SETTINGS
from infra.target import Target
from infra.worker import supervised, worker_of
from ingest.message import Message, decode
from ingest.record import Envelope, decode_record, encode_record
from ingest.settings import Settings
from ingest.stream import Record, put_all
from simulator.load.fleet import FleetRunner, run_fleet
from simulator.load.transport import MqttTransport
from simulator.scenario import Fleet, steady_fleet
from simulator.verification.ledger import OK, Entry, Ledger, Meta, read_entries
from simulator.verification.observe import ArchiveRow, Observed, observe, rows_of
from simulator.verification.observe import Clients as ReadClients
from simulator.verification.oracle import Rules
from simulator.verification.verifier import Report, verify
from tests.chaos.plan import Call, Plan, Rule
from tests.chaos.proxy import Proxy
from tests.harness.processes import alive, descendants
from tests.harness.stream import read_stream

ROLES: Final = ("worker", "dashboard", "simulator")
T = TypeVar("T")

Expected = tuple[str, Outgoing, str]
"""Device, message, and what must become of it."""


class Site:
    """One stack in an embedded AWS. Use as a context manager, from a main thread."""

    def __init__(
        self, emulator: Emulator, folder: Path, *, stack: str, seed: int, shards: int = 2,
        **settings: Any,
    ) -> None:  # fmt: skip
        self.emulator = emulator
        self.folder = folder
        self.seed = seed
        self._shard_count = shards
        folder.mkdir(parents=True, exist_ok=True)
        resolved = Settings(
            **{
                **LOCAL_SETTINGS,
                "stack": stack,
                "endpoint_url": emulator.endpoint_url,
                "iot_host": "127.0.0.1",
                "iot_port": emulator.mqtt_port,
                "iot_ca": emulator.ca_path,
                "devices_dir": folder / "devices",
                "segment_age_s": 1.5,
                "shutdown_grace_s": 1,
                **settings,
            }
        )
        self.target = Target(resolved, account="", local=True)
        self.workers: list[RunningWorker] = []
        self.said: list[str] = []
        self.early: list[str] = []
        self._exit = ExitStack()
        self._ledgers: list[Path] = []
        self._names = itertools.count()
        self._known: set[str] = set()

    def __enter__(self) -> Site:
        self.target.account = self.target.client("sts").get_caller_identity()["Account"]
        self.deploy()
        self.proxy = self._exit.enter_context(Proxy(self.emulator.endpoint_url))
        self.proxy.on_call = self._watch
        (self.folder / "failpoints").mkdir(exist_ok=True)
        self._exit.enter_context(logging_to(on_message=self.said.append))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()
        self._exit.close()

    @property
    def settings(self) -> Settings:
        return self.target.settings

    def deploy(self) -> None:
        """Make the stack and its lease table."""
        target = self.target
        outputs = deploy(
            target.client("cloudformation"),
            self.settings.stack,
            {
                "ShardCount": str(self._shard_count),
                "DeletionProtection": "false",
                "WithSimulator": "true",
            },
            on_event=lambda _: None,
            interval=0.05,
        )
        target.roles |= {role: outputs[f"{role.capitalize()}RoleArn"] for role in ROLES}
        ensure_ttl(target.client("dynamodb"), self.settings.windows_table)
        self.create_leases()

    def create_leases(self) -> None:
        """One row a shard, as the local stack does."""
        prepare_leases(
            self.dynamodb, self.kinesis, stream=self.settings.stream,
            application=self.settings.application, position="TRIM_HORIZON",
        )  # fmt: skip

    # -- clients, as the account's root and past the proxy ---------------------------------

    def restart_emulator(self) -> None:
        """Stop AWS and start it again with its state, at the same address."""
        port = int(self.emulator.endpoint_url.rsplit(":", 1)[1])
        self.emulator.stop()
        self.emulator = Emulator.start(
            self.emulator.log_path.parent, gateway_port=port, mqtt_port=self.emulator.mqtt_port,
            persist=True,
        )  # fmt: skip

    @cached_property
    def dynamodb(self) -> Any:
        return self.target.client("dynamodb")

    @cached_property
    def kinesis(self) -> Any:
        return self.target.client("kinesis")

    @cached_property
    def s3(self) -> Any:
        return self.target.client("s3")

    # -- workers ---------------------------------------------------------------------------

    def start_worker(self) -> RunningWorker:
        """Start a worker of its own, and return while it is starting."""
        worker = RunningWorker(self, self.folder / f"worker-{next(self._names)}")
        self.workers.append(worker)
        return worker

    def environment(self) -> dict[str, str]:
        """What a daemon gets beside what every daemon gets."""
        return {VARIABLE: str(self.folder / "failpoints")}

    @property
    def worker_settings(self) -> Settings:
        """The settings, with the proxy for AWS."""
        return self.settings.model_copy(update={"endpoint_url": self.proxy.url})

    def arm(self, point: Point, action: str) -> None:
        """Let the next child that reaches a failpoint suffer."""
        (self.folder / "failpoints" / point).write_text(action)

    def struck(self, point: Point) -> bool:
        """Whether an armed failpoint was reached."""
        return not (self.folder / "failpoints" / point).exists()

    def spoil(self, *rules: Rule) -> Plan:
        """Let calls go wrong from now on."""
        self.proxy.plan = Plan(rules, self.seed, time.monotonic())
        return self.proxy.plan

    def heal(self) -> None:
        """Let all calls go well from now on."""
        self.proxy.plan = Plan()

    # -- load ------------------------------------------------------------------------------

    def fleet(self, count: int) -> list[Identity]:
        """New devices with certificates."""
        number = next(self._names)
        clients = Clients(self.target.client("iot"), self.dynamodb)
        names = [(f"dev-{number}-{i:03d}", "meter") for i in range(count)]
        return create_fleet(clients, self.settings, names, group="chaos")

    def _ledger(self) -> Ledger:
        path = self.folder / f"ledger-{next(self._names)}.sqlite"
        self._ledgers.append(path)
        settings = self.settings
        meta = Meta("chaos", self.seed, settings.stack, 0, settings.tiers, settings.clock_ahead_s)
        return Ledger(path, meta, lambda: time.time_ns() // 1_000_000)

    @contextlib.contextmanager
    def load(
        self, seconds: float, *, devices: int = 8, rate: float = 5.0, **load: Any
    ) -> Iterator[None]:
        """Devices that publish over MQTT while the body runs; ends when they are through."""
        fleet = self.fleet(devices)
        ledger_path: list[Ledger] = []
        errors: list[BaseException] = []
        wanted = steady_fleet(devices, rate=rate, seconds=seconds, kind="meter", **load)

        def drive() -> None:
            with self._ledger() as ledger:
                ledger_path.append(ledger)
                try:
                    asyncio.run(self._drive(fleet, wanted, ledger))
                except BaseException as error:  # told by the thread that waits
                    errors.append(error)

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            self.until(lambda: ledger_path and ledger_path[0].acked > devices, 40, "the load")
            yield
        finally:
            thread.join()
        if errors:
            raise errors[0]

    async def _drive(self, identities: Sequence[Identity], load: Fleet, ledger: Ledger) -> None:
        names = [one.device_id for one in identities]
        transport = MqttTransport({one.device_id: one for one in identities})
        runner = FleetRunner(load, names, seed=self.seed, ledger=ledger, transport=transport)
        status = await run_fleet(runner)
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
            put_all(client or self.kinesis, self.settings.stream, records)
            for device, message, _ in messages:
                ledger.acknowledged(device, message)

    def entries(self) -> list[Entry]:
        """Everything that was sent."""
        return [entry for path in self._ledgers for entry in read_entries(path)]

    # -- waiting and judging ---------------------------------------------------------------

    def until(self, probe: Callable[[], T], seconds: float, what: str) -> T:
        """What ``probe`` answers, once it is true.

        :raises AssertionError: when it does not come to that.
        """
        deadline = time.monotonic() + seconds
        while not (value := probe()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come within {seconds:.0f} s")
            time.sleep(0.05)
        return value

    def leases(self) -> dict[str, dict[str, str]]:
        """Every lease: shard to owner and checkpoint."""
        rows = self.dynamodb.scan(TableName=self.settings.application, ConsistentRead=True)["Items"]
        return {
            row["leaseKey"]["S"]: {
                "owner": row.get("leaseOwner", {}).get("S", ""),
                "checkpoint": row["checkpoint"]["S"],
            }
            for row in rows
        }

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Every record of the stream, by shard: what must be in the archive."""
        return read_stream(self.kinesis, self.settings.stream)

    def lag(self) -> dict[str, int]:
        """Records after each shard's checkpoint, of shards that are behind; a shard without a
        lease counts whole."""
        leases = self.leases()
        behind = {}
        for shard, records in self.records().items():
            checkpoint = leases.get(shard, {}).get("checkpoint", "TRIM_HORIZON")
            if checkpoint == "SHARD_END":
                continue
            left = len(records)
            if checkpoint.isdigit():
                reached = position(checkpoint, 0)
                left = sum(position(r["SequenceNumber"], 0) > reached for r in records)
            if left:
                behind[shard] = left
        return behind

    def drain(self, seconds: float = 90.0) -> list[str]:
        """L: wait, with no hand on it, until nothing is behind."""
        deadline = time.monotonic() + seconds
        while behind := self.lag():
            if time.monotonic() > deadline:
                return [f"L: {shard} is {count} records behind" for shard, count in behind.items()]
            time.sleep(0.2)
        return []

    def violations(self) -> list[str]:
        """Everything that is wrong by now and was not wrong when last asked."""
        found = [*self.drain(), *self.early]
        self.early = []
        clients = ReadClients(self.dynamodb, self.s3)
        observed = observe(clients, self.settings, self.target.account, None)
        found += self._misplaced(observed)
        report = self.report(observed)
        if not report.exact:
            found += [f"H/A/C: {difference}" for difference in report.differences]
        new = [one for one in found if one not in self._known]
        self._known |= set(new)
        return new

    def report(self, observed: Observed | None = None) -> Report:
        """The verifier's comparison of all that was sent with all that is there."""
        observed = observed or observe(
            ReadClients(self.dynamodb, self.s3), self.settings, self.target.account, None
        )
        rules = Rules(self.settings.tiers, self.settings.clock_ahead_s)
        return verify(self.entries(), observed, rules, now_s=time.time(), exclusive=True)

    def _misplaced(self, observed: Observed) -> list[str]:
        """A, against the stream itself: every record in the archive, once and whole."""
        archived = Counter((r.shard_id, r.sequence_number, r.reading) for r in observed.rows)
        wanted = Counter(
            (shard, record["SequenceNumber"], index)
            for shard, records in self.records().items()
            for record in records
            for index in _indexes(record["Data"])
        )
        found = [f"A: {p} is archived {archived[p]} times" for p in (archived - wanted)][:5]
        return found + [f"A: {p} is not archived" for p in (wanted - archived)][:5]

    def _watch(self, call: Call) -> None:
        """K, at each checkpoint that a worker writes: before it is let through, the archive must
        reach as far, and the newest rows there must be in their windows."""
        if call.operation != "UpdateItem" or f'"{self.settings.application}"' not in call.text:
            return
        if (asked := _checkpoint_of(call.text)) is None:
            return
        shard, sequence = asked
        if (found := self._too_early(shard, sequence)) is not None:
            self.early.append(found)

    def _too_early(self, shard: str, sequence: str) -> str | None:
        reached = position(sequence, 0)
        bucket = self.settings.bucket(self.target.account)
        newest: tuple[Any, str] | None = None
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                if f"/{shard}-" in item["Key"]:
                    first = position(item["Key"].rsplit("-", 1)[1].split(".")[0], 0)
                    if first <= reached and (newest is None or first > newest[0]):
                        newest = (first, item["Key"])
        if newest is None:
            return f"K: {shard} is checkpointed at {sequence} and nothing of it is archived"
        body = self.s3.get_object(Bucket=bucket, Key=newest[1])["Body"].read()
        rows = rows_of(body)
        last = max(position(row.sequence_number, 0) for row in rows)
        if last < reached:
            return f"K: {shard} is checkpointed at {sequence}, archived up to {last.sequence}"
        good = [
            r for r in rows if r.disposition == OK and position(r.sequence_number, 0) <= reached
        ]
        for row in good[-5:]:
            if not self._is_durable(row):
                return f"K: {shard} is checkpointed past {row.device_id}/{row.seq}, not durable"
        return None

    def _is_durable(self, row: ArchiveRow) -> bool:
        tier = self.settings.tiers[-1]  # the last to be flushed
        ts = row.ts or 0
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((ts - ts % tier.size_ms) / 1000))
        item = self.dynamodb.get_item(
            TableName=self.settings.windows_table,
            Key={"device": {"S": row.device_id}, "window": {"S": f"{tier.name}#{start}"}},
            ConsistentRead=True,
        ).get("Item", {"ids": {"M": {}}})
        ranges = item["ids"]["M"].get(row.boot, {"S": ""})["S"]
        bounds = (part.split("-") for part in ranges.split(",") if part)
        return any(int(part[0]) <= (row.seq or 0) <= int(part[-1]) for part in bounds)


class RunningWorker:
    """A worker with its supervisor's thread."""

    def __init__(self, site: Site, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._exit = ExitStack()
        log = self._exit.enter_context((folder / "worker.log").open("ab"))
        self.worker = self._exit.enter_context(
            worker_of(
                site.target, directory=folder, output=log, settings=site.worker_settings,
                environment=site.environment(), report_s=1.0,
            )
        )  # fmt: skip
        self._exit.enter_context(supervised(self.worker))

    @property
    def daemon(self) -> int:
        """The KCL daemon's process."""
        return self.worker.pid

    def children(self) -> list[int]:
        """The children's processes."""
        fork_server = self.worker.fork_server_pid
        return [pid for pid, _ in descendants(fork_server) if alive(pid)]

    def end(self) -> None:
        """Stop it, in order."""
        self._exit.close()


class _Recorder:
    """A device's observer: writes each message down with what must become of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.expect = OK

    def sending(self, device_id: str, message: Outgoing) -> None:
        self._ledger.sending(device_id, message, self.expect)

    def acknowledged(self, device_id: str, message: Outgoing) -> None:
        self._ledger.acknowledged(device_id, message)


def _indexes(data: bytes) -> list[int | None]:
    envelope = decode_record(data)
    message = decode(envelope.payload) if isinstance(envelope, Envelope) else None
    return list(range(len(message.readings))) if isinstance(message, Message) else [None]


def _checkpoint_of(body: str) -> tuple[str, str] | None:
    """Shard and sequence number of a lease's update that moves its checkpoint."""
    document = json.loads(body)
    shard = document.get("Key", {}).get("leaseKey", {}).get("S", "")
    moved = document.get("AttributeUpdates", {}).get("checkpoint", {}).get("Value", {}).get("S")
    if moved is None:
        return None
    return (shard, moved) if moved.isdigit() else None
