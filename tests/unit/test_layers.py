"""Data flows one way, and so do imports; a child imports only what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "ingest": {"ingest"},
    "devices": {"devices", "ingest"},
    "consumers": {"consumers", "ingest"},
    "simulator": {"simulator", "devices", "ingest"},
    "dashboard": {"dashboard", "consumers", "ingest"},
    "infra": {"infra", "dashboard", "simulator", "devices", "consumers", "ingest"},
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_before_it(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                root = name.split(".")[0]
                assert root not in MAY_IMPORT or root in MAY_IMPORT[package], f"{file}: {name}"


def modules_of(module: str) -> set[str]:
    """What a fresh interpreter has loaded after importing a module."""
    code = f"import {module}, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_a_child_does_not_load_what_only_others_need() -> None:
    loaded = modules_of("consumers.shard.child")
    for unwanted in ("boto3", "pydantic", "pydantic_settings", "rich", "click",
                     "infra", "devices", "simulator", "ministack", "ingest.settings"):  # fmt: skip
        assert unwanted not in loaded, unwanted


def test_the_command_line_loads_no_command_before_it_is_called() -> None:
    loaded = modules_of("infra.cli")
    for unwanted in ("boto3", "botocore", "pyarrow", "awscrt", "pydantic"):
        assert unwanted not in loaded, unwanted
