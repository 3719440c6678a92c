"""What runs on a device: ``from devices import Device``.

Names are imported when they are first used, so that a program pays only for what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devices.async_device import AsyncDevice, DeviceOptions, ReadingId
    from devices.commands.runner import Command
    from devices.device import Device
    from devices.errors import (
        CommandRejectedError,
        ConnectError,
        DeviceError,
        IdentityError,
        ProvisioningError,
        PublishRefusedError,
        RefusedError,
        SpoolBusyError,
        SpoolFullError,
        StorageError,
        SubscribeRefusedError,
    )
    from devices.events import (
        Acknowledged,
        CertificateExpiring,
        ClockWrong,
        CommandEnded,
        Connected,
        Durable,
        Event,
        Failed,
        Offline,
        ReportingChanged,
        SettingRejected,
        ShadowRefused,
        SpoolReset,
    )
    from devices.reporting import Reporting
    from devices.spool.spool import SpoolLimits
    from devices.testing import FakeBroker

__all__ = [
    "Acknowledged",
    "AsyncDevice",
    "CertificateExpiring",
    "ClockWrong",
    "Command",
    "CommandEnded",
    "CommandRejectedError",
    "ConnectError",
    "Connected",
    "Device",
    "DeviceError",
    "DeviceOptions",
    "Durable",
    "Event",
    "Failed",
    "FakeBroker",
    "IdentityError",
    "Offline",
    "ProvisioningError",
    "PublishRefusedError",
    "ReadingId",
    "RefusedError",
    "Reporting",
    "ReportingChanged",
    "SettingRejected",
    "ShadowRefused",
    "SpoolBusyError",
    "SpoolFullError",
    "SpoolLimits",
    "SpoolReset",
    "StorageError",
    "SubscribeRefusedError",
]

_MODULES = {
    "AsyncDevice": "async_device",
    "Command": "commands.runner",
    "Device": "device",
    "DeviceOptions": "async_device",
    "FakeBroker": "testing",
    "ReadingId": "async_device",
    "Reporting": "reporting",
    "SpoolLimits": "spool.spool",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'devices' has no attribute {name!r}")
    module = _MODULES.get(name) or ("errors" if name.endswith("Error") else "events")
    return getattr(importlib.import_module(f"devices.{module}"), name)


def __dir__() -> list[str]:
    return __all__
