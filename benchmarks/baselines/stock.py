"""What a competent user would write from the official sample: ``amazon_kclpy``'s own parse, a
pydantic model a record, the same windows in a dict."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from amazon_kclpy import dispatch
from pydantic import BaseModel, Field

from ingest.tiers import DEFAULT_TIERS


class StockReading(BaseModel):
    """A reading, as the sample's user would model it."""

    ts: int
    metrics: dict[str, float] = Field(min_length=1, max_length=64)


class StockMessage(BaseModel):
    """A message, likewise."""

    v: int
    boot: str = Field(pattern="^[0-9a-zA-Z-]{8,36}$")
    seq: int = Field(ge=0)
    readings: list[StockReading] = Field(min_length=1, max_length=1000)


def fold(lines: Sequence[bytes]) -> dict[tuple[str, str, int], dict[str, list[float]]]:
    """The official library's parse and the same windows, without ids: count, sum, min, max."""
    windows: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    sizes = [(tier.name, tier.size_ms) for tier in DEFAULT_TIERS]
    for one in lines:
        action = json.loads(one, object_hook=dispatch.message_decode)
        for record in action.records:
            envelope = json.loads(record.binary_data)
            device = envelope["device_id"]
            message = StockMessage.model_validate_json(base64.b64decode(envelope["payload"]))
            for reading in message.readings:
                for tier, size in sizes:
                    start = reading.ts - reading.ts % size
                    window = windows.setdefault((device, tier, start), {})
                    for name, value in reading.metrics.items():
                        kept = window.get(name)
                        if kept is None:
                            window[name] = [1, value, value, value]
                        else:
                            kept[0] += 1
                            kept[1] += value
                            kept[2] = min(kept[2], value)
                            kept[3] = max(kept[3], value)
    return windows
