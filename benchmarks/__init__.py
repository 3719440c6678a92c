"""Measurements, each against a baseline of the same run. ``make bench`` runs them.

A measure is a module with ``run(progress) -> Result``, listed in :data:`MEASURES`.
"""

from __future__ import annotations

from typing import Final

MEASURES: Final = {
    "P1": "benchmarks.p1_fold",
    "P2": "benchmarks.p2_hot_writes",
    "P3": "benchmarks.p3_memory",
    "P6": "benchmarks.p6_archive",
    "P8": "benchmarks.p8_growth",
}
"""Name to module, in the order in which they run."""
