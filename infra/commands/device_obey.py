"""What ``penstock device run --on-command PROGRAM`` does with a command to the device."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from devices.errors import CommandRejectedError
from ingest.commands.command import Command

REJECTED: Final = 64
"""The exit code with which a program refuses a command (``EX_USAGE`` of sysexits.h)."""


class ProgramError(Exception):
    """The program did not do the command."""


def program(path: Path) -> Callable[[Command], str]:
    """A handler that runs a program for each command: the command's name is its argument, and the
    command as JSON its input. Exit code 0 is success and what it prints the command's detail; 64
    refuses the command, and any other is a failure, both with what it prints as an error."""

    def obey(command: Command) -> str:
        done = subprocess.run(
            [path, command.name], input=msgspec.json.encode(command), capture_output=True,
            check=False,
        )  # fmt: skip
        said, errors = (
            text.decode(errors="replace").strip() for text in (done.stdout, done.stderr)
        )
        if done.returncode == REJECTED:
            raise CommandRejectedError(errors or "refused")
        if done.returncode:
            raise ProgramError(errors or f"exit code {done.returncode}")
        return said

    return obey
