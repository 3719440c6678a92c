"""``penstock demo``: the whole path once on this machine, compared reading by reading."""

from __future__ import annotations

import threading
from typing import NamedTuple

import rich_click as click

from infra.__main__ import STARTED
from infra.commands.load_options import load_options
from infra.commands.options import json_option, like_aws_option, profile_of
from infra.commands.scenario_options import ScenarioRun, finish_scenario, scenario_options
from infra.console import STDOUT, Stages, print_json, say
from infra.emulator.profile import Profile
from infra.interrupts import stop_on_signals
from infra.local.dashboard import serve_beside
from infra.local.run_folder import keep_evidence, run_folder
from infra.local.stack import LocalOptions, LocalStack
from infra.scenario.demo import play_locally
from infra.simulation.demo import run_demo
from infra.simulation.report import demo_document, demo_lines
from simulator.scenario import Fleet


@click.command()
@click.option(
    "--devices",
    default=20,
    show_default=True,
    type=click.IntRange(1, 2000),
    help="Devices, each with its own certificate.",
)
@load_options(rate=2.0, seconds=20.0)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the AWS API.  [default: a free one]"
)
@click.option(
    "--mqtt-port", type=click.IntRange(1, 65535), help="Port of the broker.  [default: a free one]"
)
@like_aws_option
@scenario_options
@json_option
def demo(
    fleet: Fleet,
    seed: int,
    port: int | None,
    mqtt_port: int | None,
    like_aws: bool,
    wanted: ScenarioRun | None,
    as_json: bool,
) -> int:
    """Run the whole path on this machine and check it reading by reading.

    Starts an embedded AWS, deploys the template, connects the devices over mTLS, folds what
    they send into windows and an archive, and compares both with what was sent. Exit code 0
    only when they are exactly the same. Needs no account and leaves nothing running.

    With --scenario it plays one, with everything that goes wrong in it.
    """
    if wanted is not None:
        profile = profile_of(like_aws, wanted.seed)
        return _demo_scenario(wanted, LocalPorts(port, mqtt_port), profile, as_json)
    profile = profile_of(like_aws, seed)
    stopping = threading.Event()
    stages = Stages(stopping.is_set)
    say(
        f"penstock demo: {fleet.devices} devices, {fleet.rate(0):g} messages/s each for "
        f"{fleet.seconds:g} s, seed {seed}"
    )
    with run_folder() as folder, stop_on_signals(stopping):
        options = LocalOptions(folder, port=port, mqtt_port=mqtt_port, profile=profile)
        with LocalStack(options, stages, say) as stack, serve_beside(stack.target, 0) as page:
            say(f"  → watch it on {page.url}")
            run = run_demo(
                stack,
                stages,
                fleet,
                seed=seed,
                directory=folder,
                started=STARTED,
                stopping=stopping.is_set,
            )
        document = demo_document(run)
        if not run.exact:
            keep_evidence(folder)
    if as_json:
        print_json(document)
    else:
        STDOUT.print("\n".join(["", *demo_lines(run)]), markup=False)
    return 0 if run.exact else 1


class LocalPorts(NamedTuple):
    """Ports that the user wants; ``None`` is any free one."""

    api: int | None
    mqtt: int | None


def _demo_scenario(wanted: ScenarioRun, ports: LocalPorts, profile: Profile, as_json: bool) -> int:
    stopping = threading.Event()
    stages = Stages(stopping.is_set)
    scenario = wanted.scenario
    say(
        f"penstock demo: {scenario.name}, {scenario.devices} devices, "
        f"{scenario.seconds:.0f} s, seed {wanted.seed}"
    )
    with run_folder() as folder, stop_on_signals(stopping):
        options = LocalOptions(folder, port=ports.api, mqtt_port=ports.mqtt, profile=profile)
        with LocalStack(options, stages, say) as stack, serve_beside(stack.target, 0) as page:
            say(f"  → watch it on {page.url}")
            played, document = play_locally(
                stack,
                stages,
                scenario,
                seed=wanted.seed,
                directory=folder,
                started=STARTED,
                stopping=stopping.is_set,
            )
        if not played.exact:
            keep_evidence(folder)
    return finish_scenario(wanted, played, document, as_json=as_json)
