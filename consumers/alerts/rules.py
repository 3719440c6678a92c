"""Alert rules as values: what each watches, when its alarm is raised and cleared. Pure.

:mod:`consumers.alerts.rule_file` reads them from TOML. A condition is text, as
``mean(temperature) > 80``: comparisons of a window's statistics with numbers, joined by ``and`` or
by ``or``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from msgspec import Struct, field

Statistic = Literal[
    "mean", "min", "max", "first", "last", "sum", "n", "stddev", "change", "share_true",
    "completeness",
]  # fmt: skip
"""``change`` is the mean less the mean of the window before; ``share_true`` the share of a metric's
values that are true (not 0, for a metric of 0 and 1); ``completeness`` the share of the window's
sequence numbers, from its first to its last, that arrived."""

Severity = Literal["info", "warning", "critical"]

OF_THE_WINDOW: Final = frozenset({"n", "completeness"})
"""Statistics that may stand without a metric: ``n()`` counts readings, ``n(power)`` values."""

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": float.__gt__, ">=": float.__ge__, "<": float.__lt__, "<=": float.__le__,
}  # fmt: skip

MOST_RULES: Final = 200
MOST_WINDOWS: Final = 60
"""The most windows that a rule looks back on."""

_COMPARISON: Final = re.compile(
    r"(?P<statistic>[a-z_]+)\((?P<metric>[a-z][a-z0-9_]{0,63})?\)\s*(?P<operator>[<>]=?)\s*"
    r"(?P<threshold>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
)


class Comparison(Struct, frozen=True):
    """A statistic of a window against a number."""

    statistic: Statistic
    metric: str
    operator: str
    threshold: float

    @property
    def is_final_once_true(self) -> bool:
        """Whether more readings cannot make it false: a maximum only grows."""
        grows = self.statistic == "max" or self.statistic == "n"
        return (grows and self.operator in (">", ">=")) or (
            self.statistic == "min" and self.operator in ("<", "<=")
        )


class Condition(Struct, frozen=True):
    """Comparisons, of which all or any must be true."""

    comparisons: tuple[Comparison, ...]
    all_of: bool = True

    @property
    def is_final_once_true(self) -> bool:
        """Whether a window that meets it goes on to meet it, whatever else arrives."""
        return all(one.is_final_once_true for one in self.comparisons)


class Quiet(Struct, frozen=True):
    """Minutes of the day (UTC) in which nobody is notified; reversed, they go over midnight."""

    start: int
    end: int

    def covers(self, ms: int) -> bool:
        """Whether a time (ms since 1970) is in it.

        >>> Quiet(22 * 60, 6 * 60).covers(23 * 3_600_000)
        True
        """
        minute = ms // 60_000 % 1440
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


class Rule(Struct, frozen=True):
    """One rule, on the windows of ``tier``.

    The alarm is raised at a window that meets ``raise_when`` when ``windows`` of the last ``of``
    windows do, and cleared when the last ``clear_windows`` all meet ``clear_when``. A window
    without readings meets neither. ``since`` (ms) is when the rule was applied: windows that ended
    before are not its business.
    """

    name: str
    raise_when: Condition
    clear_when: Condition
    tier: str = "1m"
    windows: int = 1
    of: int = 1
    clear_windows: int = 1
    devices: tuple[str, ...] = ("*",)
    group: str = ""
    type: str = ""
    severity: Severity = "warning"
    summary: str = ""
    quiet: Quiet | None = None
    since: int = 0
    silent_s: int = 0
    per_group: bool = False

    @property
    def is_of_fleet(self) -> bool:
        """Whether it is decided from more than a shard's process sees, see
        :mod:`consumers.fleet.duty`."""
        return self.silent_s > 0 or self.per_group

    def selects(self, device: str, group: str, kind: str) -> bool:
        """Whether a device with this group and type is one of the rule's."""
        if (self.group and self.group != group) or (self.type and self.type != kind):
            return False
        return any(fnmatchcase(device, pattern) for pattern in self.devices)

    @property
    def selects_all(self) -> bool:
        """Whether every device is one of the rule's."""
        return "*" in self.devices and not self.group and not self.type

    @property
    def lookback(self) -> int:
        """How many windows before a window have a say in what is decided at it."""
        return max(self.of, self.clear_windows) - 1


class RuleSet(Struct, frozen=True):
    """All rules of a deployment, as the workers read them. ``ver`` grows with each change."""

    ver: int = 0
    rules: list[Rule] = field(default_factory=list)


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    >>> parse_condition("mean(temperature) > 80 and n() >= 3").comparisons[1].statistic
    'n'

    :raises ValueError: with what is wrong.
    """
    words = re.split(r"\s+(and|or)\s+", text.strip())
    if len(joints := {*words[1::2]}) > 1:
        raise ValueError(f"{text!r} mixes `and` with `or`: use one of them, or two rules")
    return Condition(tuple(_comparison(word) for word in words[::2]), joints != {"or"})


def _comparison(text: str) -> Comparison:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no comparison: write it as `mean(temperature) > 80`")
    statistic, metric = match["statistic"], match["metric"] or ""
    if statistic not in get_args(Statistic):
        raise ValueError(f"there is no statistic {statistic!r}: {', '.join(get_args(Statistic))}")
    if not metric and statistic not in OF_THE_WINDOW:
        raise ValueError(f"{statistic}() needs a metric, as {statistic}(temperature)")
    if metric and statistic == "completeness":
        raise ValueError("completeness() is of the window: it takes no metric")
    return Comparison(statistic, metric, match["operator"], float(match["threshold"]))  # type: ignore[arg-type]


def opposite(condition: Condition) -> Condition:
    """The condition that is true where this one is false, for a window that has every metric."""
    turned = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
    return Condition(
        tuple(
            Comparison(one.statistic, one.metric, turned[one.operator], one.threshold)
            for one in condition.comparisons
        ),
        not condition.all_of or len(condition.comparisons) == 1,
    )
