"""Which extra of the distribution a command needs. Pure.

The base installs what a device needs. A command whose packages are missing is told by
:func:`advice`, and not by a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

OURS: Final = frozenset(
    {"ingest", "devices", "consumers", "lake", "simulator", "dashboard", "infra"}
)

EXTRAS: Final = {
    "demo": "local",
    "up": "local",
    "down": "local",
    "prove": "local",
    "consume": "worker",
    "simulate": "simulator",
    "verify": "simulator",
    "sql": "lake",
    "lake": "lake",
    "dashboard": "dashboard",
    "audit": "worker",
    "replay": "worker",
    "rebuild": "worker",
    "rejects": "worker",
}
"""Commands that need another extra than ``aws``."""


def advice(arguments: Sequence[str], module: str | None) -> str | None:
    """What to install for the command in ``arguments``, which failed to import ``module``.

    ``None`` when the module is one of ours: that is a defect, and no package to install.

    >>> advice(["simulate", "--devices", "5"], "pyarrow")
    "this command needs 'pyarrow', which is not installed: pip install 'penstock[simulator]'"
    """
    package = (module or "").partition(".")[0]
    if not package or package in OURS:
        return None
    extra = extra_of(next((word for word in arguments if not word.startswith("-")), ""))
    return (
        f"this command needs {package!r}, which is not installed: pip install 'penstock[{extra}]'"
    )


def extra_of(command: str) -> str:
    """The extra that a command needs, when the base is not enough for it."""
    return EXTRAS.get(command, "aws")
