"""Alert rules from TOML files. A wrong rule is refused with its file, its line and the reason."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from consumers.alerts.rules import (
    MOST_RULES,
    MOST_WINDOWS,
    Condition,
    Quiet,
    Rule,
    Severity,
    opposite,
    parse_condition,
)

KEYS: Final = (
    "name", "when", "for", "clear", "clear_for", "tier", "devices", "group", "type",
    "severity", "summary", "quiet", "silent", "per",
)  # fmt: skip
OF_WINDOWS: Final = ("when", "for", "clear", "clear_for", "tier", "per")
"""Keys that a rule of silence does not have."""
FIELDS: Final = frozenset({"rule", "device", "value", "window", "severity"})
"""What a summary may name in braces."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TIER: Final = re.compile(r"[1-9][0-9]{0,3}[smhd]")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SILENT_S: Final = range(60, 30 * 86_400 + 1)
_OF: Final = re.compile(r"([1-9][0-9]?) of ([1-9][0-9]?)")
_QUIET: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


class RuleError(ValueError):
    """A rule that is refused; the text names file, line and reason."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")


class _KeyError(ValueError):
    """What is wrong with one key of one rule."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(str(reason))
        self.key = key


def read_rules(folder: Path) -> list[Rule]:
    """The rules of all ``*.toml`` files of a folder.

    :raises RuleError: for the first that is wrong.
    :raises FileNotFoundError: when there is no such file.
    """
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else [folder]
    if not files:
        raise FileNotFoundError(f"no *.toml in {folder}")
    texts = [(str(file), file.read_text()) for file in files]
    rules = [one for file, text in texts for one in parse_rules(text, file)]
    for index, (file, _, rule) in enumerate(rules):
        if any(rule.name == other.name for _, _, other in rules[:index]):
            raise RuleError(file, rules[index][1], f"there are two rules {rule.name!r}")
    if len(rules) > MOST_RULES:
        raise RuleError(
            files[-1].name, 1, f"{len(rules)} rules: a deployment has {MOST_RULES} at most"
        )
    return [rule for _, _, rule in rules]


