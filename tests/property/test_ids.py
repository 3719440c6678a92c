from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.id_ranges import IdSet

IDS = st.lists(st.tuples(st.sampled_from(["boot-aaa", "boot-bbb"]), st.integers(0, 60)))


@given(IDS)
def test_it_is_a_set_of_ids_whatever_the_order(ids: list[tuple[str, int]]) -> None:
    kept = IdSet()
    seen: set[tuple[str, int]] = set()
    for boot, seq in ids:
        fresh = [] if (boot, seq) in seen else [(seq, seq + 1)]
        assert list(kept.add(boot, seq, seq + 1)) == fresh
        seen.add((boot, seq))
    assert len(kept) == len(seen)
    assert all(((boot, seq) in kept) == ((boot, seq) in seen)
               for boot in ("boot-aaa", "boot-bbb", "boot-ccc") for seq in range(62))  # fmt: skip


@given(IDS)
def test_what_is_stored_reads_back_the_same(ids: list[tuple[str, int]]) -> None:
    kept = IdSet()
    for boot, seq in ids:
        kept.add(boot, seq, seq + 1)
    again = IdSet.load(kept.dump())
    assert again.bounds == kept.bounds
    assert again.ranges == kept.ranges == sum(len(b) // 2 for b in kept.bounds.values())


@given(IDS)
def test_ranges_are_merged_so_that_equal_sets_are_stored_equally(
    ids: list[tuple[str, int]],
) -> None:
    one, other = IdSet(), IdSet()
    for boot, seq in ids:
        one.add(boot, seq, seq + 1)
    for boot, seq in sorted(ids, reverse=True):
        other.add(boot, seq, seq + 1)
    assert one.dump() == other.dump()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["boot-aaa", "b" * 36]),
            st.one_of(st.integers(0, 60), st.integers(2**53 - 100, 2**53 - 1)),
        )
    )
)
def test_a_set_takes_no_more_bytes_than_it_weighs(ids: list[tuple[str, int]]) -> None:
    kept = IdSet()
    for boot, seq in ids:
        kept.add(boot, seq, seq + 1)
    entry = 1  # DynamoDB counts a byte for each entry of a map
    assert sum(len(boot) + len(text) + entry for boot, text in kept.dump().items()) <= kept.weight()


RANGES = st.lists(
    st.tuples(st.sampled_from(["boot-aaa", "boot-bbb"]), st.integers(0, 60), st.integers(1, 12))
)


@given(RANGES)
def test_a_range_adds_what_its_numbers_would_one_by_one(ranges: list[tuple[str, int, int]]) -> None:
    whole, single = IdSet(), IdSet()
    for boot, start, count in ranges:
        fresh = whole.add(boot, start, start + count)
        numbers = [n for n in range(start, start + count) if single.add(boot, n, n + 1)]
        assert [n for a, b in fresh for n in range(a, b)] == numbers
        assert all(a < b for a, b in fresh)
        assert all(b < c for (_, b), (c, _) in pairwise(fresh))
        assert whole.bounds == single.bounds
        assert whole.ranges == single.ranges


def test_in_order_traffic_is_one_range() -> None:
    kept = IdSet()
    for seq in range(1, 61):
        kept.add("9f2c61d0", seq, seq + 1)
    kept.add("9f2c61d0", 62, 63)
    assert kept.dump() == {"9f2c61d0": "1-60,62"}


@pytest.mark.parametrize("text", ["", "5-3", "1-4,3-6", "1-4,5-6", "a", "1,,2"])
def test_text_that_is_not_sorted_disjoint_ranges_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        IdSet.load({"boot-aaa": text})
