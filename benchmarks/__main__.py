"""Run the measures and print a table: ``python -m benchmarks [--only P1 …] [--quick] [--record]``.

With ``--record`` the figures go into ``benchmarks/results.json`` and the plots are drawn again; a
measure that is run alone replaces its own figures and leaves the others. Without it they go to
``.penstock/bench.json``, and the working tree stays as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import MEASURES
from benchmarks.measure import Result
from benchmarks.plots import draw

RESULTS: Final = Path(__file__).with_name("results.json")
LATEST: Final = Path(".penstock/bench.json")
_VERSIONS: Final = ("amazon_kclpy", "boto3", "botocore", "msgspec", "pyarrow", "pydantic")


def main(arguments: list[str] | None = None) -> int:
    """Measure; 0 when all was measured, whether or not a target is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(MEASURES), metavar="P1")
    parser.add_argument("--record", action="store_true", help="update the recorded figures")
    parser.add_argument("--quick", action="store_true", help="smaller, where a measure can be")
    options = parser.parse_args(arguments)
    if options.quick and options.record:
        parser.error("figures of --quick are not those of a measure: leave out --record")
    chosen = [name for name in MEASURES if name in (options.only or MEASURES)]
    console = Console(stderr=True)
    results: dict[str, Result] = {}
    for name in chosen:
        results[name] = _measure(name, console, quick=options.quick)
        path = write(results, record=options.record)  # one that fails later loses nothing
    print(f"figures: {path}", file=sys.stderr)
    Console().print(table(results))
    return 0


def write(results: Mapping[str, Any], *, record: bool) -> Path:
    """Write the figures of a run, with the machine and the library versions; where to."""
    document: dict[str, Any] = {}
    path = RESULTS if record else LATEST
    if record:
        with contextlib.suppress(FileNotFoundError, ValueError):
            document = json.loads(path.read_text())
    document |= {**results, "machine": machine(), "versions": versions()}
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    if record:
        draw(document)
    return path


def _measure(name: str, console: Console, *, quick: bool = False) -> Result:
    started = time.monotonic()
    with console.status(name) as status:

        def progress(what: str) -> None:
            status.update(f"{name}: {what} ({time.monotonic() - started:.0f} s)")
            if not console.is_terminal and what.endswith("…"):
                print(f"{name}: {what}", file=sys.stderr, flush=True)

        module = import_module(MEASURES[name])
        run = getattr(module, "quick", module.run) if quick else module.run
        result: Result = run(progress)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def table(results: dict[str, Result]) -> Table:
    """One line a check; a measure can have several."""
    shown = Table(title="Penstock against its baselines (medians)")
    for heading in ("", "measure", "ours", "baseline", "ratio", "target", "met", "spread"):
        shown.add_column(heading, justify="left" if heading in ("", "measure") else "right")
    for name, result in results.items():
        for check in result["checks"]:
            shown.add_row(
                name,
                check["what"],
                f"{_figure(check['value'])} {check['unit']}",
                _figure(check["baseline"]),
                f"{check['ratio']:.2f}" if check["ratio"] is not None else "",
                check["target"],
                {True: "yes", False: "no", None: ""}[check["met"]],
                f"{check['spread']:.0%}",
            )
    return shown


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures were measured on, as far as it matters to them."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    """The libraries that the figures depend on."""
    found = {}
    for name in _VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
