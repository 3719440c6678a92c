"""A device with remote configuration, events and a bounded spool. python pump.py FOLDER SECONDS"""

import random
import sys
import time

from devices import (
    CertificateExpiring,
    Device,
    DeviceError,
    DeviceOptions,
    Event,
    Offline,
    Reporting,
    SpoolFullError,
    SpoolLimits,
)


def read_sensors() -> dict[str, float | bool]:
    """Stands in for a pump's sensors."""
    return {"pressure": random.gauss(4.2, 0.1), "running": random.random() > 0.05}


def on_event(event: Event) -> None:
    """React to some events and ignore the others."""
    match event:
        case Offline(reason=reason, waiting=waiting):
            print(f"no connection ({reason}), {waiting} readings are stored")
        case CertificateExpiring(days=days):
            print(f"the certificate expires in {days} days")


def main(folder: str, seconds: float) -> int:
    """Send readings for some seconds; how many wait for the next run."""
    options = DeviceOptions(
        reporting=Reporting(interval_s=0.5, batch=10, age_s=2.0),  # until its shadow says otherwise
        spool=SpoolLimits(bytes=8 * 2**20, when_full="refuse"),
    )
    end = time.monotonic() + seconds
    with Device.open(folder, options, on_event=on_event) as device:
        while time.monotonic() < end:
            device.wait_interval()
            try:
                device.add(read_sensors())
            except SpoolFullError as error:
                print(f"a reading is lost: {error}")
    return device.waiting


if __name__ == "__main__":
    try:
        sys.exit(1 if main(sys.argv[1], float(sys.argv[2])) else 0)
    except DeviceError as error:
        sys.exit(str(error))
