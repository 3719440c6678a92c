"""The exceptions of ``devices``: one type for each reaction of the caller.

.. code-block:: text

    DeviceError
    ├── IdentityError           a file of the device's folder is missing or damaged: repair it
    ├── ForeignThingError       the thing belongs to another stack: choose another name
    ├── ConnectError            no connection: the client retries; check network and certificate
    ├── RefusedError            the broker refuses this request each time: correct the IoT policy
    │   ├── PublishRefusedError
    │   └── SubscribeRefusedError
    ├── SpoolBusyError          another process has this spool open: stop that process
    ├── SpoolFullError          the reading is not stored: drop it, or retry when there is room
    ├── CommandRejectedError    raised by a program that does not do a command: nothing to do
    ├── StorageError            a file cannot be written: free the disk, then repeat the call
    ├── ClaimError              there is no such claim: list them, then name one
    └── ProvisioningError       AWS IoT does not provision the device: do what the text says

A reading or a setting that breaks the contract raises :class:`ValueError`: it is an error in the
program that made it.
"""

from __future__ import annotations


class DeviceError(Exception):
    """Base class. The text is a sentence that says what to do next."""


class IdentityError(DeviceError):
    """A device's certificate, key or configuration is missing or cannot be used."""


class ForeignThingError(DeviceError):
    """A thing of this name exists and is not one of this stack's devices."""


class ConnectError(DeviceError):
    """The broker cannot be reached, or does not accept this device."""


class RefusedError(DeviceError):
    """The broker refuses a request, and would refuse it again."""


class PublishRefusedError(RefusedError):
    """A message is refused. ``reason_code`` is MQTT 5's, ``None`` when the SDK refused it."""

    def __init__(self, message: str, reason_code: int | None) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class SubscribeRefusedError(RefusedError):
    """The broker does not allow this device to subscribe to a topic."""


class SpoolBusyError(DeviceError):
    """Another process has this spool open."""


class SpoolFullError(DeviceError):
    """A reading was not stored, because the spool or the disk is full. Readings stored before it
    are kept, and later ones are stored when there is room again."""


class CommandRejectedError(DeviceError):
    """A program raises it to refuse a command; the text is reported to who sent it."""


class StorageError(DeviceError):
    """A file or folder of the device cannot be written, because the disk is full for example."""


class ClaimError(DeviceError):
    """A claim is named that does not exist, or in a way that fits several."""


class ProvisioningError(DeviceError):
    """AWS IoT does not provision the device."""
