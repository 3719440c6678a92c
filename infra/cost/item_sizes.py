"""How large this version's items and messages are, from the code that writes them.

A typical window and a typical latest state are folded and encoded as a worker does; nothing is
estimated but the readings themselves, whose values have two decimals.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from consumers.hot.device_state import DeviceState
from consumers.hot.items import Codec, DeviceCodec, WindowCodec
from consumers.hot.runs import Run, Stretch, runs_of
from consumers.hot.windows import Window
from infra.emulator.limits.item_size import item_bytes
from ingest.message import VERSION, Content, Message, Reading, encode
from ingest.record import encode_record
from ingest.tiers import Tier

NOW: Final = 1_795_420_800_000  # 2026-11-23T08:00:00Z
_DEVICE: Final = "device-000000"
_BOOT: Final = "9f2c61d0c1a44a2e"
_SEQ: Final = 1_000_000
_READINGS_FOLDED: Final = 60
"""More of them change an item by digits only: their ids are one range."""


def message_size(metrics: int, readings: int, content: Content = "json") -> int:
    """Bytes of a message's payload.

    :raises ValueError: when it breaks the contract, as one above 128 KiB does.
    """
    return len(_payload(metrics, readings, content))


def record_size(metrics: int, readings: int, content: Content = "json") -> int:
    """Bytes of the stream record that the topic rule makes of a message."""
    return len(encode_record(_payload(metrics, readings, content), _DEVICE, NOW))


@cache
def window_size(tier: Tier, metrics: int, readings: int) -> int:
    """Bytes of a window's item that so many readings were folded into."""
    window = Window(_DEVICE, f"{tier.name}#2026-11-23T08:00:00Z", NOW + tier.size_ms)
    window.ver = max(1, readings)
    for run in _runs(metrics, min(max(1, readings), _READINGS_FOLDED)):
        window.fold(run)
    return _item_size(WindowCodec("windows", tier, lambda: NOW, lambda _: None), window)


@cache
def roster_size(metrics: int) -> int:
    """Bytes of a device's item in the roster, group and type included."""
    state = DeviceState(_DEVICE)
    state.ver = _SEQ
    for run in _runs(metrics, 1):
        state.merge_run(run, NOW)
    provisioned = {"group": {"S": "building-7"}, "type": {"S": "sensor"}}
    return _item_size(DeviceCodec("devices"), state) + item_bytes(provisioned)


def _item_size(codec: Codec[Any], item: Any) -> int:
    names = (*codec.key_names, "ver", *codec.columns)
    key = [{"S": part} for part in codec.key(item)]
    values = [*key, {"N": str(item.ver)}, *codec.values(item)]
    return item_bytes(dict(zip(names, values, strict=True)))


def _rows(metrics: int, readings: int) -> list[dict[str, float]]:
    return [
        {f"metric_{m:02d}": round(21.5 + (7 * m + 13 * r) % 97 / 100, 2) for m in range(metrics)}
        for r in range(readings)
    ]


def _runs(metrics: int, readings: int) -> list[Run]:
    times = [NOW + 17 * i for i in range(readings)]
    stretch = Stretch(_BOOT, _SEQ, times, _rows(metrics, readings))
    return list(runs_of(stretch, lambda _: (NOW, NOW + 3_600_000)))


@cache
def _payload(metrics: int, readings: int, content: Content) -> bytes:
    rows = _rows(metrics, readings)
    return encode(
        Message(VERSION, _BOOT, _SEQ, [Reading(NOW + i, dict(row)) for i, row in enumerate(rows)]),
        content,
    )
