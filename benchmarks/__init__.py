"""Measurements, each against a baseline of the same run. ``make bench`` runs them.

A measure is a module with ``run(progress) -> Result``, listed in :data:`MEASURES`.
"""

from __future__ import annotations

from typing import Final

MEASURES: Final = {
    "P1": "benchmarks.p1_fold",
    "P2": "benchmarks.p2_hot_writes",
    "P3": "benchmarks.p3_memory",
    "P4": "benchmarks.p4_full_path",
    "P5": "benchmarks.p5_startup",
    "P6": "benchmarks.p6_archive",
    "P7": "benchmarks.p7_catch_up",
    "P8": "benchmarks.p8_growth",
    "P9": "benchmarks.p9_simulator",
    "P10": "benchmarks.p10_dashboard",
}
"""Name to module, in the order in which they run."""
