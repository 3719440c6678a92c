"""Which templates a deployment has, in which order, and what each gets from the first one.

``pipeline.yaml`` is always there and is the stack itself. The others hold no data and are stacks of
their own, so that they can be replaced as a whole; the lake's catalog outlives its stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks.change_sets import previous_parameters
from infra.aws.stacks.following import DeployError, OnEvent, stack_status
from infra.aws.stacks.template import TEMPLATE

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


class Part(NamedTuple):
    """A template beside the pipeline's: its name, its parameters that are outputs there, those that
    are outputs of a part before it where a deployment has that part, and those that have the value
    of the pipeline's parameter of the same name."""

    name: str
    takes: Mapping[str, str] = {}
    shares: Mapping[str, str] = {}
    inherits: Sequence[str] = ()

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
    Part("alerts", inherits=("KmsKeyArn",)),
    Part("service", {"WorkerRoleArn": "WorkerRoleArn"}),
    Part(
        "lake",
        shares={
            "Image": "Image",
            "CpuArchitecture": "CpuArchitecture",
            "Cluster": "ClusterName",
            "SubnetIds": "SubnetIds",
            "SecurityGroup": "SecurityGroup",
            "AssignPublicIp": "AssignPublicIp",
        },
        inherits=("KmsKeyArn",),
    ),
    Part("operations", {"RuleName": "RuleName"}),
    Part("api", inherits=("KmsKeyArn",)),
)
"""In the order in which they are deployed; they are deleted in reverse."""


def parameters(
    part: Part, pipeline: str, outputs: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """A part's parameters: its own that were given, and those that follow from the outputs of the
    pipeline and of the parts before it. What was given comes before what is shared."""
    follow = {name: outputs[output] for name, output in part.takes.items()}
    shared = {name: outputs[out] for name, out in part.shares.items() if out in outputs}
    return {**shared, **given, "Pipeline": pipeline, **follow}


def inherited(cfn: CloudFormationClient, part: Part, pipeline: str) -> dict[str, str]:
    """A part's parameters that are parameters of the pipeline's stack too."""
    if not part.inherits:
        return {}
    known = previous_parameters(cfn, pipeline)
    return {name: known[name] for name in part.inherits if name in known}


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
) -> Iterator[Part]:
    """Delete the stacks of all parts, the last one first; yields each part that there was. A
    service's tasks are stopped in order by that: they commit what they hold.

    :raises DeployError: as :func:`infra.aws.stacks.cloudformation.destroy`.
    """
    for part in reversed(PARTS):
        if stacks.destroy(cfn, part.stack(pipeline), on_event=on_event, interval=interval):
            yield part
