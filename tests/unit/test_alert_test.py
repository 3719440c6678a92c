"""``penstock alert test``: what a rule would have done. Runs the example of docs/alerts.md."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import pytest

from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from infra.archive.backtest_plot import plot
from infra.commands.alert_test import bar, document, print_result, rule_named, with_conditions
from infra.console import UserError
from lake.backtest.backtest import Backtest, Backtester, Progress
from lake.replay.rows import Selection
from tests.harness.replayed import Pipeline
from tests.harness.shard import NOW, TIERS, payload

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
MINUTE_MS = 60_000
SHIFT = Selection(NOW, NOW + 240 * MINUTE_MS)


def temperature(pump: int, minute: int) -> float:
    """Ten pumps in a shift of four hours: two are hot for a minute now and then, one overheats."""
    if pump == 7 and 100 <= minute < 140:
        return 74.0 + min(19.0, minute - 100)
    if pump in (2, 4) and minute % 90 == 30 + pump:
        return 82.5
    return 58.0 + (minute * 7 + pump * 13) % 9


@cache
def shift() -> Pipeline:
    """The archive of that shift."""
    pipeline = Pipeline()
    for minute in range(240):
        ts = NOW + minute * MINUTE_MS
        for pump in range(10):
            data = payload("boot-one", minute, [(ts, {"temperature": temperature(pump, minute)})])
            pipeline.shard.put(f"pump-{pump}", data, ts + 50, ts + 20)
    pipeline.work()
    return pipeline


def too_hot() -> Rule:
    """The rule of the page, on the harness's tier."""
    text = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert text is not None
    return parse_rules(text[1].replace('"10s"', '"1m"'))[0][2]


def back_tested(rule: Rule) -> Backtest:
    tester = Backtester(shift().source(), {tier.name: tier for tier in TIERS})
    return tester.run(rule, SHIFT)


def shown(command: str) -> str:
    """What the page shows under a command."""
    found = re.search(rf"```\n\$ {re.escape(command)}\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert found is not None, command
    return found[1]


@pytest.mark.parametrize(
    ("options", "when"),
    [
        ("", None),
        (' --when "mean(temperature) > 85"', "mean(temperature) > 85"),
    ],
)
def test_the_page_shows_what_the_command_prints(
    options: str, when: str | None, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "120")
    print_result(back_tested(with_conditions(too_hot(), when, None)))
    span = "--from 2026-11-23T08:00Z --to 2026-11-23T12:00Z"
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert printed.strip() == shown(f"penstock alert test too-hot {span}{options}")


def test_the_plot_has_a_lane_for_each_device_with_an_alarm_and_both_thresholds() -> None:
    tree = ET.fromstring(plot(back_tested(too_hot())))
    text = "".join(tree.itertext())
    assert "pump-7" in text
    assert "threshold 80" in text
    assert "threshold 70" in text
    assert len(tree.findall("{*}polyline")) == 3


def test_a_plot_without_an_alarm_says_so() -> None:
    found = back_tested(with_conditions(too_hot(), "max(temperature) > 1000", None))
    assert found.transitions == []
    assert "no alarm would have been raised" in plot(found)
    assert bar(found).strip() == ""


def test_the_document_counts_what_it_lists() -> None:
    told = document(back_tested(too_hot()))
    kinds = [one["kind"] for one in told["transitions"]]
    assert (told["alarms"], told["open_at_the_end"]) == (kinds.count("raised"), 0)
    assert (told["devices"], told["folded"]) == (10, 3)


def test_progress_ends_at_the_last_segment() -> None:
    seen: list[tuple[int, int, int]] = []

    def tell(done: Progress) -> None:
        seen.append((done.segments_done, done.segments, done.readings))

    tester = Backtester(shift().source(), {tier.name: tier for tier in TIERS}, progress=tell)
    tester.run(too_hot(), SHIFT)
    assert seen[-1] == (seen[-1][1], seen[-1][1], 3 * 240)


def test_another_condition_keeps_what_clears_unless_it_was_the_opposite() -> None:
    plain = parse_rules('[[rule]]\nname = "x"\nwhen = "max(a) > 1"\n')[0][2]
    assert with_conditions(plain, "max(a) > 2", None).clear_when.comparisons[0].threshold == 2
    assert with_conditions(too_hot(), "max(a) > 2", None).clear_when == too_hot().clear_when
    assert with_conditions(plain, None, "max(a) < 0").clear_when.comparisons[0].threshold == 0
    with pytest.raises(UserError, match="no comparison"):
        with_conditions(plain, "max(a) >> 2", None)


def test_a_rule_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[[rule]]\nname = "x"\nwhen = "max(a) > 1"\n')
    assert rule_named(tmp_path, "x").name == "x"
    with pytest.raises(UserError, match=r"no rule 'y'.*it has x"):
        rule_named(tmp_path, "y")
    (tmp_path / "b.toml").write_text('[[rule]]\nname = "gone"\nsilent = "10m"\n')
    with pytest.raises(UserError, match="silence or of groups"):
        rule_named(tmp_path, "gone")
