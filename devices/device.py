"""A device as any program uses it. A program on a device is mostly a loop that reads a sensor, so
this interface blocks; the event loop that talks to the broker runs on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from devices import identity as identities
from devices.async_device import AsyncDevice, Broker, DeviceOptions, ReadingId
from devices.commands.runner import Handler
from devices.events import OnEvent, log_event
from devices.identity import Identity
from devices.reporting import Reporting

T = TypeVar("T")


class Device:
    """A device with its spool, MQTT client, presence, remote configuration and expiry warnings.

    ::

        with Device.open("devices/pump-7") as device:
            while True:
                device.wait_interval()
                device.add({"temperature": read_sensor()})

    A context manager. Its methods may be called from any thread. Leaving the block waits up to
    ``options.drain_s`` for acknowledgements (not at all when an exception leaves it); what is not
    acknowledged stays in the spool, and the next run sends it.
    """

    def __init__(
        self,
        identity: Identity,
        options: DeviceOptions | None = None,
        *,
        on_event: OnEvent = log_event,
        broker: Broker | None = None,
    ) -> None:
        """Open the spool and start to connect; does not wait for a network.

        :raises SpoolBusyError: when another process runs this device.
        :raises SpoolFullError: when the disk has no room to open the spool.
        """
        self.identity = identity
        self._loop = asyncio.new_event_loop()
        self._closed = False
        name = f"device {identity.device_id}"
        # A daemon thread: a program that ends without close() loses nothing, as all is on disk.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._device = AsyncDevice(identity, options, on_event=on_event, broker=broker)
        try:
            self._run(self._device.__aenter__)
        except BaseException:
            self._stop_loop()
            raise

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        options: DeviceOptions | None = None,
        *,
        on_event: OnEvent = log_event,
        broker: Broker | None = None,
    ) -> Device:
        """Run the device whose certificate, key and ``device.json`` are in ``folder``.

        ``on_event`` is called with each :class:`~devices.events.Event`, on the device's thread;
        ``broker`` is a test double in tests.

        :raises IdentityError: when a file is missing or damaged.
        :raises SpoolBusyError: when another process runs this device.
        :raises SpoolFullError: when the disk has no room to open the spool.
        """
        identity = identities.read(Path(folder))
        return cls(identity, options, on_event=on_event, broker=broker)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(None if kind is None else 0.0)

    def close(self, drain_s: float | None = None) -> int:
        """Wait up to ``drain_s`` (by default as in the options) for acknowledgements, then
        disconnect; how many readings wait in the spool for the next run. May be repeated."""
        if not self._closed:
            self._closed = True
            wait_s = self._device.options.drain_s if drain_s is None else drain_s
            try:
                if wait_s:
                    self.drain(wait_s)  # may be interrupted by Ctrl-C
            finally:
                try:
                    self._run(lambda: self._device.close(0.0))
                finally:
                    self._stop_loop()
        return self._device.waiting

    @property
    def waiting(self) -> int:
        """Readings in the spool: stored, and not acknowledged."""
        return self._device.waiting

    @property
    def resumed(self) -> int:
        """Readings of earlier runs that were in the spool when it was opened."""
        return self._device.resumed

    @property
    def dropped(self) -> int:
        """Readings that a full spool dropped, with ``when_full="drop_oldest"``."""
        return self._device.dropped

    @property
    def reporting(self) -> Reporting:
        """How the device reports now."""
        return self._device.reporting

    def add(self, metrics: Mapping[str, float | bool], *, ts: int | None = None) -> ReadingId:
        """Store a reading; it is on the disk on return, and is sent in the background.

        ``metrics``: 1 to 64 names (``[a-z][a-z0-9_]*``) with finite numbers or booleans. ``ts``:
        event time (ms since 1970); now when it is not given.

        :raises ValueError: when the reading breaks the contract.
        :raises SpoolFullError: when the spool or the disk is full; the reading is not stored.
        """
        return self._call(lambda: self._device.add(metrics, ts=ts))

    def flush(self) -> None:
        """Send what waits for its message to fill."""
        self._call(self._device.flush)

    def drain(self, timeout_s: float | None = None) -> int:
        """Wait until everything stored so far is acknowledged, up to ``timeout_s``; how many
        readings still wait."""
        return self._run(lambda: self._device.drain(timeout_s))

    def on_command(self, handler: Handler) -> Handler:
        """Do the commands that are sent to this device with ``handler``; returned, so that it can
        decorate a function.

        ::

            @device.on_command
            def obey(command: Command) -> str:
                if command.name != "open-valve":
                    raise CommandRejectedError(f"a pump knows no {command.name}")
                return f"open by {valve.open(command.args['percent'])} %"

        It is called once for each command, one after the other, on a thread of its own: it may
        block. What it returns is reported; what it raises makes the command ``FAILED``, and
        :class:`~devices.errors.CommandRejectedError` makes it ``REJECTED``. Until there is a
        handler, commands wait.
        """
        return self._call(lambda: self._device.on_command(handler))

    def wait_interval(self) -> None:
        """Return when ``reporting.interval_s`` has passed since the last return. A change by
        remote configuration applies at once, also while this waits."""
        self._run(self._device.wait_interval)

    # -- the thread ------------------------------------------------------------------------

    def _run(self, start: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the device's thread, and wait for it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("on_event must not block: call only add() and flush() there")

        async def started() -> T:
            return await start()

        future = asyncio.run_coroutine_threadsafe(started(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _call(self, function: Callable[[], T]) -> T:
        """Call a function on the device's thread, and wait for it."""
        if threading.current_thread() is self._thread:
            return function()
        future: Future[Any] = Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised where it was called
                future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        result: T = future.result()
        return result

    def _stop_loop(self) -> None:
        self._run(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
