"""Run faults, and judge them. One lane is one process with one embedded AWS."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from infra.emulator.process import Emulator
from tests.chaos.faults import Fault, load_all
from tests.chaos.site import Site

SHOWN: Final = 6


def inflict(site: Site, fault: Fault) -> dict[str, Any]:
    """Do what a fault does, heal, and check every invariant: a row of the report."""
    started = time.monotonic()
    try:
        fault.inflict(site)
        site.heal()
        violations = site.violations()
    except Exception as error:
        site.heal()
        where = traceback.extract_tb(error.__traceback__)[-1]
        violations = [f"{type(error).__name__} in {where.name}: {str(error) or where.line}"]
        violations += [f"  worker: {line}" for line in site.said[-3:]]
    return {
        "name": fault.name,
        "verdict": "inexact" if violations else "exact",
        "violations": violations[:SHOWN],
        "seconds": round(time.monotonic() - started, 1),
    }


@contextmanager
def emulator_in(folder: Path, *, persist: bool = False) -> Iterator[Emulator]:
    """An embedded AWS for the faults of a lane."""
    running = Emulator.start(folder, persist=persist)
    try:
        yield running
    finally:
        running.stop()


def run(faults: Sequence[Fault], folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Inflict faults one after the other; a row for each."""
    with ExitStack() as lane:
        emulator = lane.enter_context(emulator_in(folder / "aws"))
        shared: Site | None = None
        for number, fault in enumerate(faults):
            own_seed = zlib.crc32(f"{seed}/{fault.name}".encode())
            random.seed(own_seed)
            if fault.shared:
                if shared is None:
                    shared = lane.enter_context(
                        Site(emulator, folder / "shared", stack="shared", seed=own_seed)
                    )
                    shared.start_worker()
                shared.seed = own_seed
                yield inflict(shared, fault)
            else:
                yield on_own_site(emulator, folder / fault.name, number, fault, own_seed)


def on_own_site(
    emulator: Emulator, folder: Path, number: int, fault: Fault, seed: int
) -> dict[str, Any]:
    """A fault on a site that is made for it and taken down again."""
    options = dict(fault.site)
    with ExitStack() as stack:
        if options.pop("persist", False):
            emulator = Emulator.start(folder / "aws", persist=True)
            stack.callback(lambda: site.emulator.stop())
        site = Site(emulator, folder, stack=f"own-{number}", seed=seed, **options)
        stack.enter_context(site)
        return inflict(site, fault)


def main() -> int:
    """Run the named faults and write a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="+")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for everything that is written")
    options = parser.parse_args()
    known = load_all()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = options.keep or Path(temporary)
        for row in run([known[name] for name in options.faults], folder, options.seed):
            bad += row["verdict"] != "exact"
            print(json.dumps(row), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
