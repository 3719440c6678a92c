"""The KCL's jars: where they are, which version they hold, and what depends on it.

``kclpy-ext`` has those of KCL 3.1.3 in its wheel. The setting ``kcl_jars`` names a folder with
others, such as the one that ``infra/kcl/fetch.sh`` fills with KCL 3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from ingest.settings import Settings, SettingsError

_CLIENT: Final = re.compile(r"amazon-kinesis-client-(\d+)\.(\d+)\.(\d+)\.jar")
_DAEMON: Final = re.compile(r"amazon-kinesis-client-multilang-[\d.]+\.jar")


class KclVersion(NamedTuple):
    """A release of the KCL, comparable."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


def kcl_version(names: Iterable[str]) -> KclVersion | None:
    """The KCL's version by the names of a folder's files; ``None`` unless they hold exactly one
    KCL and its MultiLangDaemon.

    >>> kcl_version(f"amazon-kinesis-client-{name}.jar" for name in ("3.5.1", "multilang-3.5.1"))
    KclVersion(major=3, minor=5, patch=1)
    """
    names = list(names)
    clients = [match for name in names if (match := _CLIENT.fullmatch(name))]
    if len(clients) != 1 or not any(map(_DAEMON.fullmatch, names)):
        return None
    return KclVersion(*map(int, clients[0].groups()))


def jars_folder(settings: Settings) -> Path:
    """The folder of the jars that a worker with these settings runs."""
    if settings.kcl_jars is not None:
        return settings.kcl_jars.absolute()
    import amazon_kclpy

    return Path(amazon_kclpy.__file__).parent / "jars"


def installed_version(settings: Settings) -> KclVersion:
    """The version in that folder.

    :raises SettingsError: when the folder does not hold a KCL.
    """
    folder = jars_folder(settings)
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    version = kcl_version(names)
    if version is None:
        raise SettingsError(
            f"setting kcl_jars: {folder} does not hold one KCL with its MultiLangDaemon: "
            "`make jars` in Penstock's repository fills such a folder"
        )
    return version
