"""Schemas from TOML files. A wrong schema is refused with its file, its line and the reason."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from ingest.message import MAX_METRICS, METRIC_NAME
from ingest.schemas.schema import MOST_TYPES, Metric, Outside, Schema, view_name

KEYS: Final = ("type", "version", "outside", "description", "metrics")
METRIC_KEYS: Final = ("unit", "min", "max", "bool", "description")

_TYPE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,200}", re.ASCII)
"""What a thing's attribute takes, see :mod:`devices.provisioning.attributes`."""


class SchemaError(ValueError):
    """A schema that is refused; the text names file, line and reason."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")


class _KeyError(ValueError):
    """What is wrong with one key: of the schema, or of one metric."""

    def __init__(self, key: str, reason: str, metric: str = "") -> None:
        super().__init__(reason)
        self.key = key
        self.metric = metric


def read_schemas(folder: Path) -> list[Schema]:
    """The schemas of all ``*.toml`` files of a folder, or of one file, by type.

    :raises SchemaError: for the first that is wrong.
    :raises OSError: when there is no such file.
    """
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else [folder]
    if not files:
        raise FileNotFoundError(f"no *.toml in {folder}")
    found: dict[str, Schema] = {}
    views: dict[str, str] = {}
    for file in files:
        text = file.read_text()
        schema = parse_schema(text, str(file))
        line = _line_of(text, "type")
        if schema.type in found:
            raise SchemaError(str(file), line, f"there are two schemas of type {schema.type!r}")
        other = views.setdefault(view_name(schema.type), schema.type)
        if other != schema.type:
            raise SchemaError(
                str(file), line,
                f"types {other!r} and {schema.type!r} would have the same SQL view, "
                f"{view_name(schema.type)}: rename one",
            )  # fmt: skip
        found[schema.type] = schema
    if len(found) > MOST_TYPES:
        raise SchemaError(
            str(files[-1]), 1, f"{len(found)} schemas: a deployment has {MOST_TYPES} at most"
        )
    return [found[kind] for kind in sorted(found)]


def parse_schema(text: str, file: str = "schema") -> Schema:
    """The schema of one file's text.

    >>> text = 'type = "pump"\\nversion = 1\\n[metrics.pressure]\\nunit = "bar"\\nmax = 16\\n'
    >>> parse_schema(text).metrics["pressure"].max
    16.0

    :raises SchemaError: when something in it is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise SchemaError(file, int(line[1]) if line else 1, f"not TOML: {error}") from None
    try:
        return _schema(document)
    except _KeyError as error:
        raise SchemaError(file, _line_of(text, error.key, error.metric), str(error)) from None


def _line_of(text: str, key: str, metric: str = "") -> int:
    """The line of a key, of the schema or of a metric's table; the table's, or the first, without
    such a line."""
    at, header = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if table := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            at = re.sub(r"[\"'\s]", "", table[1]).removeprefix("metrics.")
            if at == metric:
                header = number
        named = re.match(r"\s*[\"']?([^\"'\s=]+)[\"']?\s*=", line)
        if named and (at, named[1]) in ((metric, key), ("metrics", metric)):
            return number
    return header


def _schema(document: Mapping[str, Any]) -> Schema:
    if unknown := [name for name in document if name not in KEYS]:
        raise _KeyError(unknown[0], f"there is no key {unknown[0]!r}: {', '.join(KEYS)}")
    kind = document.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise _KeyError("type", f"type {kind!r} is no type of device: 1 to 200 of {_TYPE.pattern}")
    if view_name(kind) == "readings_":
        raise _KeyError("type", f"type {kind!r} gives no name for an SQL view: use letters")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise _KeyError("version", "version is a whole number from 1; raise it with each change")
    outside = document.get("outside", "warn")
    if outside not in get_args(Outside):
        raise _KeyError("outside", f"outside is one of {', '.join(get_args(Outside))}")
    metrics = document.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        raise _KeyError("metrics", "a schema has a table [metrics.NAME] for each metric")
    if len(metrics) > MAX_METRICS:
        raise _KeyError("metrics", f"{len(metrics)} metrics: a reading has {MAX_METRICS} at most")
    return Schema(
        kind,
        version,
        {name: _metric(name, table) for name, table in metrics.items()},
        outside,
        _text(document, "description"),
    )


def _metric(name: str, table: Any) -> Metric:
    if not METRIC_NAME.fullmatch(name):
        raise _KeyError("", f"metric name {name!r} does not match {METRIC_NAME.pattern}", name)
    if not isinstance(table, Mapping):
        raise _KeyError("", f"write the metric as a table, [metrics.{name}]", name)
    if unknown := [key for key in table if key not in METRIC_KEYS]:
        raise _KeyError(
            unknown[0], f"there is no key {unknown[0]!r}: {', '.join(METRIC_KEYS)}", name
        )
    low, high = _number(table, "min", name), _number(table, "max", name)
    is_bool = table.get("bool", False)
    if not isinstance(is_bool, bool):
        raise _KeyError("bool", "bool is true or false", name)
    if is_bool:
        if low is not None or high is not None:
            raise _KeyError("bool", "a bool is 0 or 1: it takes no min and no max", name)
        low, high = 0.0, 1.0
    if low is not None and high is not None and low > high:
        raise _KeyError("min", f"min {low:g} is above max {high:g}", name)
    return Metric(_text(table, "unit", name), low, high, _text(table, "description", name))


def _number(table: Mapping[str, Any], key: str, metric: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _KeyError(key, f"{key} is a finite number", metric)
    return float(value)


def _text(table: Mapping[str, Any], key: str, metric: str = "") -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise _KeyError(key, f"{key} is text: put it in quotes", metric)
    return value
