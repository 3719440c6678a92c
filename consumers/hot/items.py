"""Windows and device states as DynamoDB items, both ways, and the merge of a stored item with
what is pending in memory (``merge_stored``). No I/O.

Attribute values are in the low-level form, ``{"N": "1"}``: children skip the resource layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from consumers.hot.device_state import DeviceState, StoredState
from consumers.hot.metric import Metric
from consumers.hot.windows import Window
from ingest.id_ranges import IdSet
from ingest.tiers import Tier

AttributeValue = Mapping[str, Any]
Attributes = Mapping[str, AttributeValue]

_TINY: Final = 1e-125  # below it DynamoDB refuses a number; no sensor means it


class Versioned(Protocol):
    """An item under optimistic concurrency."""

    ver: int
    loaded: bool


ItemT = TypeVar("ItemT", bound=Versioned)
ItemT_contra = TypeVar("ItemT_contra", bound=Versioned, contravariant=True)


class Codec(Protocol[ItemT_contra]):
    """How one table holds one kind of item."""

    table: str
    key_names: tuple[str, ...]
    columns: tuple[str, ...]

    def key(self, item: ItemT_contra) -> tuple[str, ...]:
        """The values of ``key_names``."""

    def values(self, item: ItemT_contra) -> list[AttributeValue]:
        """The full state, in the order of ``columns``, without key and ``ver``."""

    def merge_stored(self, item: ItemT_contra, stored: Attributes | None) -> bool:
        """Merge the stored item into the one in memory, whose pending readings stay on top.
        Returns whether anything is left to write."""

    def settle(self, item: ItemT_contra) -> None:
        """The state that ``values`` gave is durable, under ``item.ver``."""


def number(value: float) -> AttributeValue:
    """A finite number as DynamoDB takes it."""
    return {"N": repr(value) if value > _TINY or value < -_TINY else "0"}


class WindowCodec:
    """``<stack>-windows``. ``settled`` is called with each window that became durable, while it
    still has the readings that did."""

    key_names: tuple[str, ...] = ("device", "window")
    columns: tuple[str, ...] = (
        "ids",
        "n",
        "first_ts",
        "last_ts",
        "metrics",
        "updated_at",
        "expires_at",
    )

    def __init__(
        self,
        table: str,
        tier: Tier,
        now_ms: Callable[[], int],
        settled: Callable[[Window], None],
    ) -> None:
        self.table = table
        self._ttl_ms = tier.ttl_s * 1000
        self._now_ms = now_ms
        self._settled = settled

    def key(self, item: Window) -> tuple[str, ...]:
        return item.device, item.name

    def values(self, item: Window) -> list[AttributeValue]:
        return [
            {"M": {boot: {"S": ranges} for boot, ranges in item.ids.dump().items()}},
            {"N": str(item.n)},
            {"N": str(item.first_ts)},
            {"N": str(item.last_ts)},
            {"M": {name: {"M": _dump_metric(m)} for name, m in item.metrics.items()}},
            {"N": str(self._now_ms())},
            {"N": str((item.end + self._ttl_ms) // 1000)},
        ]

    def merge_stored(self, item: Window, stored: Attributes | None) -> bool:
        item.clear()
        item.loaded = True
        if stored is not None:
            load_window(item, stored)
        item.refold()
        return bool(item.pending)

    def settle(self, item: Window) -> None:
        self._settled(item)
        item.pending.clear()


class DeviceCodec:
    """``<stack>-devices``. Group and type, written at provisioning, are left as they are."""

    key_names: tuple[str, ...] = ("device",)
    columns: tuple[str, ...] = ("metrics", "last_ts", "last_seen", "boot", "seq")

    def __init__(self, table: str) -> None:
        self.table = table

    def key(self, item: DeviceState) -> tuple[str, ...]:
        return (item.device,)

    def values(self, item: DeviceState) -> list[AttributeValue]:
        assert item.newest is not None, "only a device that sent is written"
        ts, boot, seq = item.newest
        return [
            {
                "M": {
                    name: {"M": {"v": number(value), "ts": {"N": str(at)}}}
                    for name, (value, at) in item.metrics.items()
                }
            },
            {"N": str(ts)},
            {"N": str(item.last_seen)},
            {"S": boot},
            {"N": str(seq)},
        ]

    def merge_stored(self, item: DeviceState, stored: Attributes | None) -> bool:
        item.merge_stored(None if stored is None else _load_device(stored))
        return item.dirty

    def settle(self, item: DeviceState) -> None:
        item.dirty = False


def load_window(window: Window, stored: Attributes) -> None:
    """Fill an empty window from its item."""
    window.ver = int(stored["ver"]["N"])
    window.ids = IdSet.load({boot: text["S"] for boot, text in stored["ids"]["M"].items()})
    window.n = int(stored["n"]["N"])
    window.first_ts = int(stored["first_ts"]["N"])
    window.last_ts = int(stored["last_ts"]["N"])
    window.metrics = {
        name: _load_metric(fields["M"]) for name, fields in stored["metrics"]["M"].items()
    }


def _dump_metric(metric: Metric) -> dict[str, AttributeValue]:
    return {
        "n": {"N": str(metric.n)},
        "sum": number(metric.sum),
        "min": number(metric.min),
        "max": number(metric.max),
        "mean": number(metric.mean),
        "m2": number(metric.m2),
        "first": number(metric.first),
        "last": number(metric.last),
        "first_at": {"N": str(metric.first_at)},
        "last_at": {"N": str(metric.last_at)},
    }


def _load_metric(fields: Attributes) -> Metric:
    return Metric(
        n=int(fields["n"]["N"]),
        sum=float(fields["sum"]["N"]),
        min=float(fields["min"]["N"]),
        max=float(fields["max"]["N"]),
        mean=float(fields["mean"]["N"]),
        m2=float(fields["m2"]["N"]),
        first=float(fields["first"]["N"]),
        first_at=int(fields["first_at"]["N"]),
        last=float(fields["last"]["N"]),
        last_at=int(fields["last_at"]["N"]),
    )


def _load_device(stored: Attributes) -> StoredState:
    newest = None
    if "boot" in stored:
        newest = (int(stored["last_ts"]["N"]), stored["boot"]["S"], int(stored["seq"]["N"]))
    metrics = stored["metrics"]["M"] if "metrics" in stored else {}
    return StoredState(
        ver=int(stored["ver"]["N"]),
        metrics={
            name: (float(field["M"]["v"]["N"]), int(field["M"]["ts"]["N"]))
            for name, field in metrics.items()
        },
        newest=newest,
        last_seen=int(stored["last_seen"]["N"]) if "last_seen" in stored else 0,
    )
