"""Alerts, service, lake, operations and API, as ``penstock deploy`` adds them to the stack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from infra.aws.removal.catalog import database_exists
from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks import templates
from infra.aws.stacks.change_sets import previous_parameters
from infra.aws.stacks.changes import Change
from infra.aws.stacks.following import stack_status
from infra.aws.stacks.stack_states import Step, next_step
from infra.commands.deploy_api import api_parameters, deploy_page
from infra.commands.stack_events import print_event
from infra.console import UserError, say
from infra.target import Target
from lake.catalog.config import namespace_of

Asked = Mapping[str, Mapping[str, str]]
"""The parts that a deployment shall have, by name, with the parameters that the user gave."""

LAKE_DAYS: Final = 7
"""Days that a segment stays readable at once, at least, where there is a lake."""


def asked(target: Target, image: str | None, more: Collection[str], given: Sequence[str]) -> Asked:
    """What is asked for now, and what the deployment has already. ``more`` are the parts that are
    asked for beside alerts and service, which follow from the settings and from ``image``.

    :raises UserError: when a parameter is not of the form NAME=VALUE.
    :raises DeployError: when no part declares it.
    """
    cfn = target.client("cloudformation")
    wanted = set(templates.deployed(cfn, target.settings.stack))
    wanted |= {"alerts"} if target.settings.alerts else set()
    wanted |= ({"service"} if image else set()) | set(more)
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UserError(f"--parameter {wrong[0]}: write it as NAME=VALUE")
    values = {name: value for name, _, value in pairs} | ({"Image": image} if image else {})
    assigned = templates.assign(cfn, values, [p for p in templates.PARTS if p.name in wanted])
    if "service" in assigned:
        assigned["service"] = {**_of_service(target, wanted), **assigned["service"]}
    if "operations" in assigned and {"lake", "service"} <= wanted:
        assigned["operations"] = {"Lake": "true", **assigned["operations"]}
    return assigned


def _of_service(target: Target, wanted: Collection[str]) -> dict[str, str]:
    """What the service must know of the other parts. Alerts are a setting: where it is not set, the
    tasks keep what they have."""
    settings = target.settings
    alerts = {"Alerts": str(settings.alerts).lower()}
    return {
        **(alerts if "alerts" in settings.model_fields_set else {}),
        **({"Lake": "true"} if "lake" in wanted else {}),
    }


def refuse_early_archiving(target: Target, wanted: Asked, given: int | None) -> None:
    """Deep Archive gives an object back after hours, and compaction reads each segment once: a week
    leaves time to notice that it does not run.

    :param given: days after which segments go there; ``None`` when that is not changed.
    :raises UserError: when they would go there earlier.
    """
    if "lake" not in wanted:
        return
    cfn, stack = target.client("cloudformation"), target.settings.stack
    days = given
    if days is None and next_step(stack_status(cfn, stack)) is Step.UPDATE:
        days = int(previous_parameters(cfn, stack).get("DeepArchiveAfterDays", 0))
    if days and days < LAKE_DAYS:
        raise UserError(
            f"--deep-archive-after {days}: the lake reads each segment once, at least {LAKE_DAYS} "
            "days are needed; --glacier-after may be less, what is there can be read at once"
        )


def plan(target: Target, wanted: Asked) -> Iterator[Change]:
    """What :func:`deploy` would change. What parts take from the stack is not known before that
    is there."""
    cfn, stack = target.client("cloudformation"), target.settings.stack
    if next_step(stack_status(cfn, stack)) is not Step.UPDATE:
        for name in wanted:
            say(f"{name}: planned once the stack is there")
        return
    known = stacks.outputs(cfn, stack)
    for part in templates.PARTS:
        if part.name in wanted:
            mine = _parameters(target, part, wanted[part.name])
            yield from stacks.plan(
                cfn,
                part.stack(stack),
                templates.parameters(part, stack, known, mine),
                template=part.template,
            )
            if next_step(stack_status(cfn, part.stack(stack))) is Step.UPDATE:
                known |= stacks.outputs(cfn, part.stack(stack))


def deploy(target: Target, outputs: Mapping[str, str], wanted: Asked) -> dict[str, str]:
    """Deploy the parts in order; their outputs. Nobody is asked: these stacks hold no data, and
    each new version replaces the tasks."""
    cfn, stack = target.client("cloudformation"), target.settings.stack
    made: dict[str, str] = {}
    for part in templates.PARTS:
        if part.name in wanted:
            mine = _parameters(target, part, wanted[part.name], upload=True)
            made |= templates.deploy_part(
                cfn, part, stack, {**outputs, **made}, mine, on_event=print_event
            )
            if part.name == "api":
                done = deploy_page(target, made)
                say(
                    f"the page is at {made['PageUrl']}: {len(done.written)} files are new, "
                    f"{len(done.removed)} old ones gone"
                )
    return made


def _parameters(
    target: Target, part: templates.Part, given: Mapping[str, str], *, upload: bool = False
) -> dict[str, str]:
    """What was given, and what follows from the account and the settings. A lake's database that is
    there already, because an earlier stack kept it or `penstock lake` made it, is not made again.
    With ``upload`` an API's package is put where the function gets it."""
    cfn, name = target.client("cloudformation"), part.stack(target.settings.stack)
    found = {**templates.inherited(cfn, part, target.settings.stack), **given}
    if part.name == "lake" and next_step(stack_status(cfn, name)) is not Step.UPDATE:
        there = database_exists(target.client("glue"), namespace_of(target.settings.stack))
        found.setdefault("MakesDatabase", str(not there).lower())
    if part.name == "api":
        found = api_parameters(target, found, upload=upload)
    return found
