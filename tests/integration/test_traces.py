"""A device's publish, its fold and the flush of its window, as a collector sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.async_device import DeviceOptions
from devices.device import Device
from devices.mqtt.traces import TraceOptions
from devices.provisioning.registry import create_device
from devices.reporting import Reporting
from infra.target import Target
from tests.harness.otlp import Collector, collecting
from tests.harness.waiting import until
from tests.integration import roles_at_work as work
from tests.integration.conftest import STACK

pytestmark = [*STACK, pytest.mark.slow]


def _read_again(target: Target, device: str, window: str) -> int:
    """How many readings the window has that a span names."""
    item = target.client("dynamodb").get_item(
        TableName=target.settings.windows_table,
        Key={"device": {"S": device}, "window": {"S": window}},
        ConsistentRead=True,
    )["Item"]
    return int(item["n"]["N"])


def _flushed(collector: Collector) -> bool:
    return bool(collector.named("penstock.flush"))


def test_a_sampled_message_is_followed_from_the_device_to_its_window(
    pipeline: Target, tmp_path: Path
) -> None:
    create_device(work.clients(pipeline, "operator"), pipeline.settings, "traced-1")
    with collecting() as collector:
        traces = pipeline.settings.traces.model_copy(update={"endpoint": collector.endpoint})
        options = DeviceOptions(
            reporting=Reporting(0.0, 2, 0.1), traces=TraceOptions(1.0, collector.endpoint)
        )
        folder = pipeline.settings.devices_dir / "traced-1"
        with work.working(pipeline, tmp_path / "worker", "polling", traces=traces):
            with Device.open(folder, options) as device:
                device.add({"a": 1.0})
                device.add({"a": 2.0})
                assert device.drain(30) == 0
            until(lambda: _flushed(collector), 60, "the span of a flush")

    (publish,) = collector.named("penstock.publish")
    (fold,) = collector.named("penstock.fold")
    (flush,) = collector.named("penstock.flush")
    assert (publish.service, fold.service) == ("penstock-device", "penstock-worker")
    assert fold.context.trace_id == publish.context.trace_id
    assert fold.parent_id == publish.context.span_id
    assert publish.attributes["penstock.readings"] == fold.attributes["penstock.accepted"] == 2
    assert publish.start_ns < fold.start_ns <= fold.end_ns <= flush.end_ns
    assert flush.context.trace_id != fold.context.trace_id
    assert {link.context for link in flush.links} == {fold.context}
    readings = sum(link.attributes["penstock.readings"] for link in flush.links)
    windows = {link.attributes["penstock.window"] for link in flush.links}
    assert readings == 2
    assert sum(_read_again(pipeline, "traced-1", window) for window in windows) == 2
