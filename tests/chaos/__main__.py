"""``make chaos``: every fault, thousands of schedules, every mutant; a table and a report.

Three kinds of work run side by side, each in processes of its own: faults on sites that are made
for them, faults that share a site, and schedules. The seed decides everything but the timing of
real processes; the same seed replays the run, and ``--only NAME`` one part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos import mutants
from tests.chaos.faults import load_all

SCHEDULES: Final = 5000
SCHEDULES_A_MUTANT: Final = 1500
REPORT: Final = Path(".penstock/chaos.json")
_SLICES: Final = 2
_SPREAD: Final = 1_000_003


@dataclass
class Findings:
    """What was found so far, in the shape of the report."""

    seed: int
    faults: list[dict[str, Any]] = field(default_factory=list)
    mutants: list[dict[str, Any]] = field(default_factory=list)
    schedules: dict[str, int] = field(default_factory=lambda: {"run": 0, "violations": 0})
    broken: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.seed,
            "faults": self.faults,
            "mutants": self.mutants,
            "schedules": self.schedules,
        }

    @property
    def clean(self) -> bool:
        """Whether every fault was exact, every mutant caught, and no schedule broken."""
        return (
            not self.errors
            and all(row["verdict"] == "exact" for row in self.faults)
            and all(row["caught_by"] for row in self.mutants)
            and not self.schedules["violations"]
        )


class Suite:
    """Starts the parts, follows them, and ends them."""

    def __init__(self, seed: int, schedules: int, only: str | None) -> None:
        self.findings = Findings(seed)
        self._known = load_all()
        self._schedules = schedules
        self._only = only
        self._lines: queue.Queue[str] = queue.Queue()
        self._running: list[subprocess.Popen[bytes]] = []
        self._started = time.monotonic()

    def run(self) -> Findings:
        """Run all parts to their end."""
        lanes = [
            threading.Thread(target=self._follow, args=(lane,), daemon=True)
            for lane in self._lanes()
        ]
        for lane in lanes:
            lane.start()
        try:
            while any(lane.is_alive() for lane in lanes) or not self._lines.empty():
                try:
                    self._say(self._lines.get(timeout=0.5))
                except queue.Empty:
                    self._progress()
        finally:
            for process in self._running:
                if process.poll() is None:
                    process.terminate()
        return self.findings

    def _lanes(self) -> list[Iterator[None]]:
        faults = [f for f in self._known.values() if self._only in (None, f.name)]
        own = [f.name for f in faults if not f.shared]
        random.Random(self.findings.seed).shuffle(own)
        shared = [f.name for f in faults if f.shared]
        half = (len(own) + 1) // 2
        lanes = [self._faults(names) for names in (own[:half], own[half:], shared) if names]
        if self._only in (None, "schedules"):
            lanes += [self._run_schedules(i) for i in range(_SLICES)]
        wanted = [name for name in mutants.MUTANTS if self._only in (None, "mutants", name)]
        if wanted:
            lanes.append(self._run_mutants(wanted))
        return lanes

    def _follow(self, lane: Iterator[None]) -> None:
        try:
            for _ in lane:
                pass
        except Exception as error:
            self.findings.errors.append(repr(error))
            self._lines.put(f"ERROR   {error!r}")

    def _faults(self, names: Sequence[str]) -> Iterator[None]:
        missing = set(names)
        for row in self._json("tests.chaos.suite", *names, "--seed", str(self.findings.seed)):
            missing.discard(row["name"])
            self.findings.faults.append(row)
            self._lines.put(f"{row['verdict']:<8}{row['name']}  ({row['seconds']:.0f} s)")
            for violation in row["violations"]:
                self._lines.put(f"          ! {violation}")
            yield
        for name in sorted(missing):
            self.findings.faults.append(
                {"name": name, "verdict": "not run", "violations": [], "seconds": 0.0}
            )

    def _run_schedules(self, part: int) -> Iterator[None]:
        first = self.findings.seed * _SPREAD + part
        count = len(range(part, self._schedules, _SLICES))
        run = broken = 0
        for row in self._json(
            "tests.chaos.schedules", "--from", str(first), "--step", str(_SLICES),
            "--count", str(count),
        ):  # fmt: skip
            if "seed" in row:
                self.findings.broken.append(row)
                self._lines.put(f"inexact schedule {row['seed']}")
                for violation in row["violations"][:6]:
                    self._lines.put(f"          ! {violation}")
            else:
                self.findings.schedules["run"] += row["run"] - run
                self.findings.schedules["violations"] += row["violations"] - broken
                run, broken = row["run"], row["violations"]
            yield
        if run < count:
            raise RuntimeError(f"schedules ended after {run} of {count}")

    def _run_mutants(self, names: Sequence[str]) -> Iterator[None]:
        for name in names:
            caught = ""
            for row in self._json(
                "tests.chaos.schedules", "--from", str(self.findings.seed * _SPREAD),
                "--count", str(SCHEDULES_A_MUTANT), "--mutant", name, "--stop",
            ):  # fmt: skip
                if "seed" in row:
                    caught = f"schedule {row['seed']}: {row['violations'][0]}"
            self.findings.mutants.append({"name": name, "caught_by": caught})
            self._lines.put(f"{'caught' if caught else 'MISSED':<8}mutant: {name}")
            yield

    def _json(self, module: str, *arguments: str) -> Iterator[dict[str, Any]]:
        """Run a part in a process of its own; the lines that it writes."""
        with self._process(module, *arguments) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)

    @contextmanager
    def _process(self, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
            )
            self._running.append(process)
            with process:
                yield process
            if process.returncode not in (0, 1):
                errors.seek(0)
                text = errors.read().decode(errors="replace").strip().splitlines()
                raise RuntimeError(f"{module} left with {process.returncode}: {text[-1:]}")

    def _progress(self) -> None:
        if sys.stderr.isatty():
            found = self.findings
            print(
                f"  … {time.monotonic() - self._started:.0f} s: {len(found.faults)} faults, "
                f"{found.schedules['run']} schedules, {len(found.mutants)} mutants\r",
                end="", file=sys.stderr, flush=True,
            )  # fmt: skip

    def _say(self, line: str) -> None:
        print(line, flush=True)


def table(findings: Findings, seconds: float) -> list[str]:
    """The end of the output."""
    width = max((len(row["name"]) for row in findings.faults + findings.mutants), default=0)
    lines = [""]
    lines += [
        f"{row['name']:<{width}}  {row['verdict']:<8} {row['seconds']:>6.1f} s"
        for row in sorted(findings.faults, key=lambda row: str(row["name"]))
    ]
    lines += [
        f"{row['name']:<{width}}  caught by {row['caught_by'][:90]}"
        if row["caught_by"]
        else f"{row['name']:<{width}}  NOT CAUGHT"
        for row in findings.mutants
    ]
    schedules = findings.schedules
    lines.append(f"{schedules['run']} schedules, {schedules['violations']} with violations")
    exact = sum(row["verdict"] == "exact" for row in findings.faults)
    caught = sum(bool(row["caught_by"]) for row in findings.mutants)
    lines.append(
        f"seed {findings.seed}: {exact} of {len(findings.faults)} faults exact, {caught} of "
        f"{len(findings.mutants)} mutants caught, in {seconds:.0f} s"
    )
    return lines


def main() -> int:
    """Run, print, write the report; 0 when everything is as promised."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="replays a run; random when not given")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--only", help="one fault, one mutant, 'mutants' or 'schedules'")
    parser.add_argument("--list", action="store_true", help="the names, and what they are")
    options = parser.parse_args()
    known = load_all()
    if options.list:
        for fault in known.values():
            print(f"{fault.name}\n    {(fault.inflict.__doc__ or '').strip()}")
        print("\n".join(f"mutant: {name}" for name in mutants.MUTANTS))
        return 0
    if options.only and options.only not in {*known, *mutants.MUTANTS, "mutants", "schedules"}:
        parser.error(f"there is no fault or mutant {options.only!r}: --list shows them")
    seed = random.SystemRandom().randrange(1, 100_000) if options.seed is None else options.seed
    print(f"seed {seed}  (make chaos SEED={seed} replays this run)", flush=True)
    started = time.monotonic()
    findings = Suite(seed, options.schedules, options.only or None).run()
    print("\n".join(table(findings, time.monotonic() - started)))
    REPORT.parent.mkdir(mode=0o700, exist_ok=True)
    REPORT.write_text(json.dumps(findings.document(), indent=1) + "\n")
    print(f"report: {REPORT}")
    return 0 if findings.clean else 1


if __name__ == "__main__":
    sys.exit(main())
