"""``penstock alert``: the group. Each sub-command is imported when it is called."""

from __future__ import annotations

import importlib
from typing import Final

import rich_click as click

COMMANDS: Final = {
    "check": "alert_rules",
    "apply": "alert_rules",
    "rules": "alert_rules",
    "test": "alert_test",
    "list": "alert_states",
    "show": "alert_states",
    "follow": "alert_states",
    "ack": "alert_acts",
    "mute": "alert_acts",
    "unmute": "alert_acts",
}
"""Sub-command to its module in ``infra.commands``, where the function is ``<name>_``."""


class AlertGroup(click.RichGroup):
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


@click.group(cls=AlertGroup)
def alert() -> None:
    """Check, test and apply alert rules, list alarms, acknowledge and mute them."""
