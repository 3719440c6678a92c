"""``penstock down``: stop the local stack and remove its state."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

import rich_click as click

from infra.console import UserError, say
from infra.local.removal import Loss, loss_of
from infra.runfile import HOME, is_held, running_stack

DOWN_S = 60.0


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask, whatever is lost.")
def down(yes: bool) -> None:
    """Stop the local stack and remove its state. The ledgers of simulations in .penstock stay.

    When devices' keys or readings that were not sent yet would be lost with it, it says so and
    asks; without a terminal it wants --yes.
    """
    stack = running_stack()
    if not yes:
        _confirm(loss_of(HOME / "stack" / "devices"))
    if stack is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stack.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S
    while is_held():
        if time.monotonic() > deadline:
            pid = stack.pid if stack else "the process of `penstock up`"
            raise UserError(f"the stack does not stop: end it with `kill -9 {pid}`")
        time.sleep(0.05)
    state = HOME / "stack"
    if stack is None and not state.exists():
        say("nothing is up in this folder, and there is no state")
        return
    shutil.rmtree(state, ignore_errors=True)
    say("the local stack is stopped and its state removed")


def _confirm(loss: Loss) -> None:
    if not loss:
        return
    if not sys.stdin.isatty():
        raise UserError(f"this removes {loss} in this folder: add --yes to remove them")
    if not click.confirm(f"This removes {loss} in this folder. Go on?", err=True):
        raise UserError("nothing was stopped or removed")
