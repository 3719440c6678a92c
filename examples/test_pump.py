"""How to test a program that uses ``devices``: with a broker in memory. pytest test_pump.py"""

from pathlib import Path

from devices import Device, DeviceOptions, FakeBroker


def test_what_a_device_stores_without_a_network_is_sent_by_its_next_run(tmp_path: Path) -> None:
    broker = FakeBroker(online=False)
    folder = broker.make_folder(tmp_path, "pump-7")
    with Device.open(folder, DeviceOptions(drain_s=0), broker=broker) as device:
        device.add({"pressure": 4.2}, ts=1)
    assert (device.waiting, broker.readings("pump-7")) == (1, [])

    broker.online = True
    with Device.open(folder, broker=broker) as device:
        device.add({"pressure": 4.3}, ts=2)
    assert device.waiting == 0
    assert [reading.ts for reading in broker.readings("pump-7")] == [1, 2]
