"""What a worker does beside its shards: a thread that lasts as long as a context."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from consumers.logs import ROOT

log: Final = logging.getLogger(f"{ROOT}.duty")

END_S: Final = 10.0
"""How long the context's end waits for the thread's."""

AGAIN_S: Final = 5.0
"""The pause after which a duty begins again that ended in an exception."""


@contextmanager
def on_duty(
    name: str, run: Callable[[threading.Event], None], again_s: float = AGAIN_S
) -> Iterator[None]:
    """Call ``run`` in a thread while the body runs. It gets an event that is set at the end of the
    body, and returns soon after that. When it raises, that is logged and it is called again, after
    ``again_s``: nobody would miss a duty that ended without a word.

    >>> with on_duty("beats", lambda ending: ending.wait()):
    ...     pass
    """
    ending = threading.Event()

    def work() -> None:
        while True:
            try:
                run(ending)
            except Exception:
                log.exception("the duty %r failed and begins again in %g s", name, again_s)
            else:
                return
            if ending.wait(again_s):
                return

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(END_S)
