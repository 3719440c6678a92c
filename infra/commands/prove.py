"""``penstock prove``: the whole path with faults, on a stack of its own, and a signed report."""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import rich_click as click
from botocore.exceptions import BotoCoreError, ClientError

from infra.aws.stacks.following import DeployError
from infra.commands.options import json_option, like_aws_option
from infra.commands.write_target import describe
from infra.console import STDOUT, UserError, json_text, print_json, say
from infra.cost.price_files import price_list
from infra.interrupts import stop_on_signals
from infra.local.run_folder import keep_evidence
from infra.prove import proof
from infra.prove.estimate import MINUTES, extent_of, most
from infra.prove.load import scenario_of
from infra.prove.report import signature
from infra.prove.report.document import lines_of
from infra.prove.report.page import page_of
from infra.prove.report.signature import SignatureError
from infra.prove.run_state import KEY, Mode, Run, held, new_name, read_run
from infra.runfile import HOME
from infra.target import find_target

LOAD_S: Final[dict[Mode, float]] = {"strict": 60.0, "like-aws": 60.0, "aws": 120.0}
"""On AWS a worker that was killed takes longer to heal, and a shard is split after that."""
AFTER: Final = "`penstock prove --resume` goes on, `penstock prove --clean` removes everything"


@click.command()
@like_aws_option
@click.option("--aws", is_flag=True, help="In your AWS account: says what it costs, and asks.")
@click.option(
    "--max-usd",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Refuse to begin when AWS could bill more than this.",
)
@click.option("--yes", is_flag=True, help="Do not ask before it begins in an account.")
@click.option(
    "--devices",
    default=24,
    show_default=True,
    type=click.IntRange(2, 500),
    help="Simulated devices, each with its own certificate.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(10, 600),
    help="How long they send; how many messages each sends stays the same.  "
    "[default: 60, and 120 on AWS]",
)
@click.option("--seed", type=int, help="Makes signals, timing and faults the same again.")
@click.option(
    "--report",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the page goes, with the signed JSON beside it.  "
    "[default: .penstock/reports/<run>.html]",
)
@click.option("--resume", is_flag=True, help="Go on with the run that was interrupted here.")
@click.option("--clean", is_flag=True, help="Remove all that it made, and forget it.")
@click.option(
    "--check",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="REPORT.json",
    help="Check the signature of a report, and say what it says.",
)
@json_option
def prove(
    like_aws: bool, aws: bool, max_usd: float, yes: bool, devices: int, seconds: float | None,
    seed: int | None, path: Path | None, resume: bool, clean: bool, check: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Prove on a stack of its own that nothing is lost and nothing counted twice.

    Deploys a stack that is named after the run, lets devices send while connections break,
    devices lose power, messages come twice, the worker is killed and a shard is split, compares
    every reading, prices it, removes everything, and leaves a signed report: a page and a JSON
    file in .penstock/reports. Exit code 0 only when every invariant holds.

    Without options all of it is on this machine, on the embedded AWS, and needs no account; with
    --like-aws that has AWS's latency and capacity. With --aws it is in your account, for at most
    15 minutes or so and less than --max-usd; the worker and the devices still run here.

    Interrupted anywhere, `penstock prove --resume` goes on and `penstock prove --clean` removes
    what is there. `penstock prove --check REPORT.json` tells whether a report is as it was signed.
    """
    if sum((resume, clean, check is not None)) > 1:
        raise click.UsageError("--resume, --clean and --check exclude one another")
    if like_aws and aws:
        raise click.UsageError("--like-aws is about the embedded AWS: leave it out, or --aws")
    if check is not None:
        return _check(check, as_json)
    stopping = threading.Event()
    with held():
        run = read_run()
        if clean:
            return _clean(run, stopping)
        if resume:
            run = _resumed(run)
        elif run is not None:
            raise UserError(f"the run {run.stack} was interrupted in this folder: {AFTER}")
        else:
            mode: Mode = "aws" if aws else "like-aws" if like_aws else "strict"
            run = _new_run(mode, devices, seconds or LOAD_S[mode], seed)
            if aws:
                _ask(run, max_usd, yes)
            run.save()
        return _prove(run, path, stopping, as_json)


def _new_run(mode: Mode, devices: int, seconds: float, seed: int | None) -> Run:
    now = time.time()
    return Run(
        stack=new_name(now),
        mode=mode,
        seed=random.randrange(2**31) if seed is None else seed,
        devices=devices,
        load_s=seconds,
        started_at=now,
    )


def _resumed(run: Run | None) -> Run:
    if run is None:
        raise UserError("no run was interrupted in this folder: `penstock prove` begins one")
    run.resumed += 1
    run.save()
    say(f"going on with {run.stack}: {', '.join(run.done) or 'nothing'} is done")
    return run


def _ask(run: Run, max_usd: float, yes: bool) -> None:
    """Say what a run in an account costs, and let the user decide.

    :raises UserError: when it costs too much, or is not wanted.
    """
    target = find_target(aws=True, stack=run.stack)
    extent = extent_of(scenario_of(run.devices, run.load_s))
    usd = most(extent, price_list(target.settings.region)).usd
    say(f"penstock prove: {describe(target)}")
    say(
        f"  {run.devices} devices, some {extent.messages:,.0f} messages at most, about "
        f"{MINUTES:.0f} minutes, at most {usd:.2f} USD by AWS's list prices; everything is "
        "removed in the end"
    )
    if usd > max_usd:
        raise UserError(
            f"it could cost {usd:.2f} USD and --max-usd is {max_usd:g}: choose fewer --devices, or "
            "a higher --max-usd"
        )
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("nothing was begun: add --yes to begin without a question")
    if not click.confirm("Begin?", err=True):
        raise UserError("nothing was begun")


def _prove(run: Run, path: Path | None, stopping: threading.Event, as_json: bool) -> int:
    page = path or HOME / "reports" / f"{run.stack}.html"
    say(f"penstock prove: {run.stack}, {run.devices} devices, {run.load_s:g} s of load, seed "
        f"{run.seed}")  # fmt: skip

    def write(report: dict[str, Any]) -> dict[str, str]:
        signed = signature.sign(report, signature.load_key(KEY))
        page.parent.mkdir(parents=True, exist_ok=True)
        page.with_suffix(".json").write_text(json_text(signed))
        page.write_text(page_of(signed))
        return {"page": str(page), "json": str(page.with_suffix(".json"))}

    try:
        with stop_on_signals(stopping):
            written = _to_the_end(run, write, stopping)
    except KeyboardInterrupt:
        raise UserError(f"interrupted, and the run {run.stack} is kept: {AFTER}") from None
    except (UserError, DeployError) as error:
        raise UserError(f"{error}; the run {run.stack} is kept: {AFTER}") from None
    except (ClientError, BotoCoreError) as error:
        raise UserError(f"AWS refuses: {error}; the run {run.stack} is kept: {AFTER}") from None
    report = signature.check(Path(written["json"]).read_bytes()).report
    proven = report["verdict"] == "exact"
    if not proven:
        keep_evidence(run.folder)
    run.remove()
    if as_json:
        print_json(report)
    else:
        STDOUT.print("\n".join(["", *lines_of(report)]), markup=False)
    say(f"  → report {written['page']}, signed {written['json']}")
    return 0 if proven else 1


def _to_the_end(run: Run, write: proof.WriteReport, stopping: threading.Event) -> dict[str, Any]:
    try:
        return proof.prove(run, write, stopping.is_set)
    except proof.LostStateError:
        say("the embedded AWS lost its state when the run was killed: it begins anew")
        run.begin_anew()
        return proof.prove(run, write, stopping.is_set)


def _clean(run: Run | None, stopping: threading.Event) -> int:
    if run is None:
        say("nothing to remove: no run was interrupted in this folder")
        return 0
    say(f"removing {run.stack}")
    try:
        with stop_on_signals(stopping):
            left = proof.remove(run, stopping.is_set)
    except KeyboardInterrupt:
        raise UserError("interrupted: run `penstock prove --clean` again, it goes on") from None
    except (DeployError, ClientError, BotoCoreError) as error:
        raise UserError(f"{error}; run `penstock prove --clean` again, it goes on") from None
    if left:
        raise UserError(
            f"the account still has {', '.join(left)}: run `penstock prove --clean` again"
        )
    say(f"removed: nothing of {run.stack} is left")
    return 0


def _check(path: Path, as_json: bool) -> int:
    """Check a report's signature, and say what the report says."""
    try:
        found = signature.check(path.read_bytes())
        own = signature.load_key(KEY).public_key().public_bytes_raw() if KEY.exists() else b""
    except SignatureError as error:
        raise UserError(f"{path}: {error}") from None
    is_own = bool(own) and signature.fingerprint(own) == found.fingerprint
    whose = "the key of this folder" if is_own else "a key that is not this folder's"
    if as_json:
        print_json({"valid": True, "fingerprint": found.fingerprint, "own_key": is_own,
                    "report": found.report})  # fmt: skip
        return 0
    STDOUT.print("\n".join(lines_of(found.report)), markup=False)
    STDOUT.print(
        f"the signature is right: nothing was changed since {whose} signed it; compare the key's "
        f"fingerprint with who gave you the report: {found.fingerprint}",
        markup=False,
    )
    return 0
