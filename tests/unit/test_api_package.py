"""The API's package: what the function needs and no more, for its processor, and the same each
time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra.aws import api_package
from infra.aws.api_package import PACKAGES, Package, PackageError

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements/production.txt").read_text()
NOT_NEEDED = {"_distutils_hack", "__editable___penstock_finder", "_awscrt", "awscrt", "certifi"}
"""Of this environment, and taken by botocore where they are there: it works without."""

IMPORTED = ("botocore", "mangum", "msgspec", "orjson", "starlette")


def _needed(names: tuple[str, ...]) -> set[str]:
    """Packages with what they require, and what that requires; of every version of Python."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower()
        if name not in found:
            found.add(name)
            waiting += [
                one.name.replace("_", "-")
                for one in map(Requirement, requires(name) or ())
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return found


def test_the_package_has_what_the_function_imports_and_all_that_this_requires() -> None:
    assert set(PACKAGES) == _needed(IMPORTED)


def test_the_function_imports_nothing_else() -> None:
    code = (
        "import sys, json, dashboard.function.serverless\n"
        "files = [getattr(m, '__file__', None) or '' for m in list(sys.modules.values())]\n"
        "print(json.dumps(sorted({f.split('site-packages/')[1].split('/')[0].split('.')[0]"
        " for f in files if 'site-packages/' in f})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = set(json.loads(done.stdout)) - NOT_NEEDED
    known = {name.replace("python-dateutil", "dateutil").replace("-", "_") for name in PACKAGES}
    assert modules <= known


def test_each_package_comes_from_the_production_lock_with_its_hashes() -> None:
    text = api_package.locked(LOCK, PACKAGES)
    entries = [line for line in text.splitlines() if "==" in line]
    assert [line.partition("==")[0] for line in entries] == list(PACKAGES)
    assert text.count("--hash=sha256:") >= len(PACKAGES)
    with pytest.raises(PackageError, match="does not have flask"):
        api_package.locked(LOCK, ["orjson", "flask"])


@pytest.mark.parametrize("uv", ["/usr/bin/uv", None])
def test_wheels_are_those_of_the_processor_and_nothing_is_built(uv: str | None) -> None:
    command = api_package.install_command(uv, Path("task"), Path("lock.txt"), "arm64")
    text = " ".join(command)
    assert "aarch64" in text
    assert "x86_64" not in text
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(command)


def _folder(at: Path) -> Path:
    for name, text in {
        "dashboard/__init__.py": "",
        "orjson/orjson.pyi": "x: int",
        "bin/tool": "#!",
        "botocore/data/endpoints.json": "{}",
        "botocore/data/dynamodb/service.json": "{}",
        "botocore/data/s3/service.json": "{}",
    }.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    return at


def test_the_same_files_are_the_same_package_with_bytecode_and_without_what_is_not_read(
    tmp_path: Path,
) -> None:
    first = api_package.packed(_folder(tmp_path / "a"))
    assert api_package.packed(_folder(tmp_path / "b")) == first
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    compiled = [name for name in names if name.endswith(".pyc")]
    assert len(compiled) == 1
    assert set(names) - set(compiled) == {
        "botocore/data/dynamodb/service.json", "botocore/data/endpoints.json",
        "dashboard/__init__.py",
    }  # fmt: skip


def test_another_package_has_another_key() -> None:
    one, other = (Package(text, "python3.13", "arm64") for text in (b"1", b"2"))
    assert one.key != other.key
    assert one.key.startswith("api/")
