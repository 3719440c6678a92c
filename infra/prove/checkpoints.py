"""Watches invariant K from outside: no checkpoint is ahead of what its shard has in the archive."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.archive.segment_key import last_of
from consumers.kcl.leases import read_leases
from consumers.kcl.position import Position, position
from infra.target import Target
from simulator.verification.observe import archive_keys

EVERY_S: Final = 2.0


class CheckpointWatch:
    """Compares checkpoints with the archive, every few seconds while its context lasts and
    whenever :meth:`look` is called."""

    def __init__(self, target: Target) -> None:
        settings = target.settings
        self._dynamodb, self._s3 = target.client("dynamodb"), target.client("s3")
        self._application = settings.application
        self._bucket = settings.bucket(target.account)
        self._archived: dict[str, Position] = {}
        self._seen: set[str] = set()
        self._ahead: set[tuple[str, str]] = set()
        self._compared = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def look(self) -> None:
        """Compare once. Checkpoints are read first: the archive only grows."""
        leases = read_leases(self._dynamodb, self._application)
        for key in archive_keys(self._s3, self._bucket):
            if key not in self._seen:
                self._seen.add(key)
                self._note(key)
        for lease in leases:
            if lease.checkpoint.isdigit():
                self._compared += 1
                reached = self._archived.get(lease.shard)
                if reached is None or position(lease.checkpoint, 0)[:2] > reached[:2]:
                    self._ahead.add((lease.shard, lease.checkpoint))

    def _note(self, key: str) -> None:
        shard = key.rpartition("/")[2].rpartition("-")[0]
        last = last_of(self._s3.head_object(Bucket=self._bucket, Key=key)["Metadata"])
        self._archived[shard] = max(last, self._archived.get(shard, last))

    def result(self) -> dict[str, Any]:
        """How often a checkpoint was compared, and the shards whose checkpoint was ahead."""
        return {"compared": self._compared, "ahead": sorted(shard for shard, _ in self._ahead)}

    def __enter__(self) -> CheckpointWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            with suppress(BotoCoreError, ClientError):  # AWS is busy: the next look compares
                self.look()
