"""P13: from a device's clock to the page of somebody who looks at it, "like AWS".

The whole path with the profile "like AWS" and the tiers and flush times of ``standard`` freshness,
in which a window is written when it is over: 200 devices with a message every two seconds, of which
a viewer has 20 on the page. The sample is the time from a reading's ``ts`` to its arrival in the
server-sent events that the page reads; a reading that a newer one overtook was never shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks.measure import Progress, Result, Samples, limit, result
from benchmarks.path.p4_full_path import driven, local_stack
from infra.emulator.profile import LIKE_AWS
from infra.local.dashboard import serve_beside
from infra.simulation.provision_fleet import fleet_names, provision_fleet
from ingest.freshness import Freshness, flush_policy
from ingest.histogram import Histogram

DEVICES: Final = 200
ON_THE_PAGE: Final = 20
RATE: Final = 0.5
WARM_S: Final = 15.0
MEASURED_S: Final = 60.0
SLICES: Final = 5
TARGET_P50_MS: Final = 800.0
TARGET_P99_MS: Final = 1500.0


def run(progress: Progress) -> Result:
    """Measure what a viewer sees for a minute."""
    with with_freshness("standard"), local_stack(progress, profile=LIKE_AWS) as stack:
        settings = stack.target.settings
        fleet = provision_fleet(stack.target, fleet_names(settings.stack, DEVICES), group="bench")
        stack.await_shards()
        shown = [one.device_id for one in fleet[:ON_THE_PAGE]]
        with (
            serve_beside(stack.target, 0) as page,
            driven(stack, fleet, RATE, WARM_S + MEASURED_S + 5),
            Viewer(page.url, shown) as viewer,
        ):
            time.sleep(WARM_S)
            slices = []
            for number in range(SLICES):
                progress(f"{number * MEASURED_S / SLICES:.0f} of {MEASURED_S:.0f} s …")
                viewer.take()
                time.sleep(MEASURED_S / SLICES)
                slices.append(viewer.take())
    what = f"device ts to the page, {ON_THE_PAGE} of {DEVICES} devices on it"
    return result(
        'device ts to a page that is open, profile "like AWS", standard freshness',
        [
            limit(f"{what}: p50", _percentiles(slices, 0.5), unit="ms", at_most=TARGET_P50_MS),
            limit(f"{what}: p99", _percentiles(slices, 0.99), unit="ms", at_most=TARGET_P99_MS),
        ],
        shown=sum(one.total for one in slices),
    )


@contextlib.contextmanager
def with_freshness(freshness: Freshness) -> Iterator[None]:
    """The settings of an AWS deployment with this freshness, in place of a local run's own."""
    policy = flush_policy(freshness)
    wanted = {
        "PENSTOCK_TIERS": json.dumps([asdict(tier) for tier in policy.tiers]),
        "PENSTOCK_LATEST_FLUSH_S": str(policy.latest_flush_s),
        "PENSTOCK_SEGMENT_AGE_S": str(policy.segment_age_s),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Viewer:
    """An open page: reads the live events, and how old each device's newest reading is when it
    comes. Use as a context manager."""

    def __init__(self, url: str, devices: Sequence[str]) -> None:
        self._url = f"{url}/api/v1/live?watch={','.join(devices)}"
        self._newest: dict[str, int] = {}
        self._seen = Histogram()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Viewer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()

    def take(self) -> Histogram:
        """What was seen since the last call (ms)."""
        with self._lock:
            seen, self._seen = self._seen, Histogram()
        return seen

    def _read(self) -> None:
        with urllib.request.urlopen(self._url, timeout=60) as answer:  # noqa: S310
            kind = ""
            for line in answer:
                if self._ending.is_set():
                    return
                name, _, value = line.decode().strip().partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "devices":
                    self._note(json.loads(value), time.time_ns() // 1_000_000)

    def _note(self, rows: Iterable[Mapping[str, Any]], now_ms: int) -> None:
        with self._lock:
            for row in rows:
                ts = row["last_ts"]
                if ts is not None and ts > self._newest.get(row["device"], 0):
                    self._newest[row["device"]] = ts
                    self._seen.add(now_ms - ts)


def _percentiles(slices: Sequence[Histogram], share: float) -> Samples:
    return Samples([one.percentile(share) or float("inf") for one in slices])
