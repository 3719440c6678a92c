"""``penstock simulate``: load a deployment with simulated devices, then compare."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import rich_click as click
from botocore.exceptions import ClientError

from infra.commands.load_options import load_options
from infra.commands.options import aws_option, json_option
from infra.commands.scenario_options import ScenarioRun, finish_scenario, scenario_options
from infra.commands.verify import print_report
from infra.commands.write_target import find_write_target
from infra.console import UserError, say
from infra.interrupts import stop_on_signals
from infra.runfile import HOME
from infra.scenario.play import play
from infra.simulation.drain import archived_counter, await_archived
from infra.simulation.drive import drive, into_stream, over_mqtt
from infra.simulation.provision_fleet import fleet_names, provision_fleet, removed_from_aws
from infra.simulation.run_meter import RunMeter
from infra.simulation.verify import verify_settled
from infra.target import Target
from simulator.scenario import Fleet


@click.command()
@click.option(
    "--devices",
    default=10,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Devices; over MQTT each gets a certificate of its own.",
)
@load_options(rate=1.0, seconds=30.0)
@click.option(
    "--via",
    type=click.Choice(["mqtt", "kinesis"]),
    default="mqtt",
    show_default=True,
    help="Over the broker, or straight into the stream what its rule would write.",
)
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write down what is sent.  [default: .penstock/ledgers/<time>.sqlite]",
)
@click.option(
    "--verify/--no-verify",
    "verified",
    default=True,
    show_default=True,
    help="Wait until all is archived, and compare.",
)
@scenario_options
@json_option
@aws_option  # fmt: skip
def simulate(
    fleet: Fleet,
    seed: int,
    via: str,
    wanted: ScenarioRun | None,
    ledger: Path | None,
    verified: bool,
    as_json: bool,
    aws: bool,
) -> int:
    """Load a deployment with simulated devices, and compare the result with what they sent.

    The devices are new things; on AWS the stack must have been deployed with
    `--simulator`, and they are removed again in the end. Ctrl-C ends the load early, and what was
    sent is still checked.
    """
    target = find_write_target("simulate devices", aws=aws)
    path = ledger or HOME / "ledgers" / f"{time.strftime('%Y%m%d-%H%M%S')}.sqlite"
    if path.exists():
        raise UserError(f"{path} exists: name another file with --ledger")
    if wanted is not None:
        return _play(target, wanted, path, via, as_json)
    meter = RunMeter(target) if target.local else None
    say(f"simulating {fleet.devices} devices, seed {seed}, ledger {path}")
    kinds = fleet_names(target.settings.stack, fleet.devices, fleet.type)
    made = [name for name, _ in kinds] if via == "mqtt" else []
    try:
        before = archived_counter(target).count() if verified else 0
        stopping = threading.Event()
        with stop_on_signals(stopping), removed_from_aws(target, made, roster=verified):
            _drive(target, fleet, kinds, seed, path, via, stopping)
            if not verified:
                say(f"check it later with: penstock verify {path}")
                return 0
            await_archived(target, path, before)
            report = verify_settled(target, path, exclusive=False)
    except ClientError as error:
        raise UserError(f"AWS refuses: {error}") from None
    return print_report(report, as_json, meter.read(fleet.devices) if meter else None)


def _play(target: Target, wanted: ScenarioRun, path: Path, via: str, as_json: bool) -> int:
    """Run a scenario and compare. Facts that only a local worker knows are ``None``."""
    scenario = wanted.scenario
    say(f"playing {scenario.name}: {scenario.devices} devices, {scenario.seconds:.0f} s, "
        f"seed {wanted.seed}, ledger {path}")  # fmt: skip
    stopping = threading.Event()
    started = time.monotonic()
    meter = RunMeter(target) if target.local else None
    try:
        with stop_on_signals(stopping), TemporaryDirectory(prefix="penstock-") as folder:
            played = play(
                target, scenario, seed=wanted.seed, folder=Path(folder), ledger_path=path,
                via=via, stopping=stopping.is_set, before=archived_counter(target).count(),
            )  # fmt: skip
    except ClientError as error:
        raise UserError(f"AWS refuses: {error}") from None
    document = {
        **played.as_dict(),
        "latency_ms": {"p50": None, "p95": None, "p99": None},
        "live_latency_ms": {"p50": None, "p95": None, "p99": None},
        "longest_stall_s": None,
        "startup_s": {"scenario": round(time.monotonic() - started, 2)},
        "time_to_first_window_s": None,
        "restarts": None,
        "conflicts": None,
    }
    if meter:
        cost = meter.read(scenario.devices)
        played = replace(played, cost=cost)
        document["aws"] = cost.document()
    return finish_scenario(wanted, played, document, as_json=as_json)


def _drive(
    target: Target, fleet: Fleet, kinds: list[tuple[str, str]], seed: int, path: Path, via: str,
    stopping: threading.Event,
) -> None:  # fmt: skip
    if via == "mqtt":
        transport = over_mqtt(provision_fleet(target, kinds, group="simulated"))
    else:
        transport = into_stream(target)
    drive(
        target, fleet, [name for name, _ in kinds], transport, seed=seed, ledger_path=path,
        stopping=stopping.is_set,
    )  # fmt: skip
