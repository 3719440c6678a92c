"""An embedded AWS with the stack deployed into it, and no worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.aws.stacks.cloudformation import deploy
from infra.emulator.process import Emulator
from infra.local.stack import LOCAL_SETTINGS
from infra.target import Target
from ingest.settings import Settings


@contextlib.contextmanager
def deployed(folder: Path, shards: int = 1, **settings: Any) -> Iterator[tuple[Target, Emulator]]:
    """A target whose clients are root's, and the embedded AWS behind it."""
    emulator = Emulator.start(folder / "aws")
    try:
        found = Settings(
            **{**LOCAL_SETTINGS, "endpoint_url": emulator.endpoint_url, **settings},
        )
        target = Target(found, account="", local=True)
        target.account = target.client("sts").get_caller_identity()["Account"]
        deploy(
            target.client("cloudformation"),
            found.stack,
            {"ShardCount": str(shards), "DeletionProtection": "false", "WithSimulator": "false"},
            on_event=lambda _: None,
            interval=0.05,
        )
        yield target, emulator
    finally:
        emulator.stop()
