"""What ``penstock demo`` and ``penstock simulate`` share: the load's options, and Ctrl-C."""

from __future__ import annotations

import functools
import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource

from infra.console import STDOUT, UserError, print_json, say
from infra.runfile import HOME
from infra.simulation.report import report_lines, verdict_line
from infra.simulation.scenario import Played
from infra.simulation.scenario_report import lines as scenario_lines
from infra.simulation.scenario_report import report_page
from simulator.load.fleet import Load
from simulator.scenario import Scenario, ScenarioError, at_speed, thinned
from simulator.scenario import load as load_scenario


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


def scenario_options(command: Callable[..., Any]) -> Any:
    """The options of a scenario; the command gets them as ``wanted``."""

    @functools.wraps(command)
    def with_scenario(
        scenario: str | None, speed: float | None, report: Path | None, **others: Any
    ) -> Any:
        return command(wanted=_wanted(scenario, speed, report), **others)

    wrapped: Any = with_scenario
    for option in (
        click.option(
            "--report",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Where a scenario's page goes.  [default: .penstock/reports/<name>-<seed>.html]",
        ),
        click.option(
            "--speed",
            type=click.FloatRange(0.01, 1000),
            help="Times as fast as the scenario's clock, instead of its own speed.",
        ),
        click.option(
            "--scenario",
            metavar="NAME|FILE",
            help="Play this instead: fleets, phases and faults from a TOML file, or by the name "
            "of one that comes along (bad-day, day, thousand). --devices then thins it out.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True)
class Wanted:
    """A scenario as the user wants it."""

    scenario: Scenario
    seed: int
    report: Path


def _wanted(name: str | None, speed: float | None, report: Path | None) -> Wanted | None:
    if name is None:
        if speed is not None or report is not None:
            raise click.UsageError("--speed and --report belong to --scenario")
        return None
    context = click.get_current_context(silent=False)
    assert context is not None
    try:
        scenario = at_speed(load_scenario(name), speed)
    except ScenarioError as error:
        raise UserError(str(error)) from None
    if context.get_parameter_source("devices") == ParameterSource.COMMANDLINE:
        scenario = thinned(scenario, context.params["devices"])
    given = context.params.get("seed")
    seed = scenario.seed if given is None else given
    default = HOME / "reports" / f"{scenario.name.replace(' ', '-')}-{seed}.html"
    return Wanted(scenario, seed, report or default)


def told(wanted: Wanted, played: Played, document: dict[str, Any], *, as_json: bool) -> int:
    """Write the report, print the result, and return the exit code."""
    wanted.report.parent.mkdir(parents=True, exist_ok=True)
    wanted.report.write_text(report_page(document))
    wanted.report.with_suffix(".json").write_text(json.dumps(document, indent=1, default=str))
    say(f"  → report {wanted.report}")
    if as_json:
        print_json(document)
    else:
        text = ["", *report_lines(played.report), *scenario_lines(played), ""]
        STDOUT.print("\n".join([*text, verdict_line(played)]), markup=False)
    return 0 if played.exact else 1


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
