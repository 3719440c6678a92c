"""Run the ``penstock`` command as a user does: a process in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be JSON and nothing else."""
        return json.loads(self.out)


PENSTOCK: Final = (sys.executable, "-m", "infra")

KCL_JARS: Final = "PENSTOCK_KCL_JARS"

extra: dict[str, str] = {}
"""What a test adds to the commands' environment."""


def environment() -> dict[str, str]:
    """This process's, without AWS or Penstock settings of whoever runs the tests, but for the KCL
    that they run with."""
    others = ("AWS_", "PENSTOCK_")
    kept = {k: v for k, v in os.environ.items() if k == KCL_JARS or not k.startswith(others)}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "200", **extra}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and let it run."""
    return subprocess.Popen(
        [*PENSTOCK, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, stdin: str = "", seconds: float = 120) -> Result:
    """Run a command to its end."""
    done = subprocess.run(
        [*PENSTOCK, *arguments],
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
