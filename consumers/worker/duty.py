"""What a worker does beside its shards: a thread that lasts as long as a context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

END_S: Final = 10.0
"""How long the context's end waits for the thread's."""


@contextmanager
def on_duty(name: str, run: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call ``run`` in a thread while the body runs. It gets an event that is set at the end of the
    body, and returns soon after that.

    >>> with on_duty("beats", lambda ending: ending.wait()):
    ...     pass
    """
    ending = threading.Event()
    thread = threading.Thread(target=run, args=(ending,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(END_S)
