"""Dispositions: the outcome of each record or reading."""

from __future__ import annotations

from typing import Final, Literal

Disposition = Literal[
    "ok",
    "malformed",
    "unsupported_version",
    "oversize",
    "clock_ahead",
    "late",
    "out_of_range",
    "quarantined",
    "overflow",
    "internal_error",
]
"""``ok`` is folded into the hot tables. Everything else is only in the archive, with the raw
bytes."""

OK: Final = "ok"
