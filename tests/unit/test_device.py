"""A device as a program uses it, with a broker in memory."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import devices
from devices import (
    Acknowledged,
    AsyncDevice,
    CertificateExpiring,
    Connected,
    Device,
    DeviceError,
    DeviceOptions,
    Event,
    FakeBroker,
    IdentityError,
    Offline,
    Reporting,
    SpoolBusyError,
    SpoolFullError,
    SpoolLimits,
    events,
)
from devices.spool.delivery import SILENT, DeliveryMonitor
from tests.unit.test_claim import write_certificate

ROOT = Path(__file__).parents[2]
FAST = SpoolLimits(sync=False)
NAME = "pump-7"


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def folder(broker: FakeBroker, tmp_path: Path) -> Path:
    return broker.make_folder(tmp_path, NAME)


def values(broker: FakeBroker) -> list[Any]:
    return [reading.metrics["v"] for reading in broker.readings(NAME)]


def test_what_is_added_is_at_the_broker_when_the_block_ends(
    broker: FakeBroker, folder: Path
) -> None:
    with Device.open(folder, DeviceOptions(spool=FAST), broker=broker) as device:
        ids = [device.add({"v": i}) for i in range(50)]
    assert values(broker) == [float(i) for i in range(50)]
    assert [one.seq for one in ids] == list(range(50))
    assert len({one.boot for one in ids}) == 1
    assert device.waiting == 0


def test_a_reading_has_the_given_time_or_the_time_at_which_it_is_added(
    broker: FakeBroker, folder: Path
) -> None:
    async def scenario() -> None:
        from devices.identity import read

        device = AsyncDevice(read(folder), broker=broker, now_ms=lambda: 77)
        async with device:
            device.add({"v": 1}, ts=5)
            device.add({"v": 2})
            assert await device.drain(10) == 0

    asyncio.run(scenario())
    assert [reading.ts for reading in broker.readings(NAME)] == [5, 77]


def test_without_a_broker_readings_are_stored_and_the_next_run_sends_them(
    broker: FakeBroker, folder: Path
) -> None:
    broker.online = False
    seen: list[Event] = []
    offline = threading.Event()

    def on_event(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Offline):
            offline.set()

    options = DeviceOptions(spool=FAST, drain_s=0)
    with Device.open(folder, options, on_event=on_event, broker=broker) as device:
        device.add({"v": 1})
        assert offline.wait(10)
        assert device.drain(0.01) == 1
    assert values(broker) == []
    with Device.open(folder, DeviceOptions(spool=FAST), broker=broker) as device:
        assert (device.waiting, device.resumed) == (1, 1)
        broker.online = True  # not before it was counted: it would be sent at once
        device.add({"v": 2})
    assert values(broker) == [1.0, 2.0]
    (only,) = [event for event in seen if isinstance(event, Offline)]
    assert "the test broker is offline" in only.reason


def test_a_program_hears_of_connections_and_acknowledgements(
    broker: FakeBroker, folder: Path
) -> None:
    seen: list[Event] = []
    with Device.open(folder, on_event=seen.append, broker=broker) as device:
        one = device.add({"v": 1})
    assert Connected(1) in seen
    assert Acknowledged(one.boot, one.seq, 1) in seen


def test_a_callback_that_raises_does_not_stop_the_delivery(
    broker: FakeBroker, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_event(event: Event) -> None:
        raise ZeroDivisionError(str(event))

    with Device.open(folder, on_event=on_event, broker=broker) as device:
        device.add({"v": 1})
    assert values(broker) == [1.0]
    assert "on_event raised" in caplog.text


def test_a_callback_may_add_a_reading_and_may_not_block(broker: FakeBroker, folder: Path) -> None:
    errors: list[BaseException] = []
    holder: list[Device] = []
    ready = threading.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, Acknowledged) and event.seq == 0:
            ready.wait(10)
            holder[0].add({"v": 2})
            try:
                holder[0].drain()
            except RuntimeError as error:
                errors.append(error)

    options = DeviceOptions(reporting=Reporting(batch=1), spool=FAST)
    with Device.open(folder, options, on_event=on_event, broker=broker) as device:
        holder.append(device)
        ready.set()
        device.add({"v": 1})
        while len(broker.messages(NAME)) < 2:
            device.drain(10)
    assert values(broker) == [1.0, 2.0]
    assert "must not block" in str(errors[0])


def test_a_device_runs_once_at_a_time(broker: FakeBroker, folder: Path) -> None:
    with Device.open(folder, broker=broker), pytest.raises(SpoolBusyError, match="runs once"):
        Device.open(folder, broker=broker)


def _fill(device: Device) -> None:
    for i in range(100):
        device.add({"v": i})


def _add_and_fail(device: Device) -> None:
    device.add({"v": 1})
    raise KeyError


def test_a_full_spool_raises_and_what_is_stored_is_kept(broker: FakeBroker, folder: Path) -> None:
    broker.online = False
    options = DeviceOptions(spool=SpoolLimits(bytes=300, sync=False), drain_s=0)
    with Device.open(folder, options, broker=broker) as device:
        with pytest.raises(SpoolFullError):
            _fill(device)
        stored = device.waiting
        assert 0 < stored < 10
    assert device.waiting == stored


def test_a_reading_that_breaks_the_contract_is_a_value_error(
    broker: FakeBroker, folder: Path
) -> None:
    with Device.open(folder, broker=broker) as device, pytest.raises(ValueError, match="Not A"):
        device.add({"Not A Name": 1.0})


def test_a_folder_without_a_device_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="holds no device"):
        Device.open(tmp_path)


def test_an_exception_leaves_the_block_at_once_and_readings_stay(
    broker: FakeBroker, folder: Path
) -> None:
    broker.online = False
    device = Device.open(folder, DeviceOptions(drain_s=3600), broker=broker)
    with pytest.raises(KeyError), device:
        _add_and_fail(device)
    assert device.waiting == 1
    assert device.close() == 1, "closing again changes nothing"


def test_no_thread_is_left_when_a_device_is_closed(broker: FakeBroker, folder: Path) -> None:
    before = threading.active_count()
    with Device.open(folder, broker=broker) as device:
        device.add({"v": 1})
    assert threading.active_count() == before


def test_a_certificate_that_ends_soon_is_an_event(broker: FakeBroker, folder: Path) -> None:
    write_certificate(folder / "certificate.pem", days=10)
    seen: list[Event] = []
    expiring = threading.Event()

    def on_event(event: Event) -> None:
        seen.append(event)
        if isinstance(event, CertificateExpiring):
            expiring.set()

    with Device.open(folder, on_event=on_event, broker=broker):
        assert expiring.wait(10)
    (found,) = [event for event in seen if isinstance(event, CertificateExpiring)]
    assert (found.device_id, found.days) == (NAME, 9)


# -- an outage is reported once, and then every half minute -------------------------------------


class Outage:
    """A delivery monitor on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen: list[Event] = []
        self.monitor = DeliveryMonitor(lambda: self.now, [1, 2, 3], self.seen.append)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.monitor.check()

    def reports(self) -> list[tuple[str, float]]:
        return [(e.reason, e.seconds) for e in self.seen if isinstance(e, Offline)]


