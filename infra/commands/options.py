"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """``--json``: the result for a program."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def aws_option(command: F) -> F:
    """``--aws``: not the local stack."""
    return click.option(
        "--aws", is_flag=True, help="Talk to AWS even when a local stack is up in this folder."
    )(command)
