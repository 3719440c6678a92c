"""``penstock schema``: the contract's JSON Schema, and the schemas of device types.

Sub-commands are imported when they are called: a device's installation prints the contract, and
has nothing of what they need.
"""

from __future__ import annotations

import importlib
from typing import Final

import rich_click as click

from infra.console import print_json
from ingest import message

COMMANDS: Final = {
    "check": "schema_files",
    "apply": "schema_files",
    "list": "schema_applied",
    "show": "schema_applied",
    "admit": "schema_admit",
}
"""Sub-command to its module in ``infra.commands``, where the function is ``<name>_``."""


class SchemaGroup(click.RichGroup):
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


@click.group(cls=SchemaGroup, invoke_without_command=True)
@click.pass_context
def schema(ctx: click.Context) -> None:
    """Print the JSON Schema of payload v1, the contract for device authors.

    The sub-commands are about the metrics of each type of device: unit, range, description.
    """
    if ctx.invoked_subcommand is None:
        print_json(message.schema())
