"""Alert rules as the oracle reads them: what a window says to a rule.

A rule is written as a deployment's rules are (``docs/alerts.md``), and read here by code of its
own: an oracle that shared the worker's would share its mistakes. It knows rules on the windows of
devices, chosen by their names, or of the groups of such devices; those of silence are in
:mod:`simulator.verification.silences`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from simulator.errors import ScenarioError
from simulator.verification.oracle import Window

RAISE: Final = "raise"
CLEAR: Final = "clear"
BETWEEN: Final = "between"
"""Neither to raise nor to clear: between the two thresholds."""

KEYS: Final = frozenset(
    {
        "name",
        "when",
        "for",
        "clear",
        "clear_for",
        "tier",
        "devices",
        "per",
        "severity",
        "summary",
        "quiet",
    }
)
"""What a rule may have here; ``severity``, ``summary`` and ``quiet`` change no transition."""

_TEST: Final = re.compile(r"(\w+)\((\w*)\)\s*([<>]=?)\s*(\S+)")
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}
_TURNED: Final = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_GROWING: Final = frozenset({("max", ">"), ("n", ">"), ("min", "<")})
"""What more readings can only make truer, by the first character of the comparison."""


class Test(NamedTuple):
    """One comparison of a statistic of a window with a number."""

    statistic: str
    metric: str
    operator: str
    bound: float

    def value(self, window: Window, before: Window | None) -> float | None:
        """The statistic, or ``None`` when the window lacks it."""
        if not self.metric:
            return float(window.n)
        metric = window.metrics.get(self.metric)
        if metric is None:
            return None
        match self.statistic:
            case "change":
                old = before.metrics.get(self.metric) if before else None
                return None if old is None else metric.mean - old.mean
            case "stddev":
                return math.sqrt(metric.m2 / metric.n)
            case "share_true":
                return metric.mean
            case name:
                return float(getattr(metric, name))


class Watch(NamedTuple):
    """A rule. It raises with ``needed`` of the last ``of`` windows, and clears with the last
    ``clear_needed``. Windows that ended at ``since`` (ms) or before are not its business."""

    name: str
    raises: tuple[Test, ...]
    raises_all: bool
    clears: tuple[Test, ...]
    clears_all: bool
    tier: str
    needed: int
    of: int
    clear_needed: int
    devices: tuple[str, ...]
    per_group: bool = False
    since: int = 0

    def is_about(self, device: str) -> bool:
        """Whether it watches a device."""
        return any(fnmatchcase(device, pattern) for pattern in self.devices)

    def says(self, window: Window, before: Window | None) -> str | None:
        """What a window says: to raise, to clear, neither, or nothing at all."""
        raised = _met(self.raises, self.raises_all, window, before)
        if raised:
            return RAISE
        cleared = _met(self.clears, self.clears_all, window, before)
        if cleared:
            return CLEAR
        return None if raised is None and cleared is None else BETWEEN

    @property
    def raises_early(self) -> bool:
        """Whether a window that says to raise goes on to say so, whatever else arrives: then it
        raises before it is finished."""
        return all((test.statistic, test.operator[0]) in _GROWING for test in self.raises)


def _met(
    tests: Sequence[Test], needs_all: bool, window: Window, before: Window | None
) -> bool | None:
    """Whether a condition is met; ``None`` when a value that would decide it is not there."""
    found = []
    for test in tests:
        value = test.value(window, before)
        found.append(None if value is None else _COMPARE[test.operator](value, test.bound))
    if needs_all:
        return False if False in found else None if None in found else True
    return True if True in found else None if None in found else False


def watch_of(entry: Mapping[str, Any]) -> Watch:
    """A rule from its TOML table.

    >>> watch_of({"name": "hot", "when": "max(temperature) > 80"}).clears[0].operator
    '<='

    :raises ScenarioError: for a rule that the oracle does not know.
    """
    name = entry.get("name", "?")
    if unknown := sorted(entry.keys() - KEYS):
        raise ScenarioError(f"rule {name}: a scenario's rule cannot have {unknown[0]}")
    try:
        raises, raises_all = _tests(entry["when"])
        if "clear" in entry:
            clears, clears_all = _tests(entry["clear"])
        else:
            clears = tuple(one._replace(operator=_TURNED[one.operator]) for one in raises)
            clears_all = not raises_all or len(raises) == 1
        span = str(entry.get("for", 1)).split(" of ")
        devices = entry.get("devices", "*")
        return Watch(
            name=name, raises=raises, raises_all=raises_all, clears=clears, clears_all=clears_all,
            tier=entry.get("tier", "1m"), needed=int(span[0]), of=int(span[-1]),
            clear_needed=int(entry.get("clear_for", 1)),
            devices=(devices,) if isinstance(devices, str) else tuple(devices),
            per_group=entry.get("per") == "group",
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise ScenarioError(f"rule {name}: {error}") from None


def _tests(text: str) -> tuple[tuple[Test, ...], bool]:
    parts = re.split(r" (and|or) ", text.strip())
    tests = []
    for part in parts[::2]:
        match = _TEST.fullmatch(part.strip())
        if match is None or match[1] == "completeness":
            raise ValueError(f"{part!r} is no comparison that a scenario knows")
        tests.append(Test(match[1], match[2], match[3], float(match[4])))
    return tuple(tests), "or" not in parts[1::2]
