"""The simplest device: sends this machine's load every second. python load_average.py FOLDER"""

import os
import sys
import time

from devices import Device

with Device.open(sys.argv[1]) as device:
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 60):
        one, five, fifteen = os.getloadavg()
        device.add({"load1": one, "load5": five, "load15": fifteen})
        time.sleep(1)
