"""The worker's status as Prometheus text. A pure function of the board's snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def prometheus(snapshot: Mapping[str, Any]) -> str:
    """The metrics page (text format 0.0.4)."""
    return "\n".join(_lines(snapshot)) + "\n"


def _lines(snapshot: Mapping[str, Any]) -> Iterator[str]:
    yield from _metric("records_total", "counter", "Stream records processed.")
    yield f"penstock_records_total {snapshot['records']}"
    yield from _metric("readings_total", "counter", "Readings and rejected records.")
    for name, count in sorted(snapshot["dispositions"].items()):
        yield f'penstock_readings_total{{disposition="{name}"}} {count}'
    for name in ("conflicts", "throttled", "restarts"):
        yield from _metric(f"{name}_total", "counter", f"{name.capitalize()} so far.")
        yield f"penstock_{name}_total {snapshot[name]}"
    for name in ("acknowledgements", "acknowledgements_dropped"):
        yield from _metric(
            f"{name}_total", "counter", "Messages that tell devices what is durable."
        )
        yield f"penstock_{name}_total {snapshot[name]}"
    yield from _metric("latency_ms", "gauge", "Reading ts to first durable write.")
    for name, value in snapshot["latency_ms"].items():
        if value is not None:
            yield f'penstock_latency_ms{{quantile="0.{name[1:]}"}} {value}'
    for field, text in (("behind_ms", "Behind the tip of the shard."), ("commits", "Commits.")):
        yield from _metric(f"shard_{field}", "gauge", text)
        for shard in snapshot["shards"]:
            if shard[field] is not None:
                yield f'penstock_shard_{field}{{shard="{shard["shard"]}"}} {shard[field]}'


def _metric(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP penstock_{name} {text}"
    yield f"# TYPE penstock_{name} {kind}"
