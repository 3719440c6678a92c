"""Meters a run on a local stack: what the embedded AWS counted between its start and its end."""

from __future__ import annotations

import time

from infra.cost.price_files import price_list
from infra.cost.run import RunCost, price_run
from infra.emulator.usage import read_usage
from infra.target import Target


class RunMeter:
    """Counts from the moment it is made. Only a local stack has meters."""

    def __init__(self, target: Target) -> None:
        """:raises ValueError: when the target is AWS itself, which bills what it counts."""
        settings = target.settings
        if not target.local or settings.endpoint_url is None:
            raise ValueError("AWS has no meters to read: see its bill")
        self._endpoint_url = settings.endpoint_url
        self._region = settings.region
        self._shards = target.client("kinesis").describe_stream_summary(StreamName=settings.stream)[
            "StreamDescriptionSummary"
        ]["OpenShardCount"]
        self._before = read_usage(self._endpoint_url)
        self._started = time.monotonic()

    def read(self, devices: int) -> RunCost:
        """What was used until now by so many devices, and what it would have cost."""
        return price_run(
            read_usage(self._endpoint_url).since(self._before),
            price_list(self._region),
            devices=devices,
            seconds=time.monotonic() - self._started,
            shards=self._shards,
        )
