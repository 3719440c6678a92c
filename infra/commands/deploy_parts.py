"""Alerts, service and operations, as ``penstock deploy`` adds them to the stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks import templates
from infra.aws.stacks.changes import Change
from infra.aws.stacks.following import stack_status
from infra.aws.stacks.stack_states import Step, next_step
from infra.commands.stack_events import print_event
from infra.console import UserError, say
from infra.target import Target

Asked = Mapping[str, Mapping[str, str]]
"""The parts that a deployment shall have, by name, with the parameters that the user gave."""


def asked(target: Target, image: str | None, operations: bool, given: Sequence[str]) -> Asked:
    """What is asked for now, and what the deployment has already.

    :raises UserError: when a parameter is not of the form NAME=VALUE.
    :raises DeployError: when no part declares it.
    """
    cfn = target.client("cloudformation")
    wanted = set(templates.deployed(cfn, target.settings.stack))
    wanted |= {"alerts"} if target.settings.alerts else set()
    wanted |= ({"service"} if image else set()) | ({"operations"} if operations else set())
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UserError(f"--parameter {wrong[0]}: write it as NAME=VALUE")
    values = {name: value for name, _, value in pairs} | ({"Image": image} if image else {})
    return templates.assign(cfn, values, [p for p in templates.PARTS if p.name in wanted])


def plan(target: Target, wanted: Asked) -> Iterator[Change]:
    """What :func:`deploy` would change. What parts take from the stack is not known before that
    is there."""
    cfn, stack = target.client("cloudformation"), target.settings.stack
    if next_step(stack_status(cfn, stack)) is not Step.UPDATE:
        for name in wanted:
            say(f"{name}: planned once the stack is there")
        return
    outputs = stacks.outputs(cfn, stack)
    for part in templates.PARTS:
        if part.name in wanted:
            yield from stacks.plan(
                cfn,
                part.stack(stack),
                templates.parameters(part, stack, outputs, wanted[part.name]),
                template=part.template,
            )


def deploy(target: Target, outputs: Mapping[str, str], wanted: Asked) -> dict[str, str]:
    """Deploy the parts in order; their outputs. Nobody is asked: these stacks hold no data, and
    each new version replaces the tasks."""
    cfn, stack = target.client("cloudformation"), target.settings.stack
    made: dict[str, str] = {}
    for part in templates.PARTS:
        if part.name in wanted:
            made |= templates.deploy_part(
                cfn, part, stack, outputs, wanted[part.name], on_event=print_event
            )
    return made
