"""Which templates a deployment has, in which order, and what each gets from the first one.

``pipeline.yaml`` is always there and is the stack itself. The others hold no data and are stacks of
their own, so that they can be replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks.following import DeployError, OnEvent, stack_status
from infra.aws.stacks.template import TEMPLATE

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


class Part(NamedTuple):
    """A template beside the pipeline's: its name, and its parameters that are outputs there."""

    name: str
    takes: Mapping[str, str]

    @property
    def template(self) -> Path:
        """The file."""
        return TEMPLATE.parent / f"{self.name}.yaml"

    def stack(self, pipeline: str) -> str:
        """The name of its stack.

        >>> Part("service", {}).stack("plant-7")
        'plant-7-service'
        """
        return f"{pipeline}-{self.name}"


PARTS: Final = (
    Part("alerts", {}),
    Part("service", {"WorkerRoleArn": "WorkerRoleArn"}),
    Part("operations", {"RuleName": "RuleName"}),
)
"""In the order in which they are deployed; they are deleted in reverse."""


def parameters(
    part: Part, pipeline: str, outputs: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """A part's parameters: its own that were given, and those that follow from the pipeline."""
    follow = {name: outputs[output] for name, output in part.takes.items()}
    return {**given, "Pipeline": pipeline, **follow}


def assign(
    cfn: CloudFormationClient, given: Mapping[str, str], parts: Iterable[Part]
) -> dict[str, dict[str, str]]:
    """Each given parameter to the parts that declare it, by the part's name.

    :raises DeployError: when none does.
    """
    assigned: dict[str, dict[str, str]] = {}
    for part in parts:
        summary = cfn.get_template_summary(TemplateBody=part.template.read_text())
        declared = {one["ParameterKey"] for one in summary.get("Parameters", [])}
        assigned[part.name] = {k: v for k, v in given.items() if k in declared}
    taken = {name for mine in assigned.values() for name in mine}
    if unknown := sorted(given.keys() - taken):
        where = " or ".join(sorted(assigned)) or "template that this deployment has"
        raise DeployError(
            f"there is no parameter {', '.join(unknown)} in {where}: see infra/templates"
        )
    return assigned


def deployed(cfn: CloudFormationClient, pipeline: str) -> frozenset[str]:
    """The names of the parts that a deployment has."""
    return frozenset(
        part.name
        for part in PARTS
        if stack_status(cfn, part.stack(pipeline)) not in (None, "DELETE_COMPLETE")
    )


def deploy_part(
    cfn: CloudFormationClient, part: Part, pipeline: str, outputs: Mapping[str, str],
    given: Mapping[str, str], *, on_event: OnEvent, interval: float = 2.0,
) -> dict[str, str]:  # fmt: skip
    """Create or update a part's stack; its outputs. Parameters that are not given keep their value.

    :raises DeployError: as :func:`infra.aws.stacks.cloudformation.deploy`.
    """
    return stacks.deploy(
        cfn, part.stack(pipeline), parameters(part, pipeline, outputs, given),
        on_event=on_event, interval=interval, template=part.template,
    )  # fmt: skip


def destroy_parts(
    cfn: CloudFormationClient, pipeline: str, *, on_event: OnEvent, interval: float = 2.0
) -> list[str]:
    """Delete the stacks of all parts, the last one first; which there were. A service's tasks are
    stopped in order by that: they commit what they hold.

    :raises DeployError: as :func:`infra.aws.stacks.cloudformation.destroy`.
    """
    names = [part.stack(pipeline) for part in reversed(PARTS)]
    return [
        name for name in names if stacks.destroy(cfn, name, on_event=on_event, interval=interval)
    ]
