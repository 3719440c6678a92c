"""A group's windows: those of its devices, together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consumers.alerts.alarms import Evaluation
from consumers.alerts.condition import NOTHING
from consumers.alerts.plan import Plan
from consumers.alerts.transition import GROUP
from consumers.hot.windows import Window
from ingest.tables.hot import window_name
from ingest.tiers import Tier


def merged_windows(group: str, tier: Tier, windows: Iterable[Window]) -> dict[int, Window]:
    """The windows of a group by their start (ms): aggregates of all readings in the windows of its
    devices. Means weigh each reading alike."""
    found: dict[int, Window] = {}
    for window in windows:
        start = window.end - tier.size_ms
        whole = found.get(start)
        if whole is None:
            whole = found[start] = Window(GROUP + group, window_name(tier.name, start), window.end)
            whole.loaded = True
            whole.first_ts, whole.last_ts = window.first_ts, window.last_ts
        whole.n += window.n
        whole.first_ts = min(whole.first_ts, window.first_ts)
        whole.last_ts = max(whole.last_ts, window.last_ts)
        for name, metric in window.metrics.items():
            mine = whole.metrics.get(name)
            if mine is None:
                whole.metrics[name] = metric.copied()
            else:
                mine.merge(metric)
    return found


def evaluations(plan: Plan, windows: Mapping[int, Window], since: int) -> list[Evaluation]:
    """The evaluations of all rules on a group's finished windows, from the start ``since`` (ms) on.
    Those before it are there for rules that look back."""
    size = plan.tier.size_ms
    every = {
        start: plan.codes(window, windows.get(start - size)) for start, window in windows.items()
    }
    found = []
    for index, rule in enumerate(plan.rules):
        read = plan.readers[index]
        verdicts = {start: codes[index] for start, codes in every.items()}
        verdicts = {start: code for start, code in verdicts.items() if code != NOTHING}
        values = {at: read(one, windows.get(at - size)) for at, one in windows.items()}
        found.append(Evaluation(rule, verdicts, since, size, values))
    return found
