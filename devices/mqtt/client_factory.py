"""One run of a device: what all of its connections have in common.

A client with a spool makes a connection after another; each is prepared here in the same way, for
presence, the shadow and acknowledgements, before it opens.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.batch import BatchLimits
from devices.identity import Identity
from devices.mqtt.client import WINDOW, Observer, TelemetryClient
from devices.mqtt.connection import Connection, Will

Preparation = Callable[[Connection], object]


class Session:
    """Makes clients, as :class:`devices.spool.client.ClientFactory`; each has the same ``will``."""

    def __init__(self, *, will: Will | None = None) -> None:
        self._will = will
        self._preparations: list[Preparation] = []

    def prepare(self, preparation: Preparation) -> None:
        """Have it called with each connection from now on, before it opens."""
        self._preparations.append(preparation)

    def __call__(
        self,
        identity: Identity,
        *,
        limits: BatchLimits | None = None,
        window: int = WINDOW,
        observer: Observer | None = None,
        close_s: float = 30.0,
    ) -> TelemetryClient:
        """A client that is not connected.

        :raises ConnectError: when the identity's certificate or key cannot be used.
        """
        connection = Connection(identity, will=self._will)
        for preparation in self._preparations:
            preparation(connection)
        return TelemetryClient(
            identity, limits=limits, window=window, observer=observer, close_s=close_s,
            connection=connection,
        )  # fmt: skip
