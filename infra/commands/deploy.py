"""``penstock deploy``: create or update the stack on AWS."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import rich_click as click
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table

from infra.aws.api_package import PackageError
from infra.aws.page.sign_in import SignInError
from infra.aws.removal import thing_type
from infra.aws.stacks import cloudformation as stacks
from infra.aws.stacks.changes import Change
from infra.aws.stacks.following import DeployError, stack_status
from infra.aws.stacks.names import refuse_names
from infra.aws.stacks.stack_states import Step, next_step
from infra.commands import deploy_parts as parts
from infra.commands.deploy_policy import policies_of
from infra.commands.options import json_option
from infra.commands.stack_events import print_event
from infra.commands.write_target import describe
from infra.console import STDOUT, UserError, print_json, say
from infra.target import Target, find_target
from ingest.freshness import MEANING

Outputs = dict[str, str]

LOG_DAYS: Final = ("1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400",
                   "545", "731", "1827", "3653")  # fmt: skip
COMPUTE: Final = {
    "ecs": "ecs-tasks.amazonaws.com",
    "ec2": "ec2.amazonaws.com",
    "eks": "pods.eks.amazonaws.com",
}


@click.command()
@click.option(
    "--shards",
    type=click.IntRange(0, 500),
    help="Shards of the stream; 0 lets AWS scale it on demand.  [default: 0]",
)
@click.option(
    "--retention-hours",
    type=click.IntRange(24, 8760),
    help="How long the stream keeps records.  [default: 24]",
)
@click.option(
    "--glacier-after",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Age at which archive objects move to Glacier Instant Retrieval.",
)
@click.option(
    "--deep-archive-after",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Age at which they move to Glacier Deep Archive.",
)
@click.option(
    "--write-capacity",
    type=click.IntRange(0),
    metavar="UNITS",
    help="Provisioned write units a second of the windows table; 0 pays by request.  [default: 0]",
)
@click.option(
    "--max-write-capacity",
    type=click.IntRange(0),
    metavar="UNITS",
    help="Up to where they scale with their use; 0 does not scale them.  [default: 0]",
)
@click.option(
    "--warm-write-units",
    type=click.IntRange(0),
    metavar="UNITS",
    help="Write units a second that the table takes from its first second on, for a fleet that "
    "comes at once; 0 leaves DynamoDB its 4,000.  [default: 0]",
)
@click.option(
    "--protect/--no-protect",
    default=None,
    help="Whether the hot tables refuse to be deleted.  [default: protect]",
)
@click.option(
    "--simulator/--no-simulator",
    default=None,
    help="Whether there is a role for the simulator.  [default: no-simulator]",
)
@click.option(
    "--compute",
    type=click.Choice(list(COMPUTE)),
    help="What may take the roles of worker and dashboard.  [default: ecs]",
)
@click.option(
    "--oidc-provider",
    metavar="ARN",
    help="An EKS cluster's OIDC provider, whose service accounts may take them instead.",
)
@click.option(
    "--kubernetes-namespace",
    metavar="NAME",
    help="The namespace of service accounts that may take roles on EKS.  [default: penstock]",
)
@click.option(
    "--hook-concurrency",
    type=click.IntRange(0, 1000),
    help="Executions reserved for the provisioning hook; 0 for none.  [default: 10]",
)
@click.option(
    "--log-days",
    type=click.Choice(LOG_DAYS),
    help="Days that log groups keep what is in them.  [default: 30]",
)
@click.option(
    "--kms-key",
    metavar="ARN",
    help="A KMS key of yours that encrypts stream, tables, archive, queue and logs.",
)
@click.option(
    "--service",
    "image",
    metavar="IMAGE",
    help="Run workers on ECS Fargate, from this image; see docs/aws.md.",
)
@click.option(
    "--lake",
    is_flag=True,
    help="Have the archive as tables for Athena, kept by tasks of the service; see docs/lake.md.",
)
@click.option(
    "--api",
    is_flag=True,
    help="Have page and read API behind sign-in, without a server; see docs/aws.md.",
)
@click.option("--operations", is_flag=True, help="Have alarms, a dashboard and a topic for them.")
@click.option(
    "--parameter",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the template of a part. Repeat it for more.",
)
@click.option("--policy", is_flag=True, help="Print the IAM policies that a deployer needs.")
@click.option("--plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before something is replaced or removed.")
@json_option  # fmt: skip
def deploy(
    shards: int | None,
    retention_hours: int | None,
    glacier_after: int | None,
    deep_archive_after: int | None,
    write_capacity: int | None,
    max_write_capacity: int | None,
    warm_write_units: int | None,
    protect: bool | None,
    simulator: bool | None,
    compute: str | None,
    oidc_provider: str | None,
    kubernetes_namespace: str | None,
    hook_concurrency: int | None,
    log_days: str | None,
    kms_key: str | None,
    image: str | None,
    lake: bool,
    api: bool,
    operations: bool,
    given: tuple[str, ...],
    policy: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Create or update the stack on AWS, by change set, and print each step.

    Its name and region are settings: `stack` and `region` in penstock.toml, or PENSTOCK_STACK
    and PENSTOCK_REGION. An option that is not given keeps its value of the last deployment. What
    `penstock destroy` kept is taken over. Alerts (setting `alerts`), service, lake, API and
    operations are stacks of their own, which every later deployment updates too. Before anything
    is replaced or removed it asks.
    """
    target = find_target(aws=True)
    flags = {"lake": lake, "api": api, "operations": operations}
    more = [name for name, wanted in flags.items() if wanted]
    if policy:
        by_setting = ["alerts"] if target.settings.alerts else []
        wanted_parts = [*(["service"] if image else []), *more, *by_setting]
        print_json(policies_of(target, wanted_parts, kms_key))
        return
    settings = target.settings
    acknowledge = settings.acknowledge if "acknowledge" in settings.model_fields_set else None
    wanted = {
        "ShardCount": shards,
        "RetentionHours": retention_hours,
        "GlacierAfterDays": glacier_after,
        "DeepArchiveAfterDays": deep_archive_after,
        "WriteCapacity": write_capacity,
        "MaxWriteCapacity": max_write_capacity,
        "WarmWriteUnits": warm_write_units,
        "DeletionProtection": protect,
        "WithSimulator": simulator,
        "WorkerService": COMPUTE[compute] if compute else None,
        "KubernetesNamespace": kubernetes_namespace,
        "HookConcurrency": hook_concurrency,
        "LogRetentionDays": log_days,
        "Acknowledge": acknowledge,
    }
    parameters = {k: str(v).lower() for k, v in wanted.items() if v is not None}
    arns = {"OidcProviderArn": oidc_provider, "KmsKeyArn": kms_key}  # case matters
    parameters |= {name: arn for name, arn in arns.items() if arn is not None}
    if why := refuse_names(settings, target.account):
        raise UserError(why)
    say(f"{'planning for' if plan else 'deploying to'} {describe(target)}")
    try:
        asked = parts.asked(target, image, more, given)
        parts.refuse_early_archiving(target, asked, deep_archive_after)
        if plan:
            changes = [*_plan(target, parameters), *parts.plan(target, asked)]
            _print_plan(changes, as_json)
            return
        outputs = _deploy(target, parameters, lambda changes: _approve(changes, yes))
        outputs |= parts.deploy(target, outputs, asked)
    except (DeployError, PackageError, SignInError) as error:
        raise UserError(str(error)) from None
    except (ClientError, BotoCoreError) as error:
        raise UserError(f"AWS refuses to deploy {settings.stack}: {error}") from None
    if as_json:
        print_json(outputs)
        return
    for name, value in outputs.items():
        STDOUT.print(f"{name}: {value}", markup=False)
    say(
        f"freshness is {settings.freshness}: {MEANING[settings.freshness]}. Change it with the "
        "setting `freshness` of the workers; docs/cost.md shows what each costs"
    )
    say("deployed" if "ServiceName" in outputs else "deployed; now run `penstock consume`")


