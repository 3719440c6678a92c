"""Rules are read as written, and a wrong one is refused with its line and the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.alerts.condition import BREACH
from consumers.alerts.plan import Plan
from consumers.alerts.rule_file import RuleError, parse_rules, read_rules
from consumers.alerts.rules import Quiet, Rule, parse_condition
from consumers.hot.runs import run_of_one
from consumers.hot.windows import Window
from ingest.tiers import DEFAULT_TIERS

GOOD = """
[[rule]]
name = "too-hot"
devices = ["pump-*", "press-1"]
group = "hall-2"
tier = "10s"
when = "mean(temperature) > 80 and n() >= 3"
for = "2 of 3"
clear = "mean(temperature) < 75"
clear_for = 2
severity = "critical"
summary = "{device}: {value}"
quiet = "22:00-06:00"

[[rule]]
name = "holes"
when = "completeness() < 0.9"
"""


def test_a_rule_says_what_its_file_says() -> None:
    hot, holes = (rule for _, _, rule in parse_rules(GOOD))
    assert (hot.windows, hot.of, hot.clear_windows, hot.lookback) == (2, 3, 2, 2)
    assert hot.quiet == Quiet(22 * 60, 6 * 60)
    assert hot.clear_when == parse_condition("mean(temperature) < 75")
    assert holes.clear_when == parse_condition("completeness() >= 0.9")  # the opposite


def test_a_rule_selects_by_pattern_group_and_type() -> None:
    when = parse_condition("n() > 1")
    rule = Rule("x", when, when, devices=("pump-*",), group="hall-2")
    assert rule.selects("pump-7", "hall-2", "any")
    assert not rule.selects("pump-7", "hall-3", "any")
    assert not rule.selects("press-7", "hall-2", "any")


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        (7, 'when = "mean(temperature) ~ 80"', "is no comparison"),
        (7, 'when = "median(temperature) > 80"', "there is no statistic 'median'"),
        (7, 'when = "mean() > 80"', "needs a metric"),
        (7, 'when = "n() > 1 and n() < 3 or n() > 5"', "mixes `and` with `or`"),
        (8, 'for = "3 of 2"', "for is a number of windows"),
        (8, "for = 0", "for is a number of windows"),
        (10, "clear_for = 61", "clear_for is a number of windows"),
        (11, 'severity = "bad"', "severity is one of"),
        (12, 'summary = "{who}"', "summary names 'who'"),
        (13, 'quiet = "night"', "quiet is a span of the day"),
        (6, 'tier = "1 minute"', "is no tier"),
        (3, 'name = "Too Hot"', "is no name"),
        (5, 'gruop = "x"', "there is no key 'gruop'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line: int, key: str, reason: str) -> None:
    lines = GOOD.splitlines()
    lines[line - 1] = key
    with pytest.raises(RuleError, match=rf"^rules:{line}: .*{reason}"):
        parse_rules("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('silent = "30s"', 3, 'silent is a time from "1m" to "30d", not \'30s\''),
        ('silent = "1y"', 3, "silent is a time"),
        ("silent = 600", 3, "silent is text"),
        ('silent = "10m"\nwhen = "n() > 1"', 4, "a rule with `silent` has no `when`"),
        ('silent = "10m"\ntier = "1m"', 4, "a rule with `silent` has no `tier`"),
        ('when = "n() > 1"\nper = "fleet"', 4, 'per is "device" or "group"'),
        ('when = "completeness() < 1"\nper = "group"', 4, r"completeness\(\) is of one device"),
        ('severity = "info"', 2, "has no `when`, and no `silent`"),
    ],
)
def test_what_is_wrong_in_a_rule_of_the_fleet_is_named_with_its_line(
    text: str, line: int, reason: str
) -> None:
    with pytest.raises(RuleError, match=rf"^rules:{line}: .*{reason}"):
        parse_rules(f'[[rule]]\nname = "x"\n{text}\n')


def test_rules_of_silence_and_of_groups_are_read_and_are_not_a_shards_business() -> None:
    text = (
        '[[rule]]\nname = "gone"\nsilent = "10m"\n[[rule]]\nname = "hall"\nper = "group"\n'
        'when = "mean(temperature) > 30"\n[[rule]]\nname = "hot"\nwhen = "n() > 1"\n'
    )
    gone, hall, hot = (rule for _, _, rule in parse_rules(text))
    assert (gone.silent_s, hall.per_group) == (600, True)
    assert [rule.is_of_fleet for rule in (gone, hall, hot)] == [True, True, False]


def test_what_is_wrong_in_the_second_rule_is_not_named_in_the_first() -> None:
    with pytest.raises(RuleError, match=r"^rules:17: "):
        parse_rules(GOOD.replace("completeness() < 0.9", "completeness() <"))


def test_a_file_that_is_not_toml_is_refused_with_its_line() -> None:
    with pytest.raises(RuleError, match=r"^rules:2: not TOML"):
        parse_rules("[[rule]]\nname = \n")


def test_two_rules_of_one_name_are_refused_in_whatever_files_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('[[rule]]\nname = "one"\nwhen = "n() > 1"\n')
    with pytest.raises(RuleError, match=r"b\.toml:2: there are two rules 'one'"):
        read_rules(tmp_path)


THRESHOLDS = st.floats(-20, 20).map(lambda value: round(value, 2))


@given(
    st.lists(st.lists(st.floats(-20, 20), min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["max", "min", "mean", "last", "n", "stddev"]),
            st.sampled_from([">", ">=", "<", "<="]),
            THRESHOLDS,
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_look_that_skips_a_window_never_skips_one_that_meets_a_rule(
    windows: list[list[float]], comparisons: list[tuple[str, str, float]]
) -> None:
    text = "".join(
        f'[[rule]]\nname = "r{number}"\nwhen = "{statistic}(t) {operator} {threshold}"\n'
        for number, (statistic, operator, threshold) in enumerate(comparisons)
    )
    plan = Plan(DEFAULT_TIERS[0], [rule for _, _, rule in parse_rules(text)])
    for values in windows:
        window = Window("pump-1", "1m#x", 60_000)
        for seq, value in enumerate(values):
            window.fold(run_of_one("boot", seq, seq, {"t": value}))
        codes = plan.codes(window, None)
        assert plan.may_breach(window) or BREACH not in codes
        assert plan.may_breach_early(window) or all(codes[i] != BREACH for i in plan.early)


def test_a_shard_s_process_without_rules_imports_nothing_that_evaluates_them() -> None:
    code = (
        "import sys; import consumers.shard.child; a = 'consumers.alerts' in sys.modules; "
        "import consumers.alerts.store; b = 'consumers.alerts.evaluator' in sys.modules; "
        "sys.exit(a or b)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
