"""What is lost when a local stack's state is removed: devices' keys, and readings not yet sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from devices import identity
from devices.spool.database import count_waiting
from devices.spool.spool import FILE as SPOOL

SIMULATED: Final = frozenset({"demo", "simulated", "scenario"})
"""Groups of devices that a simulation made: their keys are of no further use."""


@dataclass(frozen=True)
class Loss:
    """Names of the devices whose private keys are there, and unsent readings by device."""

    keys: list[str]
    readings: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.keys or self.readings)

    def __str__(self) -> str:
        parts = []
        if self.readings:
            count = sum(self.readings.values())
            parts.append(f"{count} unsent readings of {_names(list(self.readings))}")
        if self.keys:
            parts.append(f"the private keys of {_names(self.keys)}")
        return " and ".join(parts)


def loss_of(devices_dir: Path) -> Loss:
    """What the folder of a stack's devices holds that cannot be made again."""
    folders = sorted(devices_dir.iterdir()) if devices_dir.is_dir() else []
    keys = [f.name for f in folders if (f / identity.PRIVATE_KEY).exists() and not _simulated(f)]
    waiting = {folder.name: count_waiting(folder / SPOOL) for folder in folders}
    return Loss(keys, {name: count for name, count in waiting.items() if count})


def _simulated(folder: Path) -> bool:
    try:
        return orjson.loads((folder / "device.json").read_bytes())["group"] in SIMULATED
    except (OSError, ValueError, KeyError):
        return False


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} others"
