"""JSON against CBOR: bytes and CPU a reading, of what a device writes and a worker reads.

Run as ``python -m benchmarks.workloads.payloads``. The figures are in ``docs/devices.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from benchmarks.measure import RUNS, Progress, Samples, cpu_seconds
from ingest.message import Content, Message, Reading, decode_raw, encode

BATCHES: Final = (1, 20, 200)
READINGS: Final = 20_000
CONTENTS: Final[tuple[Content, ...]] = ("json", "cbor")
_MEMORY: Final = """
import re, sys, consumers.shard.child, ingest.message as m
def rss():
    kb = re.search(r"Rss:\\s+(\\d+)", open("/proc/self/smaps_rollup").read())[1]
    return int(kb) / 1024
m.decode(b"{}"); before = rss(); m.decode(bytes.fromhex(sys.argv[1])); print(rss() - before)
"""


def message(readings: int) -> Message:
    """Three metrics a reading as sensors send them: two decimals, a bool, a count."""
    return Message(
        1,
        "9f2c61d0c1a44a2e",
        1201,
        [
            Reading(
                1_795_420_839_206 + 1000 * i,
                {"temperature": round(21.5 + i / 7, 2), "door_open": i % 2 == 0, "count": i},
            )
            for i in range(readings)
        ],
    )


def run(progress: Progress) -> dict[str, Any]:
    """For each batch and content: bytes, and µs of CPU to encode and to decode, a reading;
    and the MB of memory that a child grows by with its first CBOR payload."""
    figures: dict[str, Any] = {}
    for readings in BATCHES:
        progress(f"{readings} readings a message")
        made = message(readings)
        for content in CONTENTS:
            figures[f"{content} x {readings}"] = _figures(made, content)
    figures["memory of the first cbor payload, MB"] = _memory()
    return figures


def _figures(made: Message, content: Content) -> dict[str, float]:
    readings = len(made.readings)
    payload = encode(made, content)
    times = max(1, READINGS // readings)

    def encoding() -> None:
        for _ in range(times):
            encode(made, content)

    def decoding() -> None:
        for _ in range(times):
            decode_raw(payload)

    return {
        "bytes": round(len(payload) / readings, 1),
        "encode_us": round(_us(encoding) / times / readings, 2),
        "decode_us": round(_us(decoding) / times / readings, 2),
    }


def _us(work: Any) -> float:
    return 1e6 * Samples([cpu_seconds(work) for _ in range(RUNS)]).median


def _memory() -> float:
    payload = encode(message(20), "cbor").hex()
    runs = [
        subprocess.run(
            [sys.executable, "-c", _MEMORY, payload], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(RUNS)
    ]
    return round(Samples([float(text) for text in runs]).median, 2)


if __name__ == "__main__":
    print(json.dumps(run(lambda text: print(text, file=sys.stderr)), indent=2))
