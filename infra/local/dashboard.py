"""The dashboard, wired to a deployment."""

from __future__ import annotations

import time

from dashboard.errors import PortBusyError
from dashboard.feed import Feed, Shadows, Tables, Writer
from dashboard.http.api import create_app
from dashboard.http.server import HOST, BackgroundServer, listen
from infra.acts import act_log
from infra.target import Target


def feed_of(target: Target, *, read_only: bool = False) -> Feed:
    """What the dashboard reads of a deployment. It changes alerts and sends commands as the
    operator does, unless ``read_only``."""
    settings = target.settings
    writer, shadows = None, Shadows(target.client("iot-data", "dashboard"))
    if not read_only:
        acts = act_log(target)
        shadows = shadows._replace(sends=target.client("iot-data", "operator"), acts=acts)
        if settings.alerts:
            writer = Writer(target.client("dynamodb", "operator"), acts)
    return Feed(
        target.client("dynamodb", "dashboard"),
        Tables(
            settings.windows_table,
            settings.devices_table,
            settings.status_table,
            settings.alerts_table if settings.alerts else "",
        ),
        writer=writer,
        shadows=shadows,
        now_ms=lambda: time.time_ns() // 1_000_000,
    )


def serve_beside(target: Target, port: int) -> BackgroundServer:
    """The dashboard of a local stack, in a thread; any free port when the wanted one is busy."""
    app = create_app(feed_of(target), target.settings.tiers, units=target.settings.units)
    try:
        listener = listen(HOST, port)
    except PortBusyError:
        listener = listen(HOST, 0)
    return BackgroundServer(app, listener)
