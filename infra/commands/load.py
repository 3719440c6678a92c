"""What ``penstock demo`` and ``penstock simulate`` share: the load's options, and Ctrl-C."""

from __future__ import annotations

import functools
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click

from simulator.fleet import Load


def load_options(rate: float, seconds: float) -> Callable[[Callable[..., Any]], Any]:
    """The options of a load with these defaults; the command gets them as ``load``."""

    def decorate(command: Callable[..., Any]) -> Any:
        @functools.wraps(command)
        def with_load(
            rate: float,
            seconds: float,
            batch: int,
            seed: int | None,
            garbage: int,
            duplicates: int,
            **others: Any,
        ) -> Any:
            load = Load(
                rate=rate,
                batch=batch,
                seconds=seconds,
                seed=random.randrange(2**31) if seed is None else seed,
                garbage_every=garbage,
                duplicate_every=duplicates,
            )
            return command(load=load, **others)

        wrapped: Any = with_load
        for option in reversed(_options(rate, seconds)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _options(rate: float, seconds: float) -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--rate",
            default=rate,
            show_default=True,
            type=click.FloatRange(0.001, 1000),
            help="Messages a second from each device.",
        ),
        click.option(
            "--seconds",
            default=seconds,
            show_default=True,
            type=click.FloatRange(1, 86400),
            help="How long the devices send.",
        ),
        click.option(
            "--batch",
            default=1,
            show_default=True,
            type=click.IntRange(1, 1000),
            help="Readings in a message.",
        ),
        click.option(
            "--seed", type=int, help="Makes the devices' signals and timing the same again."
        ),
        click.option(
            "--garbage",
            default=0,
            metavar="K",
            type=click.IntRange(0),
            help="After every K-th message a device also sends bytes that nobody can read.",
        ),
        click.option(
            "--duplicates",
            default=0,
            metavar="K",
            type=click.IntRange(0),
            help="Every K-th message is published twice.",
        ),
    ]


@contextmanager
def stop_on_signals(stopping: threading.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks to stop; the second ends at once."""

    def ask(*_: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    former = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
