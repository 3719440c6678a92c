"""``penstock down``: stop the local stack and remove its state."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time

import rich_click as click

from infra.console import UserError, say
from infra.runfile import HOME, is_held, running_stack

DOWN_S = 60.0


@click.command()
def down() -> None:
    """Stop the local stack and remove its state."""
    stack = running_stack()
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
