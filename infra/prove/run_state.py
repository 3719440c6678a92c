"""The file of a run: what is done, and what each step left for the next and for the report.

It is written whole and synced after each step, so that whatever ends the process, the next one
knows where to go on. One run a folder: a lock tells one that is at work from one that was broken
off.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from devices.files import make_folder, remove_files, write_file
from infra.console import UserError
from infra.prove.plan import Step
from infra.runfile import HOME

FOLDER: Final = HOME / "prove"
FILE: Final = FOLDER / "run.json"
KEY: Final = FOLDER / "signing-key.pem"
_LOCK: Final = FOLDER / "lock"

Mode = Literal["strict", "like-aws", "aws"]


class Run(msgspec.Struct, kw_only=True):
    """One proof. ``stack`` is its name, in the account and on this machine. Times are s since 1970.

    ``begun`` and ``done`` are steps; ``results`` are what they left, by step; ``seconds`` is how
    long they took. ``resumed`` is how often it was broken off. ``usage`` is what the embedded AWS
    has counted, over all of its lives.
    """

    stack: str
    mode: Mode
    seed: int
    devices: int
    load_s: float
    started_at: float
    region: str = ""
    account: str = ""
    ports: tuple[int, int] | None = None
    emulator_pid: int = 0
    roles: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    begun: list[str] = []
    done: list[str] = []
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    loads: int = 0
    resumed: int = 0

    @property
    def folder(self) -> Path:
        """Where its ledger, its keys, its spools and its logs are."""
        return FOLDER / self.stack

    def begin(self, step: Step) -> None:
        """A step is about to do something."""
        if step not in self.begun:
            self.begun.append(step)
        self.save()

    def finish(self, step: Step, result: Any, seconds: float) -> None:
        """A step is done; this is what it left."""
        self.results[step] = result
        self.seconds[step] = round(self.seconds.get(step, 0.0) + seconds, 2)
        self.done.append(step)
        self.save()

    def save(self) -> None:
        """Write the file: whole, and on the disk when this returns."""
        make_folder(self.folder)
        write_file(FILE, msgspec.json.format(msgspec.json.encode(self)), 0o600)

    def begin_anew(self) -> None:
        """Forget everything but the name: what was in the account is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.begun, self.done, self.results, self.seconds = [], [], {}, {}
        self.names, self.roles, self.loads = {}, {}, 0
        self.save()

    def remove(self) -> None:
        """Remove its folder, and then the file that leads to it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_files(FOLDER, FILE.name)


def new_name(now: float) -> str:
    """A stack's name that says what it is and when it was made, as ``prove-261125-1f3a``."""
    return f"prove-{time.strftime('%y%m%d', time.gmtime(now))}-{secrets.token_hex(2)}"


def read_run() -> Run | None:
    """The run of this folder that is not finished.

    :raises UserError: when its file cannot be read.
    """
    try:
        return msgspec.json.decode(FILE.read_bytes(), type=Run)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{FILE} cannot be read ({error}): is it of another version?") from None


@contextmanager
def held() -> Iterator[None]:
    """Hold this folder's run while the context lasts.

    :raises UserError: when another process does.
    """
    make_folder(FOLDER)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "a proof is at work in this folder: wait for its end, or run another in another "
                "folder"
            ) from None
        yield
