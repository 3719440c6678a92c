"""The rules of the embedded AWS, as plain values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.limits.bucket import TokenBucket
from infra.emulator.limits.capacity import TABLE_QUOTA, Rates, Refused, TableCapacity
from infra.emulator.limits.failures import Failure, FailureModel, answer_of
from infra.emulator.limits.item_size import item_bytes, number_bytes, read_units, write_units
from infra.emulator.limits.latency import LATENCIES, LatencyModel, latency_of
from infra.emulator.limits.partiql import refuse_items, refuse_texts
from infra.emulator.limits.shard import MIB, ShardIn, ShardOut, fitting, put_units
from infra.emulator.profile import LIKE_AWS, STRICT, Profile


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20))
def test_a_bucket_serves_no_more_than_its_burst_and_its_rate(
    gaps: list[float], rate: float
) -> None:
    bucket = TokenBucket(rate, burst=rate, now=0.0)
    now, served = 0.0, 0
    for gap in gaps:
        now += gap
        served += bucket.take(1, now)
    assert served <= rate + rate * now + 1  # one may be served by a bucket smaller than 1


def test_a_bucket_owes_what_was_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=10, now=0.0)
    assert bucket.take(25, 0.0)
    assert not bucket.take(1, 1.5)
    assert bucket.take(1, 1.7)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "abc"}, 3),
        ({"S": "ä"}, 2),
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),
        ({"N": "12"}, 2),
        ({"N": "123"}, 3),
        ({"N": "-123"}, 4),
        ({"N": "0.001"}, 2),
        ({"N": "1200"}, 2),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"B": "AAECAw=="}, 4),
        ({"SS": ["ab", "c"]}, 3),
        ({"NS": ["1", "22"]}, 4),
        ({"BS": ["AAEC"]}, 3),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}]}, 6),
        ({"M": {"k": {"N": "1"}}}, 7),
    ],
)
def test_a_value_has_the_size_that_the_developer_guide_gives(
    value: dict[str, object], size: int
) -> None:
    assert item_bytes({"name": value}) == 4 + size


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-1e12, max_value=1e12)
)
def test_a_number_takes_a_byte_for_two_digits_and_one_or_two_more(number: object) -> None:
    text = format(number, "f")
    significant = len(text.lstrip("-").replace(".", "").strip("0"))
    assert (significant + 1) // 2 <= number_bytes(text) <= (significant + 2) // 2 + 2


def test_units_are_rounded_up_and_an_eventual_read_is_half() -> None:
    assert [write_units(0, n) for n in (0, 1, 1024, 1025)] == [1, 1, 1, 2]
    assert write_units(5000, 10) == 5  # the larger of both
    assert read_units(4097, consistent=True) == 2
    assert read_units(0, consistent=False) == 0.5


def test_a_new_on_demand_table_takes_4000_units_spread_over_its_partitions() -> None:
    capacity = TableCapacity(Rates(table=4000, partition=1000), now=0.0)
    taken = sum(capacity.admit(f"device-{n}", 1, 0.0) is None for n in range(6000))
    assert 3600 <= taken <= 4000


def test_one_key_takes_1000_units_and_the_rest_of_the_table_goes_on() -> None:
    capacity = TableCapacity(Rates(table=4000, partition=1000), now=0.0)
    answers = [capacity.admit("hot", 1, 0.0) for _ in range(1001)]
    assert answers[:1000] == [None] * 1000
    assert answers[1000] is Refused.PARTITION
    assert any(capacity.admit(f"device-{n}", 1, 0.0) is None for n in range(8))


def test_a_table_doubles_its_peak_only_when_that_is_30_minutes_old() -> None:
    capacity = TableCapacity(Rates(table=4000, partition=0, peak_s=1800), now=0.0)
    for n in range(4000):
        assert capacity.admit(str(n), 1, 0.5) is None
    assert capacity.admit("one more", 1, 0.5) is Refused.TABLE
    capacity.admit("later", 1, 1700.0)
    assert capacity.limit == 4000
    capacity.admit("later", 1, 1801.0)
    assert capacity.limit == 8000


def test_no_table_grows_beyond_the_quota() -> None:
    capacity = TableCapacity(Rates(table=30_000, partition=0, peak_s=1), now=0.0)
    capacity.admit("a", 30_000, 0.0)
    capacity.admit("a", 1, 5.0)
    capacity.admit("a", 1, 7.0)
    assert capacity.limit == TABLE_QUOTA


def test_a_provisioned_table_saves_up_five_minutes_and_does_not_grow() -> None:
    capacity = TableCapacity(Rates(table=10, partition=0, provisioned=True), now=0.0)
    assert all(capacity.admit("a", 1, 0.0) is None for _ in range(3000))
    assert capacity.admit("a", 1, 0.0) is Refused.TABLE
    capacity.admit("a", 1, 4000.0)
    assert capacity.limit == 10


def test_without_rates_nothing_is_refused() -> None:
    capacity = TableCapacity(Rates(table=0, partition=0), now=0.0)
    assert all(capacity.admit("a", 1000, 0.0) is None for _ in range(1000))


@pytest.mark.parametrize("key", LATENCIES)
def test_latencies_have_the_median_and_tail_of_their_row(key: tuple[str, str]) -> None:
    model = LatencyModel(seed=1)
    drawn = sorted(model.draw(*key) * 1000 for _ in range(4000))
    wanted = latency_of(*key)
    assert drawn[2000] == pytest.approx(wanted.p50, rel=0.1)
    assert drawn[3960] == pytest.approx(wanted.p99, rel=0.25)


def test_the_same_seed_gives_an_operation_the_same_latencies_whatever_others_do() -> None:
    alone, among = LatencyModel(7), LatencyModel(7)
    first = [alone.draw("dynamodb", "GetItem") for _ in range(5)]
    second = []
    for _ in range(5):
        among.draw("s3", "PutObject")
        second.append(among.draw("dynamodb", "GetItem"))
    assert first == second
    assert [LatencyModel(8).draw("dynamodb", "GetItem") for _ in range(5)] != first


def test_a_factor_stretches_latencies_and_zero_turns_them_off() -> None:
    assert LatencyModel(1, 3.0).draw("s3", "x") == pytest.approx(
        3 * LatencyModel(1, 1.0).draw("s3", "x")
    )
    assert LatencyModel(1, 0.0).draw("s3", "x") == 0.0


def test_failures_are_as_rare_as_asked_and_of_every_kind() -> None:
    model = FailureModel(seed=3, share=0.05)
    drawn = [model.draw("dynamodb", "PutItem") for _ in range(20_000)]
    assert sum(failure is not None for failure in drawn) == pytest.approx(1000, rel=0.15)
    assert set(drawn) == {None, *Failure}
    assert FailureModel(3).draw("dynamodb", "PutItem") is None
    assert FailureModel(3, 1.0).draw("cloudformation", "POST") is None


@pytest.mark.parametrize(
    ("service", "failure", "status", "code"),
    [
        ("dynamodb", Failure.INTERNAL_AFTER, 500, b"InternalServerError"),
        ("kinesis", Failure.INTERNAL_BEFORE, 500, b"InternalFailure"),
        ("s3", Failure.UNAVAILABLE, 503, b"<Code>SlowDown</Code>"),
        ("s3", Failure.INTERNAL_AFTER, 500, b"<Code>InternalError</Code>"),
    ],
)
def test_each_service_words_its_failures(
    service: str, failure: Failure, status: int, code: bytes
) -> None:
    answer = answer_of(failure, service)
    assert answer.status == status
    assert code in answer.body


def test_a_batch_is_of_one_kind_of_short_statements_on_different_items() -> None:
    assert refuse_texts(["SELECT 1", "select 2"]) is None
    assert refuse_texts(["UPDATE a", "INSERT b", "DELETE c"]) is None
    assert "either read" in str(refuse_texts(["SELECT 1", "UPDATE a"]))
    assert refuse_texts(["UPDATE " + "a" * 8185]) is None
    assert "'statements.2.member" in str(refuse_texts(["UPDATE a", "UPDATE " + "a" * 8186]))
    assert refuse_items([("t", "a"), None, None, ("t", "b")]) is None
    assert "duplicates" in str(refuse_items([("t", "a"), ("t", "a")]))


def test_a_shard_takes_1000_records_or_a_mebibyte_a_second() -> None:
    many, large = ShardIn(0.0), ShardIn(0.0)
    assert sum(many.admit(100, 0.0) for _ in range(1500)) == 1000
    assert sum(large.admit(100 * 1024, 0.0) for _ in range(20)) == 10
    assert large.admit(100 * 1024, 0.1)
    assert ShardIn(0.0).admit(MIB + 20, 0.0)  # a record of full size, with its key


def test_a_shard_serves_five_reads_a_second_and_stops_after_ten_mebibytes() -> None:
    reads = ShardOut(0.0)
    assert [reads.admit(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert reads.admit(0.2)
    full = ShardOut(0.0)
    assert full.admit(0.0)
    full.returned(10 * MIB, 0.0)
    assert not full.admit(4.9)
    assert full.admit(5.0)


@given(st.lists(st.integers(1, MIB), max_size=40))
def test_a_read_returns_ten_mebibytes_and_always_something(sizes: list[int]) -> None:
    count = fitting(sizes)
    assert count == len(sizes) or sum(sizes[: count + 1]) > 10 * MIB
    assert count >= min(1, len(sizes))
    assert sum(sizes[:count]) <= 10 * MIB


def test_a_record_is_billed_in_steps_of_25_kib() -> None:
    assert [put_units(n) for n in (0, 1, 25 * 1024, 25 * 1024 + 1)] == [1, 1, 1, 2]


def test_a_profile_travels_as_json() -> None:
    assert Profile.from_json(LIKE_AWS.to_json()) == LIKE_AWS
    assert Profile.from_json("{}") == STRICT
    with pytest.raises(ValueError, match="a profile has no latenci"):
        Profile.from_json('{"latenci": 1}')
    with pytest.raises(ValueError, match="JSON object"):
        Profile.from_json("[]")
