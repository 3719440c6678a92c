"""A disk that loses its power: what a folder holds afterwards is what was synced.

A file's content is that of its last ``fsync``, or nothing; a folder's names are those of the
folder's last ``fsync``. Whatever else the program wrote, renamed or removed is gone or undone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

Unsynced = Literal["lost", "kept"]


class PowerCut(BaseException):
    """The power is gone; a :class:`BaseException`, so that nothing catches and tidies up."""


class Disk:
    """Watches every ``fsync``, and cuts the power at a step. Steps are the syncs of the program,
    and what else calls :meth:`step`."""

    def __init__(self, root: Path, cut_at: int | None) -> None:
        self._root = root
        self._cut_at = cut_at
        self.steps = 0
        self._contents: dict[int, tuple[bytes, int]] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self._names[root.stat().st_ino] = {}

    def step(self) -> None:
        """One more step begins.

        :raises PowerCut: when it is the one at which the power goes.
        """
        if self.steps == self._cut_at:
            raise PowerCut
        self.steps += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch and cut in this context."""
        original = os.fsync

        def fsync(descriptor: Any) -> None:
            self.step()
            original(descriptor)
            self._synced(Path(f"/proc/self/fd/{int(descriptor)}").resolve())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            yield

    def cut_at(self, step: int) -> None:
        """Count from here, and cut there."""
        self._cut_at, self.steps = step, 0

    def restore(self, target: Path, unsynced: Unsynced = "lost") -> None:
        """Make the folder as the disk has it after the cut. What was not synced is lost, or, as
        when the program alone was killed, kept."""
        if unsynced == "kept":
            shutil.copytree(self._root, target)
            return
        self._restore(self._root.stat().st_ino, target)

    def _synced(self, path: Path) -> None:
        found = path.stat()
        if path.is_dir():
            self._names[found.st_ino] = {
                one.name: (one.stat().st_ino, one.is_dir()) for one in path.iterdir()
            }
        else:
            self._contents[found.st_ino] = (path.read_bytes(), found.st_mode & 0o777)

    def _restore(self, folder: int, target: Path) -> None:
        target.mkdir(mode=0o700, exist_ok=True)
        for name, (inode, is_folder) in self._names.get(folder, {}).items():
            if is_folder:
                self._restore(inode, target / name)
            else:
                content, mode = self._contents.get(inode, (b"", 0o600))
                (target / name).write_bytes(content)
                (target / name).chmod(mode)
