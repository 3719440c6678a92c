"""``penstock device``: the group. Each sub-command is imported when it is called, so that a device
needs only the packages that run it."""

from __future__ import annotations

import importlib
from typing import Final

import rich_click as click

COMMANDS: Final = {
    "create": "device_create",
    "list": "device_list",
    "run": "device_run",
    "configure": "device_configure",
    "command": "device_command",
    "announce": "device_announce",
    "claim": "device_claim",
    "provision": "device_provision",
    "rotate": "device_certificate",
    "revoke": "device_certificate",
    "delete": "device_delete",
}
"""Sub-command to its module in ``infra.commands``, where the function is ``<name>_``."""


class DeviceGroup(click.RichGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, without importing anything."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command's module."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"infra.commands.{module}"), f"{cmd_name}_"
        )
        return command


@click.group(cls=DeviceGroup)
def device() -> None:
    """Create devices, list them, run one, send commands, and manage certificates."""
