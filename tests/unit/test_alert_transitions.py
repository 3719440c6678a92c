"""What verdicts on windows make of an alarm's state."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from consumers.alerts.alarms import Alarms, AlarmsCodec, Evaluation
from consumers.alerts.condition import BETWEEN, BREACH, CLEAR, verdict_of
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Quiet, Rule
from consumers.alerts.transition import RuleState, decide, record
from consumers.hot.runs import run_of_one
from consumers.hot.windows import Window
from ingest.tables.alarms import Act

SIZE = 60_000


def rule(keys: str = "") -> Rule:
    text = f'[[rule]]\nname = "hot"\nwhen = "mean(t) > 80"\nclear = "mean(t) < 70"\n{keys}'
    return parse_rules(text)[0][2]


def told(
    one: Rule, verdicts: Sequence[int | None], state: RuleState | None = None
) -> list[tuple[str, int]]:
    """Kind and window's number of what is decided on windows that follow each other."""
    given = {n * SIZE: code for n, code in enumerate(verdicts) if code is not None}
    return [
        ("withdrawn" if change.withdrawn else change.entry.kind, change.entry.window // SIZE)
        for change in decide(one, state, given, 0, SIZE)
    ]


def state_of(one: Rule, verdicts: Sequence[int | None]) -> RuleState:
    state = RuleState([])
    given = {n * SIZE: code for n, code in enumerate(verdicts) if code is not None}
    record(state, decide(one, state, given, 0, SIZE))
    return state


def test_between_the_thresholds_an_alarm_stays_as_it_is() -> None:
    verdicts = [CLEAR, BETWEEN, BREACH, BETWEEN, CLEAR, BETWEEN]
    assert told(rule(), verdicts) == [("raised", 2), ("cleared", 4)]


def test_for_counts_windows_in_a_row_and_a_gap_breaks_the_row() -> None:
    one = rule("for = 2\n")
    assert told(one, [BREACH, None, BREACH, BREACH]) == [("raised", 3)]


def test_two_of_three_windows_raise_and_two_in_a_row_clear() -> None:
    one = rule('for = "2 of 3"\nclear_for = 2\n')
    verdicts = [BREACH, CLEAR, BREACH, CLEAR, BREACH, CLEAR, CLEAR]
    assert told(one, verdicts) == [("raised", 2), ("cleared", 6)]


def test_what_was_recorded_is_not_recorded_again() -> None:
    verdicts = [BREACH, CLEAR, BREACH]
    assert told(rule(), verdicts, state_of(rule(), verdicts)) == []


def test_what_a_rule_recorded_before_it_was_changed_stands_and_is_not_recorded_twice() -> None:
    state = state_of(rule(), [BREACH])
    no_say = [None, None]  # windows that ended before the change
    assert told(rule(), [*no_say, BREACH], state) == []
    assert told(rule(), [*no_say, CLEAR, BREACH], state) == [("cleared", 2), ("raised", 3)]


def test_late_data_withdraws_what_was_wrong_and_adds_what_was_missing() -> None:
    state = state_of(rule(), [BREACH, CLEAR, CLEAR, BREACH])
    assert told(rule(), [CLEAR, BREACH, CLEAR, BREACH], state) == [
        ("withdrawn", 0),
        ("withdrawn", 1),
        ("raised", 1),
        ("cleared", 2),
    ]


def test_a_transition_that_late_data_turns_over_and_back_has_an_id_of_its_own() -> None:
    alarms = Alarms("pump-1")
    for code in (BREACH, CLEAR, BREACH):
        alarms.evaluations = [Evaluation(rule(), {0: code}, 0, SIZE, {0: 1.0})]
        alarms.apply()
    kinds = [one.transition.kind for one in alarms.outbox]
    assert kinds == ["raised", "withdrawn", "raised"]
    ids = [one.transition.id for one in alarms.outbox]
    assert len(set(ids)) == 3
    assert alarms.outbox[1].transition.withdraws == ids[0]


def test_quiet_hours_and_muting_are_decided_by_the_window_s_end() -> None:
    quiet = msgspec.structs.replace(rule(), quiet=Quiet(0, 1))
    for one, muted_until, notify in ((rule(), 0, True), (rule(), SIZE, False), (quiet, 0, True)):
        alarms = Alarms("pump-1")
        alarms.states["hot"] = RuleState([], muted_until=muted_until)
        alarms.evaluations = [Evaluation(one, {0: BREACH}, 0, SIZE, {})]
        alarms.apply()
        assert alarms.outbox[0].transition.notify is notify


def test_only_an_open_alarm_is_acknowledged_and_only_once() -> None:
    alarms = Alarms("pump-1")
    with pytest.raises(LookupError, match="no open alarm"):
        alarms.act("hot", "acknowledged", "kim", now_ms=7)
    alarms.evaluations = [Evaluation(rule(), {0: BREACH}, 0, SIZE, {})]
    alarms.apply()
    alarms.act("hot", "acknowledged", "kim", now_ms=7)
    with pytest.raises(LookupError, match="kim has acknowledged it already"):
        alarms.act("hot", "acknowledged", "lee", now_ms=8)


def test_what_people_do_is_remembered_with_who_and_when() -> None:
    alarms = Alarms("pump-1")
    alarms.evaluations = [Evaluation(rule(), {0: BREACH}, 0, SIZE, {})]
    alarms.apply()
    alarms.act("hot", "acknowledged", "kim", now_ms=7)
    alarms.act("hot", "muted", "kim", 900, now_ms=8)
    alarms.act("hot", "unmuted", "lee", now_ms=9)
    alarms.act("hot", "muted", "lee", 900, now_ms=10)
    alarms.act("hot", "unmuted", "lee", now_ms=11)
    assert alarms.states["hot"].acts == [
        Act(7, "acknowledged", "kim"), Act(8, "muted", "kim", 900), Act(9, "unmuted", "lee"),
        Act(10, "muted", "lee", 900), Act(11, "unmuted", "lee"),
    ]  # fmt: skip
    ids = [one.transition.id for one in alarms.outbox]
    assert len(set(ids)) == len(ids) == 6  # muted and unmuted again are other transitions
    for at in range(100):
        alarms.act("hot", "muted", "kim", 900, now_ms=100 + at)
    assert [one.at for one in alarms.states["hot"].acts] == list(range(176, 200))


def test_an_item_of_before_is_read_without_what_people_did() -> None:
    stored = msgspec.json.decode(b'{"log":[[0,"raised",0,true]]}', type=RuleState)
    assert stored.acts == []
    assert b"acts" not in msgspec.json.encode(stored)


def test_an_item_is_read_as_it_was_written() -> None:
    alarms, codec = Alarms("pump-1"), AlarmsCodec("alerts")
    alarms.evaluations = [Evaluation(rule(), {0: BREACH}, 0, SIZE, {0: 91.0})]
    alarms.apply()
    stored = dict(zip(codec.columns, codec.values(alarms), strict=True)) | {"ver": {"N": "3"}}
    again = Alarms("pump-1")
    assert codec.merge_stored(again, stored) is False
    assert (again.ver, again.states, again.outbox) == (3, alarms.states, alarms.outbox)
    assert (stored["is_open"], stored["waits"]) == ({"S": "1"}, {"S": "1"})


def window(*values: float, first_seq: int = 0, step: int = 1) -> Window:
    made = Window("pump-1", "1m#x", SIZE)
    for index, value in enumerate(values):
        made.fold(run_of_one("boot", first_seq + index * step, index, {"t": value}))
    return made


@pytest.mark.parametrize(
    ("when", "values", "breach"),
    [
        ("mean(t) > 2", (1, 2, 6), True),
        ("min(t) < 1", (1, 2), False),
        ("sum(t) >= 3", (1, 2), True),
        ("stddev(t) > 0.9", (1, 3), True),
        ("n() < 3", (1, 1), True),
        ("n(t) >= 3", (1, 1), False),
        ("share_true(t) >= 0.5", (0, 1), True),
        ("last(t) > 1 and first(t) > 1", (1, 2), False),
        ("last(t) > 1 or first(t) > 1", (1, 2), True),
        ("change(t) > 3", (5,), True),
    ],
)
def test_each_statistic_is_read_from_the_window(
    when: str, values: tuple[float, ...], breach: bool
) -> None:
    one = parse_rules(f'[[rule]]\nname = "x"\nwhen = "{when}"\n')[0][2]
    assert (verdict_of(one)(window(*values), window(1)) == BREACH) is breach


def test_completeness_is_the_share_of_sequence_numbers_that_arrived() -> None:
    one = parse_rules('[[rule]]\nname = "x"\nwhen = "completeness() < 0.6"\n')[0][2]
    assert verdict_of(one)(window(1, 1, step=2), None) == CLEAR  # 2 of 3
    assert verdict_of(one)(window(1, 1, step=3), None) == BREACH  # 2 of 4


def test_a_window_without_the_metric_says_nothing() -> None:
    one = parse_rules('[[rule]]\nname = "x"\nwhen = "mean(power) > 1"\n')[0][2]
    assert verdict_of(one)(window(1), None) == 0
