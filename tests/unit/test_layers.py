"""Data flows one way, and so do imports (design, section 1); a child imports only what it needs.

The allowed imports are data: between packages, and between the sub-packages of each.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "ingest": set[str](),
    "devices": {"ingest"},
    "consumers": {"ingest"},
    "lake": {"consumers", "ingest"},
    "simulator": {"devices", "ingest"},
    "dashboard": {"ingest"},
    "infra": {"dashboard", "simulator", "lake", "devices", "consumers", "ingest"},
}
"""Package to the other packages of ours that it may import. Nobody imports ``infra``."""

FILES = 12
LINES = 400
"""Most modules in a folder, beside ``__init__.py``, and most lines in one."""

TOP = "top"
"""Modules that lie directly in a package. Every sub-package may import them."""

SUB_PACKAGES: dict[str, dict[str, set[str]]] = {
    "ingest": {
        TOP: set(),
        "acts": set(),
        "commands": set(),
        "tables": set(),
        "traces": set(),
        "schemas": set(),
    },
    "devices": {
        TOP: {"commands", "mqtt", "spool", "store", "provisioning"},
        "commands": set(),
        "mqtt": set(),
        "spool": {"mqtt"},
        "store": {"mqtt"},
        "provisioning": {"mqtt"},
    },
    "consumers": {
        TOP: {"kcl"},
        "aws": set(),
        "kcl": {"aws"},
        "hot": {"aws"},
        "alerts": {"aws", "hot"},
        "fleet": {"alerts", "aws", "hot", "kcl"},
        "archive": {"aws", "kcl"},
        "traces": {"hot"},
        "schemas": {"aws"},
        "shard": {"aws", "kcl", "hot", "archive", "alerts", "traces", "schemas"},
        "worker": {"aws", "kcl", "shard"},
    },
    "lake": {
        TOP: set(),
        "archive": set(),
        "sql": {"archive", "catalog"},
        "catalog": {"archive"},
        "librarian": {"archive", "catalog"},
        "compaction": {"archive", "catalog", "librarian", "sql"},
        "replay": {"archive"},
        "rejects": {"archive", "replay"},
        "audit": {"archive", "replay"},
        "rebuild": {"archive", "replay", "audit"},
        "backtest": {"archive", "replay"},
    },
    "simulator": {
        TOP: {"load", "verification"},
        "load": {"verification"},
        "verification": set(),
    },
    "dashboard": {TOP: set(), "tenants": set(), "http": {"tenants"}, "function": {"http"}},
    "infra": {
        TOP: {"aws"},
        "emulator": set(),
        "cost": {"emulator"},
        "aws": {"cost"},
        "worker": {"aws"},
        "local": {"aws", "emulator", "worker"},
        "simulation": {"archive", "aws", "cost", "emulator", "local"},
        "archive": set(),
        "scenario": {"archive", "cost", "local", "simulation"},
        "prove": {"aws", "cost", "emulator", "local", "simulation", "scenario", "worker"},
        "commands": {
            "archive",
            "aws",
            "cost",
            "emulator",
            "local",
            "simulation",
            "scenario",
            "prove",
            "worker",
        },
    },
}
"""For each package: sub-package to the sub-packages beside it that it may import. A sub-package
that is not named here may import none, and nobody may import it."""


def modules_in(package: str) -> dict[str, Path]:
    """The package's modules by dotted name; none when the package is not there (yet)."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (ROOT / package).rglob("*.py")
    }


@cache
def imports() -> dict[str, set[str]]:
    """Each module of ours to the modules of ours that it imports, anywhere in its text."""
    modules = {name: file for package in PACKAGES for name, file in modules_in(package).items()}
    return {name: set(_imported(name, file, modules)) - {name} for name, file in modules.items()}


def _imported(name: str, file: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively: name the whole module"
            base = node.module or ""
            for alias in node.names:
                if f"{base}.{alias.name}" in modules:
                    yield f"{base}.{alias.name}"
                elif base in modules:
                    yield base


def sub_package(module: str) -> str:
    """The sub-package that a module is in, or :data:`TOP`."""
    parts = module.split(".")
    is_package = (ROOT.joinpath(*parts) / "__init__.py").exists()
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and is_package) else TOP


def test_a_package_imports_only_what_lies_before_it() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        for target in targets
        if (theirs := target.split(".")[0]) != (ours := module.split(".")[0])
        and theirs not in PACKAGES[ours]
    ]
    assert not wrong


def test_no_package_imports_tests_or_benchmarks() -> None:
    wrong = [
        f"{module}: {node.module}"
        for package in PACKAGES
        for module, file in modules_in(package).items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[0] in ("tests", "benchmarks")
    ]
    assert not wrong


@pytest.mark.parametrize("package", SUB_PACKAGES)
def test_a_sub_package_imports_only_those_that_its_package_allows(package: str) -> None:
    allowed = SUB_PACKAGES[package]
    wrong = [
        f"{module} imports {target}: {ours} may import {sorted(allowed.get(ours, ()))}"
        for module, targets in imports().items()
        for target in targets
        if module.split(".")[0] == target.split(".")[0] == package
        and (theirs := sub_package(target)) != (ours := sub_package(module))
        and theirs not in (TOP, *allowed.get(ours, ()))
    ]
    assert not wrong


def test_the_hot_store_and_the_archive_do_not_know_each_other() -> None:
    allowed = SUB_PACKAGES["consumers"]
    assert "archive" not in allowed["hot"]
    assert "hot" not in allowed["archive"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_place_is_found_from_the_listing_no_folder_or_file_is_too_long(package: str) -> None:
    modules = modules_in(package)
    files = Counter(file.parent for file in modules.values() if file.name != "__init__.py")
    commands = ROOT / "infra" / "commands"  # a file a command: as many as there are
    assert [f for f, n in files.items() if n > FILES and f != commands] == []
    assert [f for f in modules.values() if len(f.read_text().splitlines()) > LINES] == []


def test_every_module_is_looked_at() -> None:
    assert {"consumers.shard.child", "ingest.tiers", "infra.cli"} <= imports().keys()
    assert "consumers.shard.processor" in imports()["consumers.shard.child"]
    assert "consumers.failpoints" in imports()["consumers.shard.child"]  # from a package


def modules_of(module: str) -> set[str]:
    """What a fresh interpreter has loaded after importing a module."""
    code = f"import {module}, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_a_child_does_not_load_what_only_others_need() -> None:
    loaded = modules_of("consumers.shard.child")
    for unwanted in ("boto3", "pydantic", "pydantic_settings", "rich", "click", "orjson",
                     "prometheus_client", "consumers.worker", "consumers.kcl.daemon",
                     "infra", "devices", "simulator", "ministack", "ingest.settings",
                     "opentelemetry", "consumers.traces", "ingest.traces"):  # fmt: skip
        assert unwanted not in loaded, unwanted


def test_the_command_line_loads_no_command_before_it_is_called() -> None:
    loaded = modules_of("infra.cli")
    for unwanted in ("boto3", "botocore", "pyarrow", "awscrt", "pydantic"):
        assert unwanted not in loaded, unwanted
