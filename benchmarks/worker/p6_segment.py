"""One segment of P6, in a process of its own: prints CPU seconds, bytes a reading and memory."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.worker.p8_shard import resident_mb
from benchmarks.workloads import ours, traffic
from consumers.archive.commit import GROUP_ROWS
from consumers.archive.open_segment import OpenSegment
from consumers.archive.parquet import SCHEMA, SegmentFile
from consumers.kcl.protocol import parse
from consumers.record import ShardRecord, open_record
from ingest.message import Message, decode

DEVICES = 500


def main(who: str, readings: int) -> dict[str, float]:
    """Write one segment of messages of one reading."""
    before, highest, spent = resident_mb(), 0.0, 0.0
    segment = OpenSegment(lambda: SegmentFile(ours.SHARD), GROUP_ROWS)
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(traffic.lines(DEVICES, readings // DEVICES, 1)):
        records = [open_record(record) for record in parse(one).records]
        for record in records:
            record.readings = 1
        started = time.process_time()
        if who == "ours":
            for record in records:
                segment.append(record, len(record.payload), 0.0)
            segment.encode_rows()
        else:
            rows += [row for record in records for row in _rows(record)]
        spent += time.process_time() - started
        if number % 10 == 9:
            highest = max(highest, resident_mb())
    started = time.process_time()
    size = segment.finish().seek(0, 2) if who == "ours" else _stock(rows)
    spent += time.process_time() - started
    highest = max(highest, resident_mb())
    return {"seconds": spent, "bytes": size / readings, "megabytes": highest - before}


def _rows(record: ShardRecord) -> Iterator[dict[str, Any]]:
    message = decode(record.payload)
    assert isinstance(message, Message)
    for i, reading in enumerate(message.readings):
        yield {
            "device_id": record.device,
            "ts": reading.ts,
            "boot": message.boot,
            "seq": message.seq + i,
            "metrics": list(reading.metrics.items()),
            "received_at": record.received_at,
            "arrived_at": record.arrived_at,
            "shard_id": ours.SHARD,
            "sequence_number": record.sequence_number,
            "sub_sequence": record.sub_sequence,
            "reading": i,
            "disposition": "ok",
            "raw": None,
        }


def _stock(rows: list[dict[str, Any]]) -> int:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd")
    return len(sink.getvalue())


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
