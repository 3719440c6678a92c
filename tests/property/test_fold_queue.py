"""The ordinary path of the fold queue decides and folds exactly as reading by reading."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.hot.lateness import LatenessPolicy
from consumers.record import ShardRecord
from consumers.shard.fold_queue import FoldQueue
from consumers.shard.report import ShardStats
from tests.harness.shard import NOW, TIERS, payload
from tests.harness.stores import MemoryDynamo
from tests.property.test_windows import same

TIMES = st.one_of(
    st.integers(NOW - 30_000, NOW),
    st.sampled_from([NOW - 10**9, NOW + 10**7, NOW - 3_600_000, NOW + 600_000, NOW + 600_001]),
)
VALUES = st.one_of(st.floats(-1e6, 1e6), st.booleans(), st.sampled_from([2e60, -1e60, 1.5e308]))
READINGS = st.lists(
    st.tuples(TIMES, st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1)),
    min_size=1,
    max_size=5,
)
ORDINARY = st.lists(
    st.tuples(st.integers(NOW - 30_000, NOW), st.fixed_dictionaries({"a": st.floats(-9, 9)})),
    min_size=1,
    max_size=5,
)


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Messages of two devices and two boots: in order, repeated, overlapping, malformed."""
    messages = []
    for _ in range(draw(st.integers(1, 10))):
        device = draw(st.sampled_from(["dev-a", "dev-b"]))
        boot = draw(st.sampled_from(["boot-one", "boot-one", "boot-two", "b"]))
        readings = draw(st.one_of(ORDINARY, ORDINARY, READINGS))
        messages.append((device, payload(boot, draw(st.integers(0, 12)), readings)))
    return messages


class Shard:
    """A fold queue over a hot store of its own; ``one_by_one`` refuses the ordinary path."""

    def __init__(self, *, one_by_one: bool) -> None:
        from consumers.hot.store import HotStore

        self.stats = ShardStats("s", lambda: NOW, write=lambda _: None)
        self.hot = HotStore(
            MemoryDynamo(),
            windows_table="windows",
            devices_table="devices",
            tiers=TIERS,
            latest_flush_s=1.0,
            now_ms=lambda: NOW,
            durable=lambda _device, _runs: None,
        )
        self.queue = FoldQueue(self.hot, LatenessPolicy(TIERS, 600), self.stats)
        if one_by_one:
            self.queue._folded_as_runs = lambda *_: False  # type: ignore[method-assign]

    def fold(self, messages: list[tuple[str, bytes]], every: int) -> list[Any]:
        taken = []
        for number, (device, data) in enumerate(messages):
            taken.append(ShardRecord(device, NOW, NOW, str(number), 0, data))
            self.queue.add(taken[-1])
            if number % every == every - 1:
                self.queue.fold()
        self.queue.fold()
        return [record.dispositions or [record.disposition] * (record.readings or 1)
                for record in taken]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(traffic(), st.integers(1, 10))
def test_runs_and_single_readings_give_the_same_windows_and_dispositions(
    messages: list[tuple[str, bytes]], every: int
) -> None:
    runs, single = Shard(one_by_one=False), Shard(one_by_one=True)
    assert runs.fold(messages, every) == single.fold(messages, 1)
    assert runs.stats.report.dispositions == single.stats.report.dispositions
    for tier, other in zip(runs.hot.tiers, single.hot.tiers, strict=True):
        used = {key: window for key, window in tier.open.items() if window.n}
        expected = {key: window for key, window in other.open.items() if window.n}
        assert used.keys() == expected.keys()
        for key, window in used.items():
            same(window, expected[key])
            assert sum(map(len, window.pending)) == window.n
    for device, state in single.hot._devices.items():
        mine = runs.hot._devices[device]
        assert (mine.metrics, mine.newest, mine.last_seen) == (
            state.metrics,
            state.newest,
            state.last_seen,
        )
