"""Where a proof runs: an embedded AWS of its own, whose state is in the run's folder, or AWS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from infra.console import UserError
from infra.emulator.process import Emulator, EmulatorError
from infra.emulator.profile import LIKE_AWS, STRICT, Profile
from infra.emulator.usage import read_usage
from infra.local.stack import check_space, local_defaults, local_settings
from infra.prove.run_state import Run
from infra.target import Target, find_target
from ingest.settings import SettingsError

DEPRECATION_S: Final = 30.0
"""How long a thing type is deprecated here before it can be deleted; on AWS five minutes."""
AWS_FAILOVER_MS: Final = 5_000
_GONE_S: Final = 30.0


@contextmanager
def place_of(run: Run) -> Iterator[Target]:
    """The deployment of a run, with an embedded AWS around it unless it is on AWS.

    :raises UserError: when it cannot be reached, or is not where the run began.
    """
    if run.mode == "aws":
        yield _on_aws(run)
        return
    emulator = _start_emulator(run)
    try:
        settings = local_settings(
            stack=run.stack,
            endpoint_url=emulator.endpoint_url,
            iot_host="127.0.0.1",
            iot_port=emulator.mqtt_port,
            iot_ca=emulator.ca_path,
            devices_dir=(run.folder / "devices").absolute(),
            alerts=True,
        )
        target = Target(settings, account="", roles=dict(run.roles), local=True)
        target.account = target.client("sts").get_caller_identity()["Account"]
        yield target
    finally:
        emulator.stop()


def _on_aws(run: Run) -> Target:
    try:
        defaults = local_defaults()
    except SettingsError as error:
        raise UserError(str(error)) from None
    if "failover_ms" in defaults:
        defaults["failover_ms"] = AWS_FAILOVER_MS
    target = find_target(
        aws=True,
        **defaults,
        **({"region": run.region} if run.region else {}),
        stack=run.stack,
        devices_dir=(run.folder / "devices").absolute(),
    )
    if run.account and target.account != run.account:
        raise UserError(
            f"the run {run.stack} began in account {run.account} and these credentials are of "
            f"{target.account}: use those that it began with"
        )
    return target


def profile_of_run(run: Run) -> Profile:
    """How its embedded AWS behaves."""
    profile = LIKE_AWS if run.mode == "like-aws" else STRICT
    return replace(profile, seed=run.seed, deprecation_s=DEPRECATION_S)


def _start_emulator(run: Run) -> Emulator:
    check_space(run.folder)
    await_end(run)
    api, mqtt = run.ports or (None, None)
    try:
        emulator = Emulator.start(
            run.folder, gateway_port=api, mqtt_port=mqtt, persist=True, profile=profile_of_run(run)
        )
    except EmulatorError as error:
        raise UserError(str(error)) from None
    run.ports = (int(emulator.endpoint_url.rsplit(":", 1)[1]), emulator.mqtt_port)
    run.emulator_pid = emulator.pid
    run.save()
    return emulator


def await_end(run: Run) -> None:
    """Wait until the embedded AWS of a process that was killed has saved its state and left."""
    deadline = time.monotonic() + _GONE_S
    while run.emulator_pid and time.monotonic() < deadline:
        try:
            os.kill(run.emulator_pid, 0)
        except OSError:
            return
        time.sleep(0.1)


def usage_of(target: Target, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the embedded AWS has counted in all of its lives: ``before``, and in this one."""
    endpoint = target.settings.endpoint_url
    if not target.local or endpoint is None:
        return {}
    return added(before, read_usage(endpoint).counts)


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of counters, added up.

    >>> added({"s3": {"put": 1}}, {"s3": {"put": 2, "get": 3}})
    {'s3': {'put': 3, 'get': 3}}
    """
    found = dict(one)
    for name, value in other.items():
        if isinstance(value, Mapping):
            found[name] = added(one.get(name, {}), value)
        else:
            found[name] = one.get(name, 0) + value
    return found
