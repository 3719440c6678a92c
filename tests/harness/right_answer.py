"""A right answer for the verifier, built by a plain loop: apart from both worker and oracle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ingest.message import Message, Reading, decode, encode
from ingest.tiers import Tier
from simulator.verification.ledger import OK, Entry
from simulator.verification.observe import ArchiveRow, Observed
from simulator.verification.oracle import Rules

TIERS = (Tier("10s", flush_s=1, ttl_s=600), Tier("1m", flush_s=1, ttl_s=86_400))
RULES = Rules(TIERS, clock_ahead_s=60)
NOW = 1_795_420_800_000
TEN, MINUTE = "10s#2026-11-23T08:00:00Z", "1m#2026-11-23T08:00:00Z"
BOOT = "9f2c61d0c1a44a2e"


def entry(device: str, seq: int, readings: list[tuple[int, dict[str, float | bool]]]) -> Entry:
    """An acknowledged message of readings (ms after NOW, metrics)."""
    message = Message(1, BOOT, seq, [Reading(NOW + ts, metrics) for ts, metrics in readings])
    return raw_entry(device, BOOT, seq, len(readings), encode(message))


def raw_entry(device: str, boot: str, seq: int, n: int, payload: bytes, expect: str = OK) -> Entry:
    return Entry(0, device, boot, seq, n, payload, expect, NOW, NOW + 9)


def ledger() -> list[Entry]:
    """Two devices; a repeated message, a gap in the numbers, garbage, late and early readings."""
    one = entry("d1", 0, [(0, {"t": 20.25, "door": True}), (1500, {"t": 20.5, "door": False})])
    return [
        one,
        entry("d1", 2, [(2500, {"t": 19.75}), (11_000, {"t": 21.0})]),
        one,
        entry("d1", 7, [(3000, {"t": 20.0})]),
        entry("d2", 0, [(0, {"flow": 120.5}), (-100_000_000, {"flow": 1.0})]),
        entry("d2", 2, [(100_000_000, {"flow": 2.0}), (10, {"flow": 1e70})]),
        raw_entry("d2", "garbage", 5, 0, b"\xff\x00", "malformed"),
        raw_entry("d2", "garbage", 6, 0, b'{"v":2}', "unsupported_version"),
    ]


def archived(entries: list[Entry]) -> list[ArchiveRow]:
    """What the archive must hold: a record for each entry, in order, all of one shard."""
    rows: list[ArchiveRow] = []
    for number, sent in enumerate(entries):
        message = decode(sent.payload)
        place = ("shard-0", str(4950 + number), 0)
        if not isinstance(message, Message):
            rows.append(
                ArchiveRow(sent.device, None, None, None, None, NOW, *place, None, sent.expect,
                           sent.payload)
            )  # fmt: skip
            continue
        for index, reading in enumerate(message.readings):
            age = NOW - reading.ts
            disposition = "late" if age > 77_760_000 else "clock_ahead" if age < -60_000 else OK
            if max(map(abs, reading.metrics.values())) > 1e60:
                disposition = "out_of_range"
            raw = None if disposition == OK else sent.payload
            rows.append(
                ArchiveRow(sent.device, reading.ts, message.boot, message.seq + index,
                           reading.metrics, NOW, *place, index, disposition, raw)
            )  # fmt: skip
    return rows


def observed(entries: list[Entry]) -> Observed:
    """Tables and archive as a worker without faults leaves them."""
    result = Observed(rows=archived(entries), objects=2)
    seen: set[tuple[str | None, int | None]] = set()
    for row in result.rows:
        if row.disposition == OK and (row.device_id, row.seq) not in seen:
            seen.add((row.device_id, row.seq))
            for tier in TIERS:
                _fold(result.windows, tier, row)
            _show(result.devices, row)
    windows: dict[Any, Any] = result.windows
    for item in windows.values():
        _finish(item)
    return result


def _fold(windows: dict[Any, Any], tier: Tier, row: ArchiveRow) -> None:
    assert row.ts is not None
    assert row.metrics is not None
    start = row.ts - row.ts % tier.size_ms
    name = f"{tier.name}#{datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    end = (start + tier.size_ms) // 1000
    item = windows.setdefault((row.device_id, name), {"end": end, "ttl": tier.ttl_s, "rows": []})
    item["rows"].append(row)


def _finish(item: dict[str, Any]) -> None:
    """Turn a window's rows into an item, in place."""
    rows = sorted(item.pop("rows"), key=lambda row: int(row.ts))
    seqs = sorted(row.seq for row in rows)
    item["n"] = number(len(rows))
    item["first_ts"], item["last_ts"] = number(rows[0].ts), number(rows[-1].ts)
    item["expires_at"] = number(item.pop("end") + item.pop("ttl"))
    item["ids"] = {"M": {BOOT: {"S": _ranges(seqs)}}}
    names = {name for row in rows for name in row.metrics}
    item["metrics"] = {"M": {name: {"M": _stats(name, rows)} for name in names}}


def _stats(name: str, rows: list[ArchiveRow]) -> dict[str, Any]:
    values = [row.metrics[name] for row in rows if row.metrics and name in row.metrics]
    mean = sum(values) / len(values)
    return {
        "n": number(len(values)),
        "sum": number(sum(values)),
        "min": number(min(values)),
        "max": number(max(values)),
        "mean": number(mean),
        "m2": number(sum((value - mean) ** 2 for value in values)),
        "first": number(values[0]),
        "last": number(values[-1]),
    }


def _show(devices: dict[str, Any], row: ArchiveRow) -> None:
    assert row.metrics is not None
    assert row.device_id is not None
    item = devices.setdefault(row.device_id, {"metrics": {"M": {}}, "last_ts": number(-1)})
    for name, value in row.metrics.items():
        known = item["metrics"]["M"].get(name)
        if known is None or int(known["M"]["ts"]["N"]) < (row.ts or 0):
            item["metrics"]["M"][name] = {"M": {"v": number(value), "ts": number(row.ts)}}
    if int(item["last_ts"]["N"]) < (row.ts or 0):
        item |= {"last_ts": number(row.ts), "boot": {"S": BOOT}, "seq": number(row.seq)}


def _ranges(seqs: list[int]) -> str:
    text = ",".join(str(seq) for seq in seqs)
    return {"0,1,2,3,7": "0-3,7", "0,1,2,7": "0-2,7", "0,1,2,3": "0-3", "0,1,2": "0-2"}.get(
        text, text
    )


def number(value: float | int | None) -> dict[str, str]:
    return {"N": repr(value)}
