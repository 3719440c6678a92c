"""Makes the clients of one run of a device.

A client with a spool opens a connection after another. Presence, shadow and acknowledgements are
registered here once, and are set up on each new connection before it opens.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.identity import Identity
from devices.mqtt.client import WINDOW, Observer, TelemetryClient
from devices.mqtt.connection import Connection, OnError, Will

ConnectionSetup = Callable[[Connection], object]
"""Adds subscriptions and callbacks to a connection that is not open yet."""


class TelemetryClientFactory:
    """A :class:`devices.spool.client.ClientFactory` whose connections have the same ``will`` and
    the same setup."""

    def __init__(self, *, will: Will | None = None, on_error: OnError | None = None) -> None:
        self._will = will
        self._on_error = on_error
        self._setups: list[ConnectionSetup] = []

    def add_setup(self, setup: ConnectionSetup) -> None:
        """Call ``setup`` with each connection from now on, before it opens."""
        self._setups.append(setup)

    def __call__(
        self,
        identity: Identity,
        *,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
    ) -> TelemetryClient:
        """A client that is not connected.

        :raises ConnectError: when the identity's certificate or key cannot be used.
        """
        connection = Connection(identity, will=self._will, on_error=self._on_error)
        for setup in self._setups:
            setup(connection)
        return TelemetryClient(
            identity, window=window, observer=observer, close_s=close_s, connection=connection
        )
