"""A3: what 100 rules cost a shard of 10,000 devices, in its fold and in its writes.

The whole processor as in P1, in virtual time at freshness ``live``: each device sends every 10 s,
for two minutes and a half, so that two windows of each are finished. Every rule watches every
device, and none is met. Stores cost nothing, so that the rules' share is at its greatest.

A run without rules and one with all of them follow each other, and their ratio is the figure: what
else the machine does in these seconds falls on both.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Progress, Result, Samples, check, interleaved, limit, none_of, result
from benchmarks.workloads import ours, traffic
from benchmarks.workloads.ours import OpenTables
from consumers.alerts.evaluator import Evaluator
from consumers.alerts.rule_file import parse_rules
from consumers.alerts.rules import Rule
from consumers.aws.in_flight import OneAtATime
from consumers.hot.optimistic import Outcome, Statement
from consumers.hot.windows import Window
from consumers.kcl.protocol import parse
from ingest.tiers import DEFAULT_TIERS, Tier

DEVICES = 10_000
MESSAGES = 15
RULES = 100
STATISTICS = ("max", "mean", "last", "min", "stddev")
METRICS = ("temperature", "humidity")
RECORDS_A_SECOND = 1_000


class CountedTables(OpenTables):
    """Tables that take everything and count the statements."""

    def __init__(self) -> None:
        self.statements = 0

    def execute(self, statements: Sequence[Statement]) -> Sequence[Outcome]:
        self.statements += len(statements)
        return super().execute(statements)


class NoHistory:
    """A fleet of which nothing is stored."""

    def newest(self, device: str, tier: Tier, count: int) -> list[Window]:
        return []

    def before(self, device: str, tier: Tier, start_ms: int, count: int) -> list[Window]:
        return []

    def between(self, device: str, tier: Tier, start_ms: int, end_ms: int) -> list[Window]:
        return []

    def attributes(self, table: str, devices: Sequence[str]) -> dict[str, tuple[str, str]]:
        return {}


def rules() -> list[Rule]:
    """A hundred rules that no reading of the load meets."""
    text = "".join(
        f'[[rule]]\nname = "rule-{number}"\n'
        f'when = "{STATISTICS[number % 5]}({METRICS[number // 5 % 2]}) > {1000 + number}"\n'
        for number in range(RULES)
    )
    return [rule for _, _, rule in parse_rules(text)]


def process(lines: Sequence[bytes], watched: Sequence[Rule], tables: CountedTables) -> None:
    """Process the load with these rules at work."""
    now = 0.0
    hot = ours.hot_store(tables)
    if watched:
        evaluator = Evaluator(
            watched,
            store=tables,
            history=NoHistory(),
            alerts_table="alerts",
            devices_table="devices",
            tiers=DEFAULT_TIERS,
            calls=OneAtATime(),
            holds_lease=lambda: True,
        )
        hot.evaluate, hot.decide = evaluator.evaluate, evaluator.windows_to_hasten
    shard = ours.processor(lambda: now, hot=hot)
    for one in lines:
        records = parse(one).records
        shard.process(records)
        now += len(records) / RECORDS_A_SECOND
    shard.commit()


def run(progress: Progress) -> Result:
    """Measure without rules, with one, and with a hundred."""
    lines = list(traffic.lines(DEVICES, MESSAGES, 1))
    every = rules()
    counts: dict[str, int] = {}

    def contender(name: str, watched: Sequence[Rule]) -> None:
        tables = CountedTables()
        process(lines, watched, tables)
        counts[name] = tables.statements

    times = interleaved(
        {
            "none": lambda: contender("none", ()),
            "hundred": lambda: contender("hundred", every),
            "one": lambda: contender("one", every[:1]),
        },
        progress,
    )
    pairs = [
        ours / none
        for ours, none in zip(times["hundred"].values, times["none"].values, strict=True)
    ]
    records = DEVICES * MESSAGES
    return result(
        "CPU a record with 100 alert rules",
        [
            limit(
                "CPU with 100 rules by that without, pair by pair",
                Samples(pairs),
                unit="",
                at_most=1.1,
            )
        ]
        + [
            check(
                f"CPU a record with {count} rules, against none",
                times[name],
                times["none"],
                unit="µs",
                scale=lambda s: s / records * 1e6,
            )
            for name, count in (("hundred", RULES), ("one", 1))
        ]
        + [none_of("statements more, when nothing is met", counts["hundred"] - counts["none"])],
    )
