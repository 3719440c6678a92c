"""When a shard's process must be ended, so that it can have a successor."""

from __future__ import annotations

from consumers.shard.succession import FROZEN_S, Watch

HUNG_S = 150.0


def watched(*, beats: bool, steps: bool, seconds: int, done: int | None = 7) -> float | None:
    """When a process that is looked at once a second is found stuck (s); ``None`` if never."""
    watch = Watch(0.0)
    for now in range(seconds):
        beat = (float(now) if beats else 0.0, now if steps else 0)
        if watch.is_stuck(done, beat, float(now), HUNG_S):
            return float(now)
    return None


def test_a_process_without_heartbeats_is_frozen() -> None:
    assert watched(beats=False, steps=False, seconds=100) == FROZEN_S + 1


def test_a_process_that_runs_and_does_no_step_is_hung() -> None:
    assert watched(beats=True, steps=False, seconds=1_000) == HUNG_S + 1


def test_one_action_may_take_an_hour_while_it_makes_progress() -> None:
    assert watched(beats=True, steps=True, seconds=3_600) is None


def test_a_process_that_the_daemon_does_not_wait_for_may_be_idle() -> None:
    assert watched(beats=True, steps=False, seconds=3_600, done=None) is None
