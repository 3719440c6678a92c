"""What the command line prints: progress and errors to stderr, results to stdout.

With ``--json`` stdout carries one JSON document and nothing else, so a program can read it
while a person watches stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from rich.console import Console
from rich.live import Live
from rich.text import Text

STDERR: Final = Console(stderr=True, highlight=False, soft_wrap=True)
STDOUT: Final = Console(highlight=False, soft_wrap=True)
_JSON: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


class UserError(Exception):
    """An error that the user can correct; the text is one sentence that says how."""


def say(message: str) -> None:
    """One line of progress."""
    STDERR.print(Text(message))


def json_text(document: Any) -> str:
    """A document as indented JSON; what JSON does not know, a path for example, as its text."""
    return orjson.dumps(document, default=str, option=_JSON).decode()


def print_json(document: Any) -> None:
    """Print the result for a program to stdout."""
    sys.stdout.write(json_text(document))
    sys.stdout.flush()


class Stages:
    """Named steps of a long start, each timed (s) and shown as it ends. ``stopping`` says
    whether the user wants to stop."""

    def __init__(self, stopping: Callable[[], bool] = lambda: False) -> None:
        self._stopping = stopping
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, label: str, *, cut_short: bool = True) -> Iterator[None]:
        """Time one step; ``name`` is its key in reports, ``label`` what a person reads. A step
        that can be ``cut_short`` does not count as done when the user wants to stop meanwhile.

        :raises KeyboardInterrupt: when the user wants to stop, before the step or in it.
        """
        self._check(cut_short)
        started = time.monotonic()
        with live(lambda: f"  … {label}"):
            yield
        self._check(cut_short)
        self.seconds[name] = round(time.monotonic() - started, 2)
        say(f"  ✓ {label} ({self.seconds[name]:.1f} s)")

    def _check(self, cut_short: bool) -> None:
        if cut_short and self._stopping():
            raise KeyboardInterrupt


@contextmanager
def live(text: Callable[[], str]) -> Iterator[None]:
    """Keep one line up to date while something runs; silent when stderr is no terminal."""
    if not STDERR.is_terminal:
        yield
        return
    with Live(_Line(text), console=STDERR, refresh_per_second=5, transient=True):
        yield


class _Line:
    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __rich__(self) -> Text:
        return Text(self._text())
