"""The oracle: what must be there does not depend on the order in which it was sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.tiers import Tier
from simulator.verification.oracle import Rules, Sent, latest, ranges, windows

SECONDS, MINUTES = Tier("10s", flush_s=1, ttl_s=600), Tier("1m", flush_s=1, ttl_s=3600)
RULES = Rules((SECONDS, MINUTES), clock_ahead_s=60)
NOW = 1_795_420_800_000

VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
METRICS = st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1)
AGES = st.one_of(st.integers(-90_000, 90_000), st.integers(0, 4_000_000))


@st.composite
def sets_of_readings(draw: st.DrawFn) -> list[Sent]:
    """Readings with distinct ids of two devices with two boots each; many share a time."""
    ids = draw(
        st.lists(
            st.tuples(st.sampled_from(["d1", "d2"]), st.sampled_from("xy"), st.integers(0, 99)),
            unique=True,
            max_size=40,
        )
    )
    return [
        Sent(device, boot * 8, seq, NOW - draw(AGES), draw(METRICS), (NOW,))
        for device, boot, seq in ids
    ]


@given(sets_of_readings(), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(sent: list[Sent], chance: object) -> None:
    mixed = list(sent)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert windows(sent, RULES) == windows(mixed, RULES)
    assert latest(sent, RULES) == latest(mixed, RULES)


@given(sets_of_readings())
def test_every_accepted_reading_is_in_one_window_of_a_tier(sent: list[Sent]) -> None:
    found = windows(sent, RULES)
    for tier in RULES.tiers:
        accepted = [reading for reading in sent if RULES.accepts(reading, tier)]
        of_tier = [w for (_, name), w in found.items() if name.startswith(f"{tier.name}#")]
        assert sum(window.n for window in of_tier) == len(accepted)


@given(sets_of_readings())
def test_a_window_holds_what_a_plain_loop_finds(sent: list[Sent]) -> None:
    for (device, name), window in windows(sent, RULES).items():
        tier = next(tier for tier in RULES.tiers if name.startswith(f"{tier.name}#"))
        start = window.first_ts - window.first_ts % tier.size_ms
        here = [
            reading
            for reading in sent
            if reading.device == device
            and RULES.accepts(reading, tier)
            and start <= reading.ts < start + tier.size_ms
        ]
        assert window.n == len(here)
        assert (window.first_ts, window.last_ts) == (
            min(r.ts for r in here),
            max(r.ts for r in here),
        )
        for metric, stats in window.metrics.items():
            points = [(r.ts, r.metrics[metric]) for r in here if metric in r.metrics]
            assert stats.n == len(points)
            assert stats.min == min(value for _, value in points)
            assert stats.max == max(value for _, value in points)
            assert (stats.first, stats.last) == (min(points)[1], max(points)[1])
            assert abs(stats.mean * stats.n - stats.sum) <= 1e-9 * stats.scale


@given(sets_of_readings())
def test_a_disposition_and_a_window_exclude_each_other(sent: list[Sent]) -> None:
    for reading in sent:
        folded = any(RULES.accepts(reading, tier) for tier in RULES.tiers)
        assert folded == (RULES.disposition(reading.ts, reading.metrics, NOW) == "ok")


@given(st.sets(st.integers(0, 200)))
def test_ranges_say_exactly_which_numbers(numbers: set[int]) -> None:
    said: set[int] = set()
    for part in filter(None, ranges(numbers).split(",")):
        first, _, last = part.partition("-")
        said |= set(range(int(first), int(last or first) + 1))
    assert said == numbers


def _sent(ts: int, value: float, *, seq: int = 0, received_at: tuple[int, ...] = (NOW,)) -> Sent:
    return Sent("d1", "x" * 8, seq, ts, {"a": value}, received_at)


def test_the_limits_belong_to_the_accepted_side() -> None:
    def judged(ts: int) -> str:
        return RULES.disposition(ts, {"a": 1.0}, NOW)

    assert judged(NOW + 60_000) == "ok"
    assert judged(NOW + 60_001) == "clock_ahead"
    assert judged(NOW - MINUTES.oldest_ms) == "ok"
    assert judged(NOW - MINUTES.oldest_ms - 1) == "late"
    assert RULES.disposition(NOW, {"a": 1e60}, NOW) == "ok"
    assert RULES.disposition(NOW, {"a": -1.1e60}, NOW) == "out_of_range"


def test_a_reading_too_old_for_one_tier_is_still_in_the_other() -> None:
    found = windows([_sent(NOW - SECONDS.oldest_ms - 1, 1.0)], RULES)
    assert [name.split("#")[0] for _, name in found] == ["1m"]


def test_a_reading_is_folded_when_any_of_its_records_came_in_time() -> None:
    late = NOW + MINUTES.oldest_ms + 1
    assert not windows([_sent(NOW, 1.0, received_at=(late,))], RULES)
    assert windows([_sent(NOW, 1.0, received_at=(late, NOW))], RULES)


def test_of_equal_times_the_smaller_value_is_first_and_the_greater_last() -> None:
    sent = [_sent(NOW, 2.0, seq=0), _sent(NOW, 3.0, seq=1), _sent(NOW, 1.0, seq=2)]
    metric = windows(sent, RULES)["d1", "10s#2026-11-23T08:00:00Z"].metrics["a"]
    assert (metric.first, metric.last) == (1.0, 3.0)


def test_a_window_expires_its_time_to_live_after_its_end() -> None:
    window = windows([_sent(NOW + 5, 1.0)], RULES)["d1", "10s#2026-11-23T08:00:00Z"]
    assert window.expires_at == NOW // 1000 + 10 + 600


def test_the_latest_state_takes_each_metric_from_its_newest_reading() -> None:
    old = Sent("d1", "x" * 8, 0, NOW - 5, {"a": 1.0, "b": 2.0}, (NOW,))
    new = Sent("d1", "x" * 8, 1, NOW, {"a": 3.0}, (NOW,))
    state = latest([new, old], RULES)["d1"]
    assert state.metrics == {"a": (3.0, NOW), "b": (2.0, NOW - 5)}
    assert (state.last_ts, state.boot, state.seq) == (NOW, "x" * 8, 1)