def _plan(target: Target, parameters: Mapping[str, str]) -> Sequence[Change]:
    cfn = target.client("cloudformation")
    return stacks.plan(cfn, target.settings.stack, parameters, account=target.account)


def _deploy(target: Target, parameters: Mapping[str, str], approve: stacks.Approve) -> Outputs:
    settings = target.settings
    _restore_thing_type(target)
    outputs = stacks.deploy(
        target.client("cloudformation"),
        settings.stack,
        parameters,
        on_event=print_event,
        approve=approve,
        account=target.account,
    )
    for table in (settings.windows_table, settings.status_table):
        stacks.ensure_ttl(target.client("dynamodb"), table)
    return outputs


def _restore_thing_type(target: Target) -> None:
    """Undo what a `penstock destroy` that was broken off had begun, while that can be done.

    :raises UserError: when the stack has lost its thing type: only the rest of it is there.
    """
    settings = target.settings
    if next_step(stack_status(target.client("cloudformation"), settings.stack)) is not Step.UPDATE:
        return
    try:
        if thing_type.restore(target.client("iot"), settings.thing_type):
            say(
                "an earlier `penstock destroy` was broken off: devices whose certificates it made "
                "inactive or deleted need new ones"
            )
    except LookupError:
        raise UserError(
            f"stack {settings.stack} is half destroyed: run `penstock destroy` again, it goes on "
            "where it was; then deploy"
        ) from None


def _approve(changes: Sequence[Change], yes: bool) -> None:
    """Ask before anything is replaced or removed.

    :raises UserError: when the user does not want it, or cannot be asked.
    """
    lossy = [change for change in changes if change.destroys]
    if not lossy or yes:
        return
    if not sys.stdin.isatty():
        names = ", ".join(str(change) for change in lossy)
        raise UserError(f"this would {names}: look at it with --plan, then add --yes")
    for change in lossy:
        say(f"  would {change}")
    if not click.confirm("Deploy it?", err=True):
        raise UserError("nothing was changed")


def _print_plan(changes: Sequence[Change], as_json: bool) -> None:
    if as_json:
        print_json([change._asdict() for change in changes])
    elif changes:
        table = Table("action", "resource", "type", "replacement", box=None, pad_edge=False)
        for change in changes:
            table.add_row(change.action, change.resource, change.type, change.replacement)
        STDOUT.print(table)
    if not as_json:
        say("nothing was changed" if changes else "nothing would change")