def parse_rules(text: str, file: str = "rules") -> list[tuple[str, int, Rule]]:
    """The rules of one file's text, each with the file and the line of its name.

    >>> text = '[[rule]]\\nname = "hot"\\nwhen = "max(temperature) > 80"\\n'
    >>> parse_rules(text)[0][2].windows
    1

    :raises RuleError: for the first that is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise RuleError(file, int(line[1]) if line else 1, f"not TOML: {error}") from None
    entries = document.get("rule", [])
    if document.keys() - {"rule"} or not isinstance(entries, list) or not entries:
        raise RuleError(file, 1, "a file of rules holds [[rule]] tables and nothing else")
    found = []
    for index, entry in enumerate(entries):
        try:
            found.append((file, _line_of(text, index, "name"), _rule(entry)))
        except _KeyError as error:
            raise RuleError(file, _line_of(text, index, error.key), str(error)) from None
    return found


def _line_of(text: str, index: int, key: str) -> int:
    """The line of a key of the ``index``-th ``[[rule]]``; that of its header without the key."""
    rule, header = -1, 1
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*rule\s*\]\]", line):
            if rule == index:
                break
            rule, header = rule + 1, number if rule + 1 == index else header
        elif rule == index and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return header


def _rule(entry: Mapping[str, Any]) -> Rule:
    """One rule from its table."""
    if unknown := [key for key in entry if key not in KEYS]:
        raise _KeyError(unknown[0], f"there is no key {unknown[0]!r}: {', '.join(KEYS)}")
    name = _text(entry, "name", "")
    if not _NAME.fullmatch(name):
        raise _KeyError("name", f"{name!r} is no name: lower-case letters, digits and hyphens")
    values = {"name": name, **_selector(entry), **_notice(entry)}
    if "silent" in entry:
        return Rule(**values, **_silence(entry))
    if "when" not in entry:
        raise _KeyError("name", f"rule {name!r} has no `when`, and no `silent`")
    return Rule(**values, **_windows(entry))


def _silence(entry: Mapping[str, Any]) -> dict[str, Any]:
    if wrong := [key for key in entry if key in OF_WINDOWS]:
        raise _KeyError(wrong[0], f"a rule with `silent` has no `{wrong[0]}`: use two rules")
    text = _text(entry, "silent", "")
    seconds = int(text[:-1]) * _SECONDS[text[-1]] if _TIER.fullmatch(text) else 0
    if seconds not in _SILENT_S:
        raise _KeyError("silent", f'silent is a time from "1m" to "30d", not {text!r}')
    nothing = Condition(())
    return {"raise_when": nothing, "clear_when": nothing, "silent_s": seconds, "tier": ""}


def _per_group(entry: Mapping[str, Any], *conditions: Condition) -> bool:
    per = _text(entry, "per", "device")
    if per not in ("device", "group"):
        raise _KeyError("per", 'per is "device" or "group"')
    used = {one.statistic for condition in conditions for one in condition.comparisons}
    if per == "group" and "completeness" in used:
        raise _KeyError("per", "completeness() is of one device: it has no value for a group")
    return per == "group"


def _selector(entry: Mapping[str, Any]) -> dict[str, Any]:
    devices = entry.get("devices", "*")
    patterns = (devices,) if isinstance(devices, str) else devices
    if not isinstance(patterns, Iterable) or not all(isinstance(one, str) for one in patterns):
        raise _KeyError("devices", 'devices is a pattern, as "pump-*", or a list of patterns')
    return {
        "devices": tuple(patterns),
        "group": _text(entry, "group", ""),
        "type": _text(entry, "type", ""),
    }


def _notice(entry: Mapping[str, Any]) -> dict[str, Any]:
    severity = _text(entry, "severity", "warning")
    if severity not in get_args(Severity):
        raise _KeyError("severity", f"severity is one of {', '.join(get_args(Severity))}")
    summary = _text(entry, "summary", "")
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(summary) if name is not None}
    except ValueError as error:
        raise _KeyError("summary", error) from None
    if unknown := sorted(named - FIELDS):
        raise _KeyError(
            "summary", f"summary names {unknown[0]!r}: it may name {', '.join(sorted(FIELDS))}"
        )
    return {"severity": severity, "summary": summary, "quiet": _quiet(entry)}


def _quiet(entry: Mapping[str, Any]) -> Quiet | None:
    if "quiet" not in entry:
        return None
    match = _QUIET.fullmatch(_text(entry, "quiet", ""))
    if match is None:
        raise _KeyError("quiet", 'quiet is a span of the day in UTC, as "22:00-06:00"')
    h1, m1, h2, m2 = (int(part) for part in match.groups())
    return Quiet(h1 * 60 + m1, h2 * 60 + m2)


def _windows(entry: Mapping[str, Any]) -> dict[str, Any]:
    tier = _text(entry, "tier", "1m")
    if not _TIER.fullmatch(tier):
        raise _KeyError("tier", f"{tier!r} is no tier: write it as 10s, 1m or 1h")
    windows, of = _for(entry)
    conditions = {}
    for key in ("when", "clear"):
        if key in entry:
            try:
                conditions[key] = parse_condition(_text(entry, key, ""))
            except ValueError as error:
                raise _KeyError(key, error) from None
    clear_windows = entry.get("clear_for", 1)
    if type(clear_windows) is not int or not 1 <= clear_windows <= MOST_WINDOWS:
        raise _KeyError("clear_for", f"clear_for is a number of windows from 1 to {MOST_WINDOWS}")
    clear = conditions.get("clear") or opposite(conditions["when"])
    return {
        "tier": tier,
        "raise_when": conditions["when"],
        "clear_when": clear,
        "per_group": _per_group(entry, conditions["when"], clear),
        "windows": windows,
        "of": of,
        "clear_windows": clear_windows,
    }


def _for(entry: Mapping[str, Any]) -> tuple[int, int]:
    """How many of how many windows: ``3`` is 3 of 3."""
    value = entry.get("for", 1)
    match = _OF.fullmatch(value) if isinstance(value, str) else None
    windows, of = (int(match[1]), int(match[2])) if match else (value, value)
    if type(windows) is not int or not 1 <= windows <= of <= MOST_WINDOWS:
        raise _KeyError(
            "for", f'for is a number of windows from 1 to {MOST_WINDOWS}, or as "2 of 3"'
        )
    return windows, of


def _text(entry: Mapping[str, Any], key: str, default: str) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise _KeyError(key, f"{key} is text: put it in quotes")
    return value
