"""What each extra installs and how long its imports take: the table of docs/packages.md.

``python -m benchmarks.package_sizes`` makes a fresh virtual environment an extra, installs the
locked versions into it and prints a Markdown table. Sizes are those of ``site-packages`` (MB of
10^6 bytes), as unpacked and with the bytecode that pip compiles. Times are the median of seven
fresh interpreters with compiled bytecode, less that of an interpreter that imports nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
RUNS: Final = 7


class Extra(NamedTuple):
    """An extra, and the module whose import stands for it."""

    name: str
    module: str


EXTRAS: Final = (
    Extra("", "devices.spool.client"),
    Extra("aws", "infra.commands.windows"),
    Extra("worker", "consumers.shard.child"),
    Extra("simulator", "infra.commands.simulate"),
    Extra("dashboard", "infra.commands.dashboard"),
    Extra("local", "infra.commands.demo"),
)


def build(folder: Path) -> Path:
    """The distribution's wheel, so that all extras are those of one state of the files."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def install(folder: Path, wheel: Path, extra: str) -> Path:
    """A new environment in ``folder`` with one extra; returns its interpreter."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    what = f"penstock[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    subprocess.run(
        [uv, "pip", "install", "-q", "--link-mode", "copy", "--python", python,
         "-c", ROOT / "requirements" / "development.txt", what],
        check=True,
    )  # fmt: skip
    return python


def megabytes(folder: Path) -> float:
    """The size of all files below a folder."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 1e6


def seconds(python: Path, code: str) -> float:
    """The median time of a fresh interpreter that runs ``code``."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, cwd=python.parent)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure every extra and print the table."""
    print("| installed | packages MB | with bytecode MB | import of | s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for extra in EXTRAS:
            print(row(wheel, extra), flush=True)


def row(wheel: Path, extra: Extra) -> str:
    """Install one extra, and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        python = install(Path(folder), wheel, extra.name)
        packages = next((Path(folder) / "lib").glob("python3*/site-packages"))
        plain = megabytes(packages)
        subprocess.run([python, "-m", "compileall", "-q", packages], check=False)
        took = seconds(python, f"import {extra.module}") - seconds(python, "pass")
        label = f"`penstock[{extra.name}]`" if extra.name else "`penstock`"
        whole = megabytes(packages)
        return f"| {label} | {plain:.0f} | {whole:.0f} | `{extra.module}` | {took:.2f} |"


if __name__ == "__main__":
    main()
