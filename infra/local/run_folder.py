"""The folder of one bounded run of a local stack, and the files kept when the run fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.console import say
from infra.runfile import HOME

EVIDENCE: Final = ("ledger.sqlite", "worker.log", "emulator.log")


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder of its own for a run, so that two can run at once; removed afterwards. When the
    run fails, its ledger and logs are kept."""
    for left in HOME.glob("demo-*"):
        if not _runs(left.name.removeprefix("demo-")):  # a demo that was killed
            shutil.rmtree(left, ignore_errors=True)
    folder = HOME / f"demo-{os.getpid()}"
    try:
        yield folder
    except Exception:
        keep_evidence(folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def keep_evidence(folder: Path) -> None:
    """Keep an inexact or failed run's ledger and logs, those of the last such run."""
    found = [path for name in EVIDENCE if (path := folder / name).exists()]
    if not found:
        return
    kept = HOME / "last-failure"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in found:
        shutil.copy(path, kept / path.name)
    say(f"the ledger and the logs of this run are in {kept}")
