"""Measurements, each against a baseline of the same run. ``make bench`` runs them.

A measure is a module with ``run(progress) -> Result``, listed in :data:`MEASURES`; one that can be
smaller has ``quick`` too, for ``--quick``.
"""

from __future__ import annotations

from typing import Final

MEASURES: Final = {
    "P1": "benchmarks.worker.p1_fold",
    "P2": "benchmarks.worker.p2_hot_writes",
    "P3": "benchmarks.worker.p3_memory",
    "P4": "benchmarks.path.p4_full_path",
    "P5": "benchmarks.path.p5_startup",
    "P6": "benchmarks.worker.p6_archive",
    "P7": "benchmarks.path.p7_catch_up",
    "P8": "benchmarks.worker.p8_growth",
    "P9": "benchmarks.path.p9_simulator",
    "P10": "benchmarks.path.p10_dashboard",
    "P11": "benchmarks.worker.p11_backlog",
    "P12": "benchmarks.worker.p12_write_units",
    "P13": "benchmarks.path.p13_live_page",
    "P14": "benchmarks.path.p14_cost",
    "P15": "benchmarks.path.p15_steady",
    "P16": "benchmarks.worker.p16_hostile",
    "L1": "benchmarks.lake.l1_sql",
    "L2": "benchmarks.lake.l2_files",
    "L3": "benchmarks.lake.l3_fresh",
    "L4": "benchmarks.lake.l4_replay",
    "L5": "benchmarks.lake.l5_compaction",
    "A1": "benchmarks.alerts.a1_latency",
    "A2": "benchmarks.alerts.a2_exactness",
    "A3": "benchmarks.alerts.a3_fold",
    "A4": "benchmarks.alerts.a4_backtest",
    "A5": "benchmarks.alerts.a5_duty",
    "S1": "benchmarks.scale.measure",
}
"""Name to module, in the order in which they run."""
