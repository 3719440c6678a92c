"""How a virtual device obeys commands: as a real one does, with each effect in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from devices.commands.runner import Command, CommandRunner
from devices.events import OnEvent
from devices.mqtt.connection import Connection
from devices.mqtt.shadow import RemoteConfiguration
from devices.reporting import Reporting
from simulator.verification.ledger import Ledger

WORK_MS: Final = "work_ms"
"""The argument of a command that says how long it takes (ms)."""


class Obeying:
    """The commands of one virtual device; what it has done is beside its spool.

    An effect is in the ledger before the command's time passes, so a process that is killed in
    between has had it, as a valve that was opened stays open.
    """

    def __init__(
        self,
        device: str,
        folder: Path,
        ledger: Ledger,
        now_ms: Callable[[], int],
        on_event: OnEvent,
    ) -> None:
        self._device = device
        self._ledger = ledger
        remote = RemoteConfiguration(device, Reporting(), on_event=on_event, now_ms=now_ms)
        self._runner = CommandRunner(
            folder, publish=remote.publish, now_ms=now_ms, on_event=on_event
        )
        self._runner.on_command(self._obey)
        remote.commands = self._runner
        self._remote = remote

    def attach(self, connection: Connection) -> None:
        """Follow commands on this connection, from its opening on."""
        self._remote.attach(connection)

    async def close(self) -> None:
        """Let the command that is being done come to its end."""
        await self._runner.close()

    async def _obey(self, command: Command) -> str:
        self._ledger.effect(self._device, command.id)
        await asyncio.sleep(float(command.args.get(WORK_MS, 0)) / 1000)
        return "done"
