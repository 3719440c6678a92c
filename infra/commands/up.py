"""``penstock up``: a stack on this machine that keeps running until Ctrl-C."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack

import rich_click as click

from infra.__main__ import STARTED
from infra.commands.options import like_aws_option, profile_of
from infra.commands.up_api import local_api
from infra.console import Stages, UserError, say
from infra.interrupts import stop_on_signals
from infra.local.dashboard import serve_beside
from infra.local.stack import LocalOptions, LocalStack
from infra.local.tier_history import update_tier_history
from infra.runfile import HOME, AlreadyUpError, RunningStack, hold


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
    type=click.IntRange(0, 65535),
    help="Port of the worker's status and metrics; 0 for any free one.  [default: the setting "
    "status_port, 9464]",
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
@click.option(
    "--api",
    is_flag=True,
    help="Serve page and API as `penstock deploy --api` has them, too, behind sign-in; on the port "
    "after --dashboard-port.",
)
@like_aws_option
def up(
    port: int,
    mqtt_port: int,
    status_port: int | None,
    dashboard_port: int,
    shards: int,
    api: bool,
    like_aws: bool,
) -> None:
    """Keep the local stack running until Ctrl-C.

    Settings of penstock.toml and the environment hold here too; docs/settings.md says which
    defaults differ. Commands in other terminals in this folder find the stack. Stopped with
    Ctrl-C it keeps its state, and the next `up` carries on; `penstock down` stops it and removes
    the state. In the background, start it with `penstock up &` and stop it with `kill` and its
    process id: that is the same as Ctrl-C.
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
        profile=profile_of(like_aws, 0),
    )
    try:
        with stop_on_signals(stopping), hold():
            _serve(options, stopping, api=api)
    except AlreadyUpError:
        raise UserError(
            "a stack is up in this folder already: use it, or stop it with `penstock down`"
        ) from None


def _serve(options: LocalOptions, stopping: threading.Event, *, api: bool) -> None:
    stages = Stages(stopping.is_set)
    say("penstock up: starting the local stack")
    with (
        LocalStack(options, stages, say) as stack,
        serve_beside(stack.target, options.dashboard_port) as page,
        ExitStack() as more,
    ):
        _save_runfile(stack, page.url)
        if api:
            port = options.dashboard_port + 1 if options.dashboard_port else 0
            with stages.stage("api", "API and page are deployed"):
                made = more.enter_context(local_api(stack.target, port))
        with stages.stage("leases", "the worker holds every shard"):
            stack.await_shards(stopping.is_set)
        _announce(stack, page.url)
        if api:
            say(f"  API page  {made.url}  (sign in as {made.user}, password {made.password})")
        stopping.wait()
        say("stopping: committing what is held")


def _save_runfile(stack: LocalStack, dashboard: str) -> None:
    settings = stack.target.settings
    RunningStack(
        pid=os.getpid(),
        account=stack.target.account,
        settings=settings.model_dump(mode="json"),
        roles=stack.target.roles,
        status_url=stack.status_url,
        dashboard_url=dashboard,
        tiers_since=update_tier_history(
            HOME / "stack", [tier.name for tier in settings.tiers], int(STARTED * 1000)
        ),
    ).save()


def _announce(stack: LocalStack, dashboard: str) -> None:
    settings = stack.target.settings
    say("")
    say(f"  dashboard {dashboard}")
    say(f"  AWS API   {settings.endpoint_url}")
    say(f"  MQTT      {settings.iot_host}:{settings.iot_port} (mTLS, CA {settings.iot_ca})")
    say(f"  status    {stack.status_url}/status and /metrics")
    say("")
    say("For a program of your own (docs/own-programs.md):")
    say('  eval "$(penstock env)"    # endpoint, Region, tables, bucket, read-only credentials')
    say(f"  windows {settings.windows_table}, devices {settings.devices_table}")
    say(f"  archive s3://{settings.bucket(stack.target.account)}/telemetry/v1/")
    say("")
    say("In another terminal, in this folder:")
    say("  penstock device create my-device")
    say("  echo '{\"temperature\": 21.5}' | penstock device run my-device")
    say("  penstock simulate --devices 5 --seconds 20")
    say(f"  penstock windows my-device --tier {settings.tiers[0].name}")
    say("")
    say("Ctrl-C stops it and keeps its state; `penstock down` removes the state too.")
