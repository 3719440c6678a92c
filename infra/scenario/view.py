"""The live view of a scenario while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.console import STDERR, say
from simulator.load.director import Director

LINE_EVERY_S: Final = 10.0


@contextmanager
def watching(director: Director) -> Iterator[None]:
    """A live table on a terminal; elsewhere a line every few seconds."""
    if STDERR.is_terminal:
        with Live(_View(director), console=STDERR, refresh_per_second=2, transient=True):
            yield
        return
    director.on_sample = _lines(director)
    yield


def _lines(director: Director) -> Callable[[], None]:
    last = [-LINE_EVERY_S]

    def line() -> None:
        at = director.elapsed()
        if at - last[0] >= LINE_EVERY_S and director.samples:
            last[0] = at
            sample = director.samples[-1]
            say(
                f"  … {max(0, at):.0f} of {director.scenario.seconds:.0f} s: "
                f"{sample.connected} connected, {sample.taken} readings taken, "
                f"{sample.acked} messages acknowledged, {sample.waiting} readings wait"
            )

    return line


class _View:
    def __init__(self, director: Director) -> None:
        self._director = director

    def __rich__(self) -> Group:
        director = self._director
        at = max(0.0, director.elapsed())
        table = Table(box=None, pad_edge=False)
        for heading in ("fleet", "phase", "devices", "connected", "taken", "acked", "waiting", ""):
            table.add_column(heading, justify="left" if heading in ("fleet", "phase") else "right")
        for name, run in director.fleets.items():
            table.add_row(
                name, run.fleet.phase(at), str(run.fleet.devices), str(run.status.connected),
                str(run.total("taken")), str(run.total("acked")), str(run.status.waiting),
                "" if run.up else "power cut",
            )  # fmt: skip
        title = f"  {director.scenario.name}: {at:.0f} of {director.scenario.seconds:.0f} s"
        if director.samples and director.samples[-1].extra:
            facts = director.samples[-1].extra
            title += f", {facts['durable']} durable, lag {facts['lag_ms']:.0f} ms"
            title += f", p99 {facts['p99']:.0f} ms" if facts["p99"] else ""
        return Group(Text(title), table)
