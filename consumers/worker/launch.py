"""The command by which the KCL daemon starts a shard's child, and the environment of both."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from consumers.shard import fork_client
from ingest.settings import Settings

ARROW: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others keep what they no longer use
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # no thread may run before a fork
}
"""Environment of a process that imports Arrow."""


def child_command(fork_server: Path | None) -> list[str]:
    """The command that the daemon runs for each shard.

    ``fork_server`` is the directory in which a :mod:`consumers.shard.fork_server` listens; then the
    command is a :mod:`consumers.shard.fork_client`, which has a child forked there. Without one the
    command is the child itself.
    """
    if fork_server is None:
        return [sys.executable, "-m", "consumers.shard.child"]
    return [sys.executable, "-I", "-S", fork_client.__file__, str(fork_server)]


def daemon_environment(
    settings: Settings, credentials: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The daemon's environment: this process's own, with the region and endpoint resolved.

    When ``credentials`` are given, no other AWS setting of this process reaches the daemon.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if credentials is None or not name.startswith("AWS_")
    }
    kept |= {"AWS_REGION": settings.region, **ARROW}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1"} if sys.dont_write_bytecode else {}
    if settings.endpoint_url:
        kept["AWS_ENDPOINT_URL"] = settings.endpoint_url
    return {**kept, **(credentials or {})}
