"""The ``penstock`` command: its groups, its options for all, and how it ends.

Commands are imported when they are called, so that ``penstock status`` does not pay for the
simulator. Exit code 0 is success, 1 failure, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import rich_click as click

from infra.console import STDERR, UserError
from infra.extras import advice, extra_of

COMMANDS: Final = (
    "demo", "up", "down", "status", "deploy", "destroy", "consume", "device", "simulate",
    "verify", "windows", "devices", "lake", "dashboard", "env", "rejects", "schema", "doctor",
    "cost",
    "prove", "sql", "audit", "replay", "rebuild", "alert",
)  # fmt: skip
"""Each is a function of its name in the module of its name in ``infra.commands``."""

click.rich_click.COMMAND_GROUPS = {
    "penstock": [
        {"name": "On this machine", "commands": ["demo", "up", "down", "status", "doctor"]},
        {"name": "On AWS", "commands": ["cost", "deploy", "destroy", "consume"]},
        {"name": "Devices and load", "commands": ["device", "simulate", "verify", "prove"]},
        {"name": "Hot tables from the archive", "commands": ["audit", "replay", "rebuild"]},
        {
            "name": "Reading",
            "commands": [
                "dashboard",
                "windows",
                "devices",
                "sql",
                "lake",
                "env",
                "rejects",
                "schema",
                "alert",
            ],
        },
    ]
}


class LazyGroup(click.RichGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, without importing anything."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command's module; without its packages, a command that says what to do."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"infra.commands.{cmd_name}")
        except ModuleNotFoundError as error:
            return _not_installed(cmd_name, error)
        command: click.Command = getattr(module, cmd_name)
        return command


def _not_installed(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command in place of one that cannot be imported.

    :raises ModuleNotFoundError: when the module is one of Penstock's own.
    """
    sentence = advice([name], error.name)
    if sentence is None:
        raise error

    @click.command(name, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1)
    def not_installed(arguments: tuple[str, ...]) -> None:  # noqa: ARG001
        raise UserError(sentence)

    not_installed.help = f"Not installed: pip install 'penstock[{extra_of(name)}]'."
    return not_installed


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", metavar="NAME", help="AWS profile, as AWS_PROFILE names it.")
@click.option("--region", metavar="REGION", help="AWS Region, before settings and profile.")
@click.version_option(package_name="penstock")
def penstock(profile: str | None, region: str | None) -> None:
    """IoT telemetry through AWS IoT Core and Kinesis into DynamoDB and S3, exactly once.

    Begin with `penstock demo`: the whole path on this machine, checked reading by reading.
    Then `penstock up` keeps it running, and `penstock deploy` puts the same on AWS.
    """
    for variable, value in (("AWS_PROFILE", profile), ("PENSTOCK_REGION", region)):
        if value is not None:
            os.environ[variable] = value


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return the process's exit code."""
    try:
        result: Any = penstock.main(arguments, prog_name="penstock", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return 1
    except UserError as error:
        STDERR.print(f"penstock: {error}", markup=False)
        return 1
    except ModuleNotFoundError as error:
        sentence = advice(sys.argv[1:] if arguments is None else arguments, error.name)
        if sentence is None:
            raise
        STDERR.print(f"penstock: {sentence}", markup=False)
        return 1
    except (KeyboardInterrupt, click.Abort):
        STDERR.print("stopped")
        return 130
    except Exception as error:
        if sentence := _aws_sentence(error) or _store_sentence(error):
            STDERR.print(f"penstock: {sentence}", markup=False)
            return 1
        raise
    return result if isinstance(result, int) else 0


def _store_sentence(error: Exception) -> str | None:
    """What a store said that refuses for good; it says what to do."""
    exceptions = sys.modules.get("consumers.exceptions")
    return str(error) if exceptions and isinstance(error, exceptions.StoreError) else None


def _aws_sentence(error: Exception) -> str | None:
    """A sentence for an error of an AWS call; ``None`` for any other error, which is a defect."""
    if "botocore" not in sys.modules:
        return None
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return f"AWS refuses: {error}"
    if isinstance(error, BotoCoreError):
        return f"AWS cannot be reached ({error}): is the stack up, and the network there?"
    return None
