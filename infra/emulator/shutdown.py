"""The end of the embedded AWS's process: every connection is ended, however its task behaves."""

from __future__ import annotations

import asyncio
import types
from typing import Any, Final

AGAIN_S: Final = 0.2


async def end_within(tasks: asyncio.Future[Any], seconds: float) -> Any:
    """As :func:`asyncio.wait_for`, but cancel again until the tasks have ended.

    A task can lose a cancellation: in Python 3.11 ``wait_for`` swallows one that arrives in the
    moment in which its own future completes. ``asyncio.wait_for`` then waits for ever.

    :raises TimeoutError: when the tasks had to be cancelled.
    """
    await asyncio.wait({tasks}, timeout=seconds)
    if tasks.done():
        return tasks.result()
    while not tasks.done():
        tasks.cancel()
        await asyncio.wait({tasks}, timeout=AGAIN_S)
    raise TimeoutError


def end_every_connection() -> None:
    """Let Hypercorn end its connections by :func:`end_within`. A connection that is in the middle
    of a read when SIGTERM arrives could otherwise hold up the process for ever, with its state not
    saved (``hypercorn.asyncio.run.worker_serve``, version 0.18)."""
    from hypercorn.asyncio import run

    _ = run.worker_serve
    patched: Any = types.ModuleType("asyncio")
    patched.__dict__.update(asyncio.__dict__)
    patched.wait_for = end_within
    run.asyncio = patched
