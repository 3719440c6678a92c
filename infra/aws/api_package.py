"""The read API as a package for Lambda: our modules and what they need, from the production lock.

Wheels for the function's processor are downloaded and checked against the lock's hashes; nothing is
built, so neither a compiler nor Docker is needed. Bytecode is in the package, because a function's
folder cannot be written to, and compiling at each cold start would take longer than everything
else. The same lock and the same modules give the same bytes, and so the same key.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, Final, Literal, NamedTuple, Protocol

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of

Architecture = Literal["arm64", "x86_64"]

PREFIX: Final = "api/"
"""Under which packages are in the archive's bucket."""

PACKAGES: Final = (
    "anyio", "botocore", "idna", "jmespath", "mangum", "msgspec", "orjson", "python-dateutil",
    "six", "starlette", "typing-extensions", "urllib3",
)  # fmt: skip
"""What the function imports, and what that needs in turn; a test compares it with what they say."""

MODULES: Final = ("dashboard", "ingest")
RUNTIME: Final = f"python3.{sys.version_info.minor}"
RUNTIMES: Final = ("python3.11", "python3.12", "python3.13", "python3.14")
"""This machine's, and those that Lambda has (``AllowedValues`` of ``api.yaml``)."""

_LOCK: Final = "requirements/production.txt"
_MACHINE: Final = {"arm64": "aarch64", "x86_64": "x86_64"}
_GLIBC: Final = range(34, 16, -1)
"""Minor versions of glibc 2 whose wheels run on Amazon Linux 2023, the newest first."""
_SERVICES: Final = frozenset({"dynamodb", "iot-data"})
_TASK_ROOT: Final = "/var/task"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The package cannot be made: one sentence for the user."""


class Package(NamedTuple):
    """A package, and what it runs on."""

    content: bytes
    runtime: str
    architecture: Architecture

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{PREFIX}{hashlib.sha256(self.content).hexdigest()[:32]}.zip"


class Objects(Protocol):
    """The calls of S3 that this module needs."""

    def head_object(self, *, Bucket: str, Key: str) -> Any:
        """As ``boto3``'s."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> Any:
        """As ``boto3``'s."""


def build(architecture: Architecture = "arm64") -> Package:
    """Make the package, for this interpreter's version of Python.

    :raises PackageError: when a wheel cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-api-") as name:
        folder = Path(name)
        _install(folder / "task", architecture)
        for module in MODULES:
            _copy(module, folder / "task")
        content = packed(folder / "task")
    return Package(content, RUNTIME, architecture)


def installer() -> str | None:
    """What gets the wheels on this machine: ``uv``, else ``pip``; ``None`` without either."""
    if _uv():
        return "uv"
    return "pip" if importlib.util.find_spec("pip") else None


def upload(s3: Objects, bucket: str, package: Package) -> None:
    """Put the package into the bucket, unless it is there."""
    try:
        s3.head_object(Bucket=bucket, Key=package.key)
    except ClientError as error:
        if code_of(error) not in ("404", "403", "NoSuchKey"):
            raise
        s3.put_object(Bucket=bucket, Key=package.key, Body=package.content)


def locked(lock: str, names: Sequence[str]) -> str:
    """The entries of a lock for these packages, with their hashes.

    :raises PackageError: when the lock has one of them not.

    >>> locked("a==1 \\\\\\n    --hash=sha256:0\\nb==2 \\\\\\n    --hash=sha256:1\\n", ["b"])
    'b==2 \\\\\\n    --hash=sha256:1\\n'
    """
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    found = {one.partition("==")[0]: one for one in entries if "==" in one.partition("\n")[0]}
    if missing := [name for name in names if name not in found]:
        raise PackageError(f"{_LOCK} does not have {', '.join(missing)}: run `make lock`")
    return "".join(found[name] for name in names)


def install_command(uv: str | None, folder: Path, lock: Path, architecture: str) -> list[str]:
    """The command that installs the wheels of a lock, by uv or, without one, by pip."""
    version, machine = f"3.{sys.version_info.minor}", _MACHINE[architecture]
    same = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    where = ["--target", str(folder), "--python-version", version]
    if uv:
        platform = ["--python-platform", f"{machine}-manylinux_2_34"]
        return [uv, "pip", "install", "-q", *where, *platform, *same]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    old = f"--platform=manylinux2014_{machine}"
    return [*pip, "--implementation", "cp", *where, *platforms, old, *same]


def packed(folder: Path) -> bytes:
    """A folder as a package, with bytecode and without what the function never reads."""
    for path in list(_unused(folder)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    compileall.compile_dir(
        folder, quiet=2, stripdir=str(folder), prependdir=_TASK_ROOT,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(member, path.read_bytes())
    return written.getvalue()


def _unused(folder: Path) -> Iterator[Path]:
    """Programs, type stubs, and botocore's models of services that are not called."""
    yield from (one for one in (folder / "bin", folder / ".lock") if one.exists())
    yield from folder.rglob("*.pyi")
    yield from folder.glob("*.dist-info/RECORD")  # has the installer's own entries
    data = folder / "botocore" / "data"
    if data.is_dir():
        yield from (one for one in data.iterdir() if one.is_dir() and one.name not in _SERVICES)


def _install(folder: Path, architecture: Architecture) -> None:
    with tempfile.TemporaryDirectory() as name:
        lock = Path(name) / "lock.txt"
        lock.write_text(locked(_lock(), PACKAGES))
        done = subprocess.run(
            install_command(_uv(), folder, lock, architecture), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    if done.returncode:
        why = done.stderr.strip().splitlines() or ["no reason given"]
        raise PackageError(
            f"the API's package cannot be made: {why[-1].strip()}; the machine that deploys needs "
            "uv or pip, and a package index"
        )


def _uv() -> str | None:
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def _lock() -> str:
    """The production lock: beside this module when Penstock is installed, else the repository's."""
    beside = Path(__file__).parent / "production.txt"
    here = beside if beside.exists() else Path(__file__).parents[2] / _LOCK
    try:
        return here.read_text()
    except FileNotFoundError:
        raise PackageError(f"there is no {_LOCK}: install Penstock again") from None


def _copy(module: str, folder: Path) -> None:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    ignored = shutil.ignore_patterns("__pycache__", "static")
    shutil.copytree(Path(found.origin).parent, folder / module, ignore=ignored)
