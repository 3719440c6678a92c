"""The queue of what is to be written: each item once, at its time, and what is durable by then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.hot.flush_queue import LONGEST_S, NEVER, FlushQueue, wait


class Item:
    def __init__(self) -> None:
        self.slot, self.epoch = NEVER, 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "hasten", "due", "until", "soonest"]),
        st.integers(0, 4),
        st.integers(0, 6),
    ),
    max_size=40,
)


@given(STEPS)
def test_an_item_is_taken_once_for_each_time_that_it_is_queued(
    steps: list[tuple[str, int, int]],
) -> None:
    queue: FlushQueue[Item] = FlushQueue(4.0)
    items = [Item() for _ in range(5)]
    queued: dict[Item, tuple[int, int]] = {}  # when it is due, and the epoch of its first change
    for epoch, (step, which, at) in enumerate(steps):
        item = items[which]
        taken: list[Item] = []
        expected: set[Item] = set()
        if step == "add" and item not in queued:
            queue.add(item, at, epoch)
            queued[item] = (at, epoch)
        elif step == "hasten" and item in queued:
            queue.hasten(item, at)
            queued[item] = (min(at, queued[item][0]), queued[item][1])
        elif step == "due":
            expected = {one for one, (due, _) in queued.items() if due <= at}
            assert queue.is_due(at) or not expected
            taken = queue.take_due(at)
        elif step == "until":
            expected = {one for one, (_, first) in queued.items() if first <= epoch - at}
            taken = queue.take_until(epoch - at)
        elif step == "soonest" and queued:
            first = min(due for due, _ in queued.values())
            expected = {one for one, (due, _) in queued.items() if due == first}
            taken = next(some for some in queue.take_soonest() if some)
        assert len(taken) == len(expected)
        assert set(taken) == expected
        for one in taken:
            del queued[one]
        assert queue.count == len(queued)
        assert queue.oldest_epoch == min((e for _, e in queued.values()), default=None)


def test_a_window_no_longer_than_the_interval_is_written_once_after_its_end() -> None:
    waits = [wait(75, share=share, size_s=60, first=True) for share in (0.0, 0.5, 1.0)]
    assert waits == [60, 67.5, 75]


def test_a_heavy_window_waits_longer_but_never_for_ever() -> None:
    assert wait(1, share=0.5, weight=40_000) == 10
    assert wait(75, share=0.5, weight=10**6) == LONGEST_S
    assert wait(600, share=0.5, weight=10**6) == 600


def test_an_item_that_was_taken_early_and_is_queued_again_for_the_same_time_is_taken_once() -> None:
    queue: FlushQueue[Item] = FlushQueue(4.0)
    item = Item()
    queue.add(item, 5, 0)
    assert queue.take_until(0) == [item]
    queue.add(item, 5, 1)
    queue.hasten(item, 3)
    assert queue.take_until(1) == [item]
    queue.add(item, 5, 2)
    assert queue.take_due(5) == [item]
    assert queue.oldest_epoch is None
