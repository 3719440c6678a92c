"""``python -m benchmarks.scale [--quick] [--record]``: play the day, print its tables.

With ``--record`` the result goes into ``benchmarks/results.json``, the plots and the tables of
``docs/scale.md`` are made again. Without it, it goes to ``.penstock/bench.json``, and the plots
beside it.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from benchmarks.__main__ import table, write
from benchmarks.scale import measure, report

NAME = "S1"


def main(arguments: list[str] | None = None) -> int:
    """Play and print; 1 when the model and the real shards do not agree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="six hours and one real shard")
    parser.add_argument("--record", action="store_true", help="update the recorded figures")
    options = parser.parse_args(arguments)
    if options.quick and options.record:
        parser.error("figures of --quick are not those of the day: leave out --record")
    started = time.monotonic()

    def progress(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", file=sys.stderr, flush=True)

    found = (measure.quick if options.quick else measure.run)(progress)
    found["seconds"] = round(time.monotonic() - started, 1)
    path = write({NAME: found}, record=options.record)
    if options.record:
        report.PAGE.write_text(report.rewritten(report.PAGE.read_text(), found))
    else:
        report.draw(found, path.parent)
    console = Console(width=170)
    console.print(table({NAME: found}))
    for one in report.printed(found):
        console.print(one)
    print(f"figures: {path}", file=sys.stderr)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
