"""``penstock demo``, ``up`` and ``down``: a stack on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import rich_click as click

from infra.__main__ import STARTED
from infra.commands.load import (
    Wanted,
    load_options,
    scenario_options,
    stop_on_signals,
    told,
)
from infra.commands.options import json_option
from infra.console import STDOUT, Stages, UserError, print_json, say
from infra.local.dashboard import serve_beside
from infra.local.stack import LocalOptions, LocalStack
from infra.runfile import HOME, AlreadyUpError, RunningStack, hold, is_held, running_stack
from infra.simulation.demo import run_demo
from infra.simulation.report import demo_document, demo_lines
from infra.simulation.scenario_demo import play_locally
from simulator.load.fleet import Load

DOWN_S = 60.0
EVIDENCE = ("ledger.sqlite", "worker.log", "emulator.log")


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
@scenario_options
@json_option
def demo(
    devices: int,
    load: Load,
    port: int | None,
    mqtt_port: int | None,
    wanted: Wanted | None,
    as_json: bool,
) -> int:
    """Run the whole path on this machine and check it reading by reading.

    Starts an embedded AWS, deploys the template, connects the devices over mTLS, folds what
    they send into windows and an archive, and compares both with what was sent. Exit code 0
    only when they are exactly the same. Needs no account and leaves nothing running.

    With --scenario it plays one, with everything that goes wrong in it.
    """
    if wanted is not None:
        return _demo_scenario(wanted, LocalPorts(port, mqtt_port), as_json)
    stopping = threading.Event()
    stages = Stages()
    say(
        f"penstock demo: {devices} devices, {load.rate:g} messages/s each for "
        f"{load.seconds:g} s, seed {load.seed}"
    )
    with demo_folder() as folder, stop_on_signals(stopping):
        options = LocalOptions(folder, port=port, mqtt_port=mqtt_port)
        with LocalStack(options, stages, say) as stack, serve_beside(stack.target, 0) as page:
            say(f"  → watch it on {page.url}")
            run = run_demo(
                stack,
                stages,
                load,
                devices=devices,
                directory=folder,
                started=STARTED,
                stopping=stopping.is_set,
            )
        document = demo_document(run)
        if not run.report.exact:
            keep_evidence(folder)
    if as_json:
        print_json(document)
    else:
        STDOUT.print("\n".join(["", *demo_lines(run)]), markup=False)
    return 0 if run.report.exact else 1


class LocalPorts(NamedTuple):
    """Ports that the user wants; ``None`` is any free one."""

    api: int | None
    mqtt: int | None


def _demo_scenario(wanted: Wanted, ports: LocalPorts, as_json: bool) -> int:
    stopping, stages = threading.Event(), Stages()
    scenario = wanted.scenario
    say(
        f"penstock demo: {scenario.name}, {scenario.devices} devices, "
        f"{scenario.seconds:.0f} s, seed {wanted.seed}"
    )
    with demo_folder() as folder, stop_on_signals(stopping):
        options = LocalOptions(folder, port=ports.api, mqtt_port=ports.mqtt)
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
    return told(wanted, played, document, as_json=as_json)


@click.command()
@click.option(
    "--port",
    default=4566,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the AWS API; 0 for any free one.",
)
@click.option(
    "--mqtt-port",
    default=8883,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the broker; 0 for any free one.",
)
@click.option(
    "--status-port",
    default=9464,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the worker's status and metrics; 0 for any free one.",
)
@click.option(
    "--dashboard-port",
    default=8400,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the live page; any free one when it is busy.",
)
@click.option("--shards", default=2, show_default=True, type=click.IntRange(1, 16),
              help="Shards of the stream.")  # fmt: skip
def up(port: int, mqtt_port: int, status_port: int, dashboard_port: int, shards: int) -> None:
    """Keep the local stack running until Ctrl-C.

    Other terminals in this folder then find it: `penstock device create`, `device run`,
    `simulate`, `status`, `windows` and `devices`. Stopped with Ctrl-C it keeps its state, and
    the next `up` carries on; `penstock down` stops it and removes the state.
    """
    stopping = threading.Event()
    options = LocalOptions(
        HOME / "stack",
        port=port or None,
        mqtt_port=mqtt_port or None,
        status_port=status_port,
        dashboard_port=dashboard_port,
        persist=True,
        shards=shards,
    )
    try:
        with stop_on_signals(stopping), hold():
            _serve(options, stopping)
    except AlreadyUpError:
        raise UserError(
            "a stack is up in this folder already: use it, or stop it with `penstock down`"
        ) from None


@click.command()
def down() -> None:
    """Stop the local stack and remove its state."""
    stack = running_stack()
    if stack is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stack.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S
    while is_held():
        if time.monotonic() > deadline:
            pid = stack.pid if stack else "the process of `penstock up`"
            raise UserError(f"the stack does not stop: end it with `kill -9 {pid}`")
        time.sleep(0.05)
    state = HOME / "stack"
    if stack is None and not state.exists():
        say("nothing is up in this folder, and there is no state")
        return
    shutil.rmtree(state, ignore_errors=True)
    say("the local stack is stopped and its state removed")


@contextmanager
def demo_folder() -> Iterator[Path]:
    """A folder of its own for a run, so that two can run at once; removed afterwards. When the
    run fails, its ledger and logs are kept."""
    for left in HOME.glob("demo-*"):
        if not _runs(left.name.removeprefix("demo-")):  # a demo that was killed
            shutil.rmtree(left, ignore_errors=True)
    folder = HOME / f"demo-{os.getpid()}"
    try:
        yield folder
    except Exception:
        keep_evidence(folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def keep_evidence(folder: Path) -> None:
    """Keep an inexact or failed run's ledger and logs, those of the last such run."""
    found = [path for name in EVIDENCE if (path := folder / name).exists()]
    if not found:
        return
    kept = HOME / "last-failure"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in found:
        shutil.copy(path, kept / path.name)
    say(f"the ledger and the logs of this run are in {kept}")


def _serve(options: LocalOptions, stopping: threading.Event) -> None:
    stages = Stages()
    say("penstock up: starting the local stack")
    with (
        LocalStack(options, stages, say) as stack,
        serve_beside(stack.target, options.dashboard_port) as page,
    ):
        _save_runfile(stack)
        with stages.stage("leases", "the worker holds every shard"):
            stack.await_shards(stopping.is_set)
        if not stopping.is_set():
            _announce(stack, page.url)
        stopping.wait()
        say("stopping: committing what is held")


def _save_runfile(stack: LocalStack) -> None:
    settings = stack.target.settings
    RunningStack(
        pid=os.getpid(),
        account=stack.target.account,
        settings=settings.model_dump(mode="json"),
        roles=stack.target.roles,
        status_url=stack.status_url,
    ).save()


def _announce(stack: LocalStack, dashboard: str) -> None:
    settings = stack.target.settings
    say("")
    say(f"  dashboard {dashboard}")
    say(f"  AWS API   {settings.endpoint_url}")
    say(f"  MQTT      {settings.iot_host}:{settings.iot_port} (mTLS, CA {settings.iot_ca})")
    say(f"  status    {stack.status_url}/status and /metrics")
    say("")
    say("In another terminal, in this folder:")
    say("  penstock device create my-device")
    say("  echo '{\"temperature\": 21.5}' | penstock device run my-device")
    say("  penstock simulate --devices 5 --seconds 20")
    say("  penstock windows my-device --tier 10s")
    say("")
    say("Ctrl-C stops it and keeps its state; `penstock down` removes the state too.")