def test_an_outage_is_reported_at_once_and_then_every_half_minute_with_what_waits() -> None:
    outage = Outage()
    for _ in range(5):
        outage.monitor.on_failure("no broker answers")
    outage.after(30)
    outage.after(30)
    assert outage.reports() == [("no broker answers", 0), ("no broker answers", 30),
                                ("no broker answers", 60)]  # fmt: skip
    assert "3 readings wait" in str(outage.seen[-1])
    outage.monitor.on_connected(1)
    outage.after(30)
    assert len(outage.reports()) == 3
    assert outage.seen[-1] == Connected(1)


def test_the_newest_reason_of_an_outage_is_in_its_next_report() -> None:
    outage = Outage()
    for reason in ("no broker answers", "no route", "not let in"):
        outage.now += 1
        outage.monitor.on_failure(reason)
    outage.after(28)
    assert [reason for reason, _ in outage.reports()] == ["no broker answers", "not let in"]


def test_a_connection_that_comes_and_goes_is_reported_at_most_every_half_minute() -> None:
    outage = Outage()
    for count in range(1, 31):
        outage.monitor.on_failure("lost")
        outage.now += 2
        outage.monitor.on_connected(count)
    assert len(outage.reports()) == 2


def test_a_broker_that_acknowledges_nothing_is_reported_after_half_a_minute() -> None:
    outage = Outage()
    outage.monitor.on_connected(1)
    outage.now = 100
    outage.monitor.on_sent()
    outage.after(29)
    assert outage.reports() == []
    outage.after(1)
    assert outage.reports() == [(SILENT, 30)]
    outage.monitor.on_done(acknowledged=True)
    outage.after(30)
    assert len(outage.reports()) == 1


# -- the package --------------------------------------------------------------------------------


def test_every_exported_name_is_there_and_every_exception_is_a_device_error() -> None:
    for name in devices.__all__:
        found = getattr(devices, name)
        if name.endswith("Error"):
            assert issubclass(found, DeviceError)
    with pytest.raises(AttributeError):
        devices.Nothing  # noqa: B018


def test_every_event_is_a_sentence_with_a_level() -> None:
    for event in (Connected(1), Offline("why", 0, 2), Acknowledged("b", 0, 1)):
        assert str(event)
        assert event.level in (logging.DEBUG, logging.INFO, logging.WARNING)
    assert all(issubclass(getattr(devices, n), events.Event) for n in ("Durable", "Failed"))


def test_a_device_program_loads_nothing_of_a_cloud_or_a_command_line() -> None:
    code = "from devices import Device; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    unwanted = ("boto3", "botocore", "cryptography", "pydantic", "click", "rich", "pyarrow",
                "ministack", "infra", "simulator", "consumers")  # fmt: skip
    assert not loaded & set(unwanted)


def test_importing_the_package_alone_imports_none_of_its_dependencies() -> None:
    code = "import devices, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {"awscrt", "awsiot", "msgspec", "asyncio", "sqlite3"}


@pytest.mark.parametrize("example", ["load_average.py", "pump.py", "test_pump.py"])
def test_the_page_shows_each_example_as_it_is(example: str) -> None:
    page = (ROOT / "docs" / "devices.md").read_text()
    assert f"```python\n{(ROOT / 'examples' / example).read_text()}```" in page


def test_the_example_of_a_test_passes() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
         str(ROOT / "examples" / "test_pump.py")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
