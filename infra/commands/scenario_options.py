"""The options of a scenario, and what ``demo`` and ``simulate`` print when it has ended."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource

from infra.console import STDOUT, UserError, json_text, print_json, say
from infra.runfile import HOME
from infra.scenario.play import Played
from infra.scenario.report import lines as scenario_lines
from infra.scenario.report import report_page, worker_lines
from infra.simulation.report import report_lines, verdict_line
from simulator.errors import ScenarioError
from simulator.rescale import at_speed, thinned
from simulator.scenario import Scenario, load_scenario


def scenario_options(command: Callable[..., Any]) -> Any:
    """The options of a scenario; the command gets them as ``wanted``."""

    @functools.wraps(command)
    def with_scenario(
        scenario: str | None, speed: float | None, report: Path | None, **others: Any
    ) -> Any:
        return command(wanted=_scenario_run(scenario, speed, report), **others)

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
            "of one that is included (bad-day, day, prove, thousand). --devices then scales it "
            "down.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True)
class ScenarioRun:
    """A scenario as the user wants it."""

    scenario: Scenario
    seed: int
    report: Path


def _scenario_run(name: str | None, speed: float | None, report: Path | None) -> ScenarioRun | None:
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
    return ScenarioRun(scenario, seed, report or default)


def finish_scenario(
    wanted: ScenarioRun, played: Played, document: dict[str, Any], *, as_json: bool
) -> int:
    """Write the report, print the result, and return the exit code."""
    wanted.report.parent.mkdir(parents=True, exist_ok=True)
    wanted.report.write_text(report_page(document))
    wanted.report.with_suffix(".json").write_text(json_text(document))
    say(f"  → report {wanted.report}")
    if as_json:
        print_json(document)
    else:
        text = [
            "",
            *report_lines(played.report),
            *scenario_lines(played),
            *worker_lines(document),
            "",
        ]
        STDOUT.print("\n".join([*text, verdict_line(played)]), markup=False)
    return 0 if played.exact else 1
